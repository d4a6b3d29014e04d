//! `toolplane demo`: everything on this machine, from a row to a tool that answers.
//!
//! Owns: the order in which the parts come and go, and the story that is told. Must not: take a short cut that production has
//! not; the control plane is `serve`, unchanged, in a process of its own. Promises: everything that it starts ends with it, also
//! by SIGKILL, and what a killed run left is in nobody's way.

mod folder;
mod parts;
mod progress;
mod rows;
mod story;
mod tour;

use crate::{cli::Demo, telemetry};
use folder::Folder;
use parts::Parts;
use progress::Progress;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

pub(super) async fn run(demo: Demo) -> miette::Result<ExitCode> {
    let folder = Folder::claim(demo.state_dir)?;
    // What happens in this process, such as the simulator's work, is of interest only when something went wrong.
    telemetry::log_to_file(&folder.log("demo"), "info")?;
    let progress = Progress::new();
    let mut parts = Parts::new(folder)?;
    let told = tokio::select! {
        told = tell(&mut parts, &progress, demo.once) => told,
        () = interrupted() => {
            progress::note("interrupted");
            Ok(ExitCode::from(130))
        }
    };
    let logs = parts.folder().logs();
    let code = told.unwrap_or_else(|failure| {
        // Said before everything ends, which takes a while.
        eprintln!("{failure:?}\nthe logs are in {}\n", logs.display());
        ExitCode::FAILURE
    });
    parts.end(&progress).await;
    Ok(code)
}

async fn tell(parts: &mut Parts, progress: &Progress, once: bool) -> miette::Result<ExitCode> {
    parts.start(progress).await?;
    let account = story::tell(parts, progress).await?;
    if once {
        return Ok(ExitCode::SUCCESS);
    }
    tour::print(parts, &account);
    tokio::select! {
        () = interrupted() => Ok(ExitCode::SUCCESS),
        failure = parts.watch() => Err(failure),
    }
}

/// Ctrl-C, or whoever stops services.
async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

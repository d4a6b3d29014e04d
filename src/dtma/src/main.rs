//! `dtma`: the Droplet Tool Management Agent, one static binary for a droplet and for the containers on it.
//!
//! Owns: the command line and the choice of what to be. Must not: hold any logic; the modules do. Promises: `exec` starts
//! neither threads nor a runtime, reads no file and needs no library, so that it works in an empty image.

mod api;
mod config;
mod credentials;
mod desired_store;
mod enrolment;
mod exec;
mod file;
mod heartbeat;
mod identity;
mod listener;
mod metadata;
mod proxy;
mod purge;
mod run;
mod told;
mod vitals;

use clap::Parser;
use config::{Command, CommandLine};
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let outcome = match command {
        Command::Exec(arguments) => return exec::replace(arguments),
        Command::Run(settings) => service(|| run::run(settings)),
        Command::Purge(settings) => service(|| purge::run(settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "dtma ends");
            ExitCode::FAILURE
        }
    }
}

/// What both long and short-lived work on a droplet needs: a log, a TLS provider and a runtime.
fn service<F: Future<Output = anyhow::Result<()>>>(work: impl FnOnce() -> F) -> anyhow::Result<()> {
    config::start_log();
    // Fails only when there is one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Two threads do for a droplet, and each costs memory that tools could have.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work())
}

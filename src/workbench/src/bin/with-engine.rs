//! `with-engine -- COMMAND...`: runs a command with a Docker engine that it can use, named by `DOCKER_HOST`.
//!
//! The engine that answers already is used; else a private one is started, which ends with the command. `make test` runs all
//! tests this way, so that none of them has to be skipped, or start an engine of its own.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};
use workbench::Engine;

fn main() -> ExitCode {
    let command: Vec<String> = std::env::args().skip_while(|argument| argument != "--").skip(1).collect();
    let Some((program, arguments)) = command.split_first() else {
        eprintln!("usage: with-engine -- COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    match run(program, arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("with-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &str, arguments: &[String]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Asking whether an engine answers takes an HTTP client, and that wants to know how to do TLS.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "a TLS provider is installed already")?;
    let folder = tempfile::Builder::new().prefix("toolplane-engine-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = runtime.block_on(Engine::find_or_start(folder.path()))?;
    let status = Command::new(program)
        .args(arguments)
        .env("DOCKER_HOST", engine.host())
        .status()?;
    drop(engine);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

//! `toolplane`: the control plane and its command line.
//!
//! Owns: flags, configuration, telemetry, wiring and what is printed. Must not: decide anything about environments, droplets or
//! tools; that is the reconcilers'. Promises: exit code 0 for success, 1 for a failure that was explained, 2 for a command line
//! that was not understood.

mod cli;
mod commands;
mod configuration;
mod manifests;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The only provider of cryptography in this process; whoever installed one before us would have installed the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = cli::Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::FAILURE
        }
    }
}

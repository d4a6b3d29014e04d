//! The commands, each from its arguments to an exit code.

mod apply;
mod connect;
mod demo;
mod describe;
mod doctor;
mod events;
mod get;
mod migrate;
mod plan;
mod serve;

use crate::{
    cli::{Arguments, Command},
    configuration::{Flags, Settings},
    telemetry,
};
use miette::{IntoDiagnostic, WrapErr};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Runs what was asked for.
pub(crate) fn run(arguments: Arguments) -> miette::Result<ExitCode> {
    let default = match &arguments.command {
        Command::Serve(_) => "info",
        Command::Migrate(_)
        | Command::Apply(_)
        | Command::Get(_)
        | Command::Describe(_)
        | Command::Events(_)
        | Command::Plan(_)
        | Command::Doctor(_)
        | Command::Demo(_) => "error",
    };
    if !matches!(arguments.command, Command::Demo(_)) {
        telemetry::log(arguments.log.as_deref(), arguments.log_format, default)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .into_diagnostic()
        .wrap_err("cannot start the threads")?;
    runtime.block_on(dispatch(arguments.command, arguments.config))
}

async fn dispatch(command: Command, config: Option<PathBuf>) -> miette::Result<ExitCode> {
    let config = config.as_deref();
    match command {
        Command::Serve(serve) => serve::run(load(&serve.settings, config)?).await,
        Command::Migrate(migrate) => migrate::run(migrate.check, load(&migrate.settings, config)?).await,
        Command::Apply(apply) => {
            let settings = load(&apply.settings, config)?;
            apply::run(&apply, settings).await
        }
        Command::Get(get) => {
            let settings = load(&get.settings, config)?;
            get::run(&get, settings).await
        }
        Command::Describe(describe) => {
            let settings = load(&describe.settings, config)?;
            describe::run(&describe, settings).await
        }
        Command::Events(events) => {
            let settings = load(&events.settings, config)?;
            events::run(&events, settings).await
        }
        Command::Plan(plan) => {
            let settings = load(&plan.settings, config)?;
            plan::run(&plan, settings).await
        }
        Command::Doctor(doctor) => doctor::run(doctor.demo, load(&doctor.settings, config)).await,
        Command::Demo(demo) => demo::run(demo).await,
    }
}

fn load<const GROUPS: u8>(flags: &Flags<GROUPS>, config: Option<&Path>) -> miette::Result<Settings> {
    Ok(Settings::load(flags.values(), config)?)
}

//! Runs a command with the address of a fresh, empty database in `DATABASE_URL`; the database goes when the command ends:
//! `cargo run -p cluster --example with_database -- sh -c 'psql "$DATABASE_URL"'`

use cluster::{Cluster, Options};
use std::{env, error::Error, process::ExitCode};
use tokio::process::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments
        .next()
        .ok_or("a command is missing: with_database COMMAND [ARGUMENT]...")?;
    let cluster = Cluster::start(Options::default()).await?;
    let url = cluster.create_database("scratch").await?;
    let status = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", url)
        .kill_on_drop(true)
        .status()
        .await?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

//! `toolplane migrate`.

use super::connect;
use crate::configuration::Settings;
use miette::{IntoDiagnostic, WrapErr};
use std::process::ExitCode;

pub(super) async fn run(check: bool, settings: Settings) -> miette::Result<ExitCode> {
    let database = connect::database(&settings, None).await?;
    if check {
        let pending = database.migrations_pending().await.map_err(connect::Error::Unreachable)?;
        for name in &pending {
            println!("{name} pending");
        }
        return Ok(if pending.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let applied = database
        .migrate()
        .await
        .into_diagnostic()
        .wrap_err("the migration failed; nothing of it was kept")?;
    for name in &applied {
        println!("{name} applied");
    }
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    Ok(ExitCode::SUCCESS)
}

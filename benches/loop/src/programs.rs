//! Programs that stand on the other side of a comparison, built by cargo before they are started.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What cargo builds in release mode, by these arguments in this folder. `path` is where it is then, beside this program: where this
/// one was built, the others are too, and dependencies that are the same are built once.
pub(crate) async fn build(folder: &Path, arguments: &[&str], path: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]).args(arguments);
    command.current_dir(folder).env("CARGO_TARGET_DIR", root().join("target"));
    let status = command.status().await?;
    ensure!(status.success(), "{path} could not be built in {}", folder.display());
    let program = std::env::current_exe()?;
    let built = program.parent().context("a program is in a folder")?.join(path);
    ensure!(
        built.exists(),
        "run with --release: {path} is built that way, and {} is not there",
        built.display()
    );
    Ok(built)
}

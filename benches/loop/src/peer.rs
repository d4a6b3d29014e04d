//! The peer's side: built by cargo as the crate of its own that it is, with its server beside it.

use crate::subject::Subject;
use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::OnceCell,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where this program was built, the peer is too: dependencies that are the same are built once.
fn binary() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("a program is in a folder")?.join("bench-peer"))
}

/// Builds the peer in release mode.
async fn build() -> Result<()> {
    let folder = root().join("benches/peer");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]).current_dir(&folder);
    command.env("CARGO_TARGET_DIR", root().join("target"));
    let status = command.status().await?;
    ensure!(status.success(), "{} could not be built", folder.display());
    let binary = binary()?;
    ensure!(
        binary.exists(),
        "run with --release: the peer is built that way, and {} is not there",
        binary.display()
    );
    Ok(())
}

/// The server, with so many objects. Ends when it is dropped.
pub(crate) struct Server {
    _child: Child,
    address: String,
    count: u32,
    http: reqwest::Client,
}

impl Server {
    pub(crate) async fn start(count: u32) -> Result<Self> {
        static BUILT: OnceCell<()> = OnceCell::const_new();
        BUILT.get_or_try_init(build).await?;
        let mut command = Command::new(binary()?);
        command.args(["server", &count.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let output = child.stdout.take().context("standard output is piped")?;
        let address = BufReader::new(output)
            .lines()
            .next_line()
            .await?
            .context("it prints its address")?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self {
            _child: child,
            address,
            count,
            http,
        })
    }

    /// A fresh controller over its objects, once it has reconciled all.
    pub(crate) async fn controller(&self) -> Result<Subject> {
        let mut command = Command::new(binary()?);
        command.args(["controller", &self.address, &self.count.to_string()]);
        Subject::start(command).await
    }

    /// Changes an object. Returns when its event was sent, in nanoseconds since 1970.
    pub(crate) async fn touch(&self, number: u32) -> Result<u128> {
        self.post(&format!("touch/{number}")).await
    }

    /// Changes every object. Returns when the first event was sent, in nanoseconds since 1970.
    pub(crate) async fn burst(&self) -> Result<u128> {
        self.post("burst").await
    }

    async fn post(&self, path: &str) -> Result<u128> {
        let sent = self.http.post(format!("{}/{path}", self.address)).send().await?;
        Ok(sent.error_for_status()?.text().await?.parse()?)
    }
}

//! The peer's side: built by cargo as the crate of its own that it is, with its server beside it.

use crate::{
    programs::{build, root},
    subject::Subject,
};
use anyhow::{Context, Result};
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

/// Where it is, once it is built.
async fn binary() -> Result<&'static Path> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let folder = root().join("benches/peer");
    let built = BUILT.get_or_try_init(|| build(&folder, &[], "bench-peer")).await?;
    Ok(built)
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
        let mut command = Command::new(binary().await?);
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
        let mut command = Command::new(binary().await?);
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

//! `toolplane` as its users run it: a process, configured by its environment.

use crate::binary;
use nix::sys::signal::Signal;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};
use workbench::Child;

/// The settings of one installation, as environment variables.
#[derive(Clone, Debug)]
pub struct Settings(pub Vec<(&'static str, String)>);

impl Settings {
    /// The same settings with one of them changed or added.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
        self
    }

    /// `toolplane` with these settings and no others: nothing leaks in from whoever runs the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("toolplane"));
        command.args(arguments).env_clear();
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NO_COLOR", "1");
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs one command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        output(self.command(arguments)).await
    }

    /// As [`run`](Self::run), on a machine where `program` is not installed: hidden in a mount namespace of its own.
    pub async fn run_without(&self, program: &str, arguments: &[&str]) -> Output {
        let hide = "mount --bind /dev/null \"$(PATH=$PATH:/usr/sbin:/sbin command -v \"$0\")\" && exec \"$@\"";
        let inner = self.command(arguments);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--", "sh", "-c", hide, program])
            .arg(inner.get_program())
            .args(inner.get_args());
        command
            .env_clear()
            .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        output(command).await
    }
}

async fn output(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await
        .expect("the waiting thread ends")
        .expect("the command can be started")
}

/// `toolplane serve`, which a story may kill and start again.
pub struct ControlPlane {
    settings: Settings,
    address: SocketAddr,
    log: PathBuf,
    process: Option<Child>,
}

impl ControlPlane {
    /// Not started yet.
    pub fn new(settings: Settings, address: SocketAddr, folder: &Path) -> Self {
        Self {
            settings,
            address,
            log: folder.join("serve.log"),
            process: None,
        }
    }

    /// Starts it without waiting.
    pub fn start(&mut self) {
        let child = Child::spawn("toolplane serve", &self.settings.command(&["serve"]), &self.log);
        self.process = Some(child.expect("toolplane can be started"));
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// With the end of its log, when it ends instead.
    pub async fn ready(&mut self) {
        let address = self.address;
        let child = self.process.as_mut().expect("it was started");
        let listening = || async move { tokio::net::TcpStream::connect(address).await.is_ok() };
        if let Err(error) = child.wait_until(crate::wait::PATIENCE, listening).await {
            panic!("{error}");
        }
    }

    /// SIGKILL: no last words.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill();
        }
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(&mut self) -> Option<ExitStatus> {
        let mut child = self.process.take()?;
        child.signal(Signal::SIGTERM);
        child.stop(Duration::from_secs(30)).await
    }

    /// The end of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        workbench::children::log_tail(&self.log, lines)
    }
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    listener.local_addr().expect("a bound socket has an address")
}

//! A running machine: cloud-init's part once, then the agent, started again whenever it ends, as its systemd unit has it.

use super::{
    Boot, Halt,
    console::Console,
    disk::{Disk, Environment},
    download::{self, Bootstrap},
    nursery::Nursery,
    user_data,
};
use crate::config::Dial;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{error::Error, process::Stdio};
use tokio::{process::Child, sync::watch};

/// Runs one machine until it is halted.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) boot: Boot,
    pub(super) environment: Environment,
    pub(super) disk: Disk,
    pub(super) console: Console,
    pub(super) nursery: Nursery,
    pub(super) settings: Dial,
    pub(super) halted: watch::Receiver<Option<Halt>>,
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        self.console.line(&format!("power on, address {}", self.boot.address));
        match self.cloud_init() {
            Ok(true) => {}
            Ok(false) => return self.console.line("there is no agent in the user data"),
            Err(error) => return self.console.line(&error),
        }
        loop {
            match self.start().await {
                Ok(child) => {
                    if self.watch(child).await {
                        return;
                    }
                }
                Err(error) => self.console.line(&error),
            }
            let pause = tokio::time::sleep(self.settings.get().agent_restart());
            tokio::select! {
                () = pause => {}
                _ = self.halted.wait_for(Option::is_some) => return,
            }
        }
    }

    /// Writes the user data's files at the first boot. Whether there is an agent to run.
    fn cloud_init(&self) -> Result<bool, String> {
        let first = !self.disk.is_booted_before();
        self.disk
            .prepare(&self.environment)
            .map_err(|error| format!("the disk: {error}"))?;
        if first {
            let Some(user_data) = &self.boot.user_data else {
                return Ok(false);
            };
            let files = user_data::files(user_data).map_err(|error| error.to_string())?;
            for file in &files {
                let written = self.disk.write_file(file);
                written.map_err(|error| format!("{} could not be written: {error}", file.path))?;
            }
            self.console.line(&format!("cloud-init wrote {} files", files.len()));
        }
        Ok(self.disk.config_path().exists())
    }

    /// Gets the agent when it is not there, and starts it. Given up when the machine is halted meanwhile.
    async fn start(&self) -> Result<Child, String> {
        let fetched = async {
            let bootstrap = Bootstrap::read(&self.disk)?;
            download::fetch(&self.disk, &bootstrap).await
        };
        let mut halted = self.halted.clone();
        tokio::select! {
            fetched = fetched => fetched.map_err(|error| with_causes(&error))?,
            _ = halted.wait_for(Option::is_some) => return Err("halted before the agent was there".to_owned()),
        }
        let mut command = Nursery::command(&self.disk.agent_path());
        command.arg("run").envs(&self.environment);
        let output = |file: Option<std::fs::File>| file.map_or_else(Stdio::null, Stdio::from);
        command
            .stdout(output(self.console.append()))
            .stderr(output(self.console.append()));
        let child = self.nursery.spawn(command).await;
        let child = child.map_err(|error| format!("the agent could not be started: {error}"))?;
        self.console
            .line(&format!("the agent runs as process {}", child.id().unwrap_or(0)));
        self.console.agent_is(child.id());
        Ok(child)
    }

    /// Waits for the agent's end. Whether the machine was halted.
    async fn watch(&mut self, mut child: Child) -> bool {
        let halt = tokio::select! {
            ended = child.wait() => {
                let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                self.console.line(&format!("the agent has ended: {ended}"));
                None
            }
            halt = self.halted.wait_for(Option::is_some) => halt.map_or(Some(Halt::PowerOff), |halt| *halt),
        };
        let group = child.id();
        if let Some(Halt::Shutdown(grace)) = halt {
            signal(group, Signal::SIGTERM);
            // Killed below when it does not end in time.
            let _ = tokio::time::timeout(grace, child.wait()).await;
        }
        signal(group, Signal::SIGKILL);
        let _ = child.wait().await;
        self.console.agent_is(None);
        halt.is_some()
    }
}

/// Signals the agent's process group: an agent may have children.
fn signal(group: Option<u32>, signal: Signal) {
    if let Some(group) = group.and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended just now.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

fn with_causes(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

//! One run of `postgres`: from its start to its exit.

use crate::{Error, account::Account, binaries::Binaries, directory::Directory};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

/// Bounds a hang; a start takes well under a second.
const READY_DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);

/// The death signal fires when the spawning thread ends, not the process. So each `postgres` has a thread of its own, which then
/// waits for it and tells how it ended.
async fn spawn(mut command: Command) -> io::Result<(Pid, watch::Receiver<Option<ExitStatus>>)> {
    let (started, start) = oneshot::channel();
    let (ended, exited) = watch::channel(None);
    std::thread::Builder::new()
        .name("postgres".to_owned())
        .spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _ = started.send(Ok(child.id()));
                ended.send_replace(child.wait().ok());
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })?;
    let id = start.await.map_err(io::Error::other)??;
    Ok((Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?), exited))
}

/// A `postgres` that was started. Dropping it does not end it.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    exited: watch::Receiver<Option<ExitStatus>>,
}

impl Postmaster {
    /// Starts `postgres` on `port` and waits until it takes connections.
    pub(crate) async fn start(
        binaries: &Binaries,
        account: Account,
        directory: &Directory,
        port: u16,
        settings: &[(String, String)],
    ) -> Result<Self, Error> {
        let failed = |source| Error::Spawn {
            program: format!("setpriv, which starts {}", binaries.postgres.display()),
            source,
        };
        // SIGQUIT: an immediate shutdown, which still frees the shared memory; after SIGKILL it would stay for good.
        let mut command = account.command(binaries.postgres.as_os_str(), "QUIT");
        command.arg("-D").arg(directory.data()).arg("-p").arg(port.to_string());
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.log())
            .map_err(failed)?;
        command
            .current_dir(directory.path())
            // Ctrl-C in a terminal is meant for whoever started us, and he says when the database ends.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        let (pid, exited) = spawn(command).await.map_err(failed)?;
        let postmaster = Self { pid, exited };
        match postmaster.ready(directory).await {
            Ok(()) => Ok(postmaster),
            Err(error) => {
                postmaster.signal(Signal::SIGQUIT);
                Err(error)
            }
        }
    }

    /// Waits for the line of `postmaster.pid` that `pg_ctl` waits for.
    async fn ready(&self, directory: &Directory) -> Result<(), Error> {
        let deadline = Instant::now() + READY_DEADLINE;
        let not_ready = |what: String| Error::NotReady {
            what,
            log: directory.log_tail(),
        };
        let own_pid = self.pid.to_string();
        loop {
            if self.exited.has_changed().is_err() || self.exited.borrow().is_some() {
                let status = self
                    .exited
                    .borrow()
                    .map_or_else(|| "an unknown status".to_owned(), |status| status.to_string());
                return Err(not_ready(format!("ended with {status}")));
            }
            let file = fs::read_to_string(directory.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = file.lines().map(str::trim);
            // The first line tells the file of this run from that of a killed one.
            if lines.next() == Some(&own_pid) && lines.nth(6) == Some("ready") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(not_ready(format!("was not ready after {} s", READY_DEADLINE.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&self) -> bool {
        self.exited.borrow().is_none() && self.exited.has_changed().is_ok()
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.runs() {
            match kill(self.pid, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => tracing::warn!(pid = %self.pid, %error, "postgres could not be signalled"),
            }
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        // An error means that the waiting thread is gone, which it is only after the end.
        let _ = self.exited.wait_for(Option::is_some).await;
    }

    /// Waits for its end without an executor, at most `deadline`.
    pub(crate) fn ended_blocking(&self, deadline: Duration) {
        let started = std::time::Instant::now();
        while self.runs() && started.elapsed() < deadline {
            std::thread::sleep(POLL);
        }
    }

    #[cfg(test)]
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }
}

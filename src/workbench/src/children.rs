//! Processes that end with us.
//!
//! Owns: starting a process so that the kernel kills it when this process dies, by whatever cause; its log file; its orderly end.
//! Must not: start anything that is meant to survive. Promises: no child outlives this process, and none gets the terminal's
//! Ctrl-C directly, so that whoever started it decides the order of ending.

use crate::Error;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsStr,
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    time::{Duration, Instant},
};

type Spawned = std::io::Result<std::process::Child>;

/// The kernel sends the death signal when the *thread* that forked the child ends, so all are forked from one that never does.
static SPAWNER: LazyLock<mpsc::Sender<(Command, mpsc::Sender<Spawned>)>> = LazyLock::new(|| {
    let (requests, queue) = mpsc::channel::<(Command, mpsc::Sender<Spawned>)>();
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for (mut command, answer) in queue {
                // Whoever asked may have gone; the child is then dropped unobserved and dies with us.
                let _ = answer.send(command.spawn());
            }
        })
        .expect("a thread can be started");
    requests
});

/// A process of ours. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with its output appended to `log`. `name` is for messages.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Result<Self, Error> {
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output = output.map_err(Error::file(log))?;
        let errors = output.try_clone().map_err(Error::file(log))?;
        let mut mortal = mortal(command);
        mortal.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let process = spawn_lasting(mortal).map_err(|source| Error::Spawn {
            name: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            process,
            log: log.to_owned(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(&self.log, lines)
    }

    /// Fails when it has ended, with the end of its log.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.process.try_wait() {
            Ok(Some(status)) => Err(Error::Ended {
                name: self.name.clone(),
                status,
                tail: self.log_tail(15),
                log: self.log.clone(),
            }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Waits until `ready` says so; fails when the process ends before that, or after `limit`.
    pub async fn wait_until<F: Future<Output = bool>>(&mut self, limit: Duration, ready: impl Fn() -> F) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while !ready().await {
            self.check()?;
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    name: self.name.clone(),
                    seconds: limit.as_secs(),
                    tail: self.log_tail(15),
                    log: self.log.clone(),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Sends a signal; a process that has ended already is none the worse for it.
    pub fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.process.id()) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// SIGTERM, then SIGKILL after `grace`. Returns how it ended.
    pub async fn stop(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill()
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        let _ = self.process.kill();
        self.process.wait().ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file; empty when there is none.
pub fn log_tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The same command, run by `setpriv` so that it is killed when the thread that starts it ends.
fn mortal(command: &Command) -> Command {
    let mut mortal = Command::new("setpriv");
    mortal.args(["--pdeathsig", "KILL", "--"]);
    mortal.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => mortal.env(name, value),
            None => mortal.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        mortal.current_dir(folder);
    }
    mortal
}

fn spawn_lasting(command: Command) -> Spawned {
    let (answer, spawned) = mpsc::channel();
    let gone = || std::io::Error::other("the spawning thread is gone");
    SPAWNER.send((command, answer)).map_err(|_| gone())?;
    spawned.recv().map_err(|_| gone())?
}

/// Looks a program up in `PATH` and in the folders of the system's administrator, which a user's `PATH` often lacks.
pub fn find_program(name: &str, remedy: &str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(OsStr::new(name)))
        .find(|program| program.is_file())
        .ok_or_else(|| Error::ProgramMissing {
            program: name.to_owned(),
            remedy: remedy.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(id: u32) -> bool {
        // A zombie is dead, and only waits for its parent.
        std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn a_child_is_stopped_gently_and_its_output_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap 'echo bye; exit 7' TERM; echo hello; while :; do sleep 0.05; done"]);
        let mut child = Child::spawn("shell", &shell, &folder.path().join("logs/shell.log")).unwrap();
        child
            .wait_until(Duration::from_secs(20), async || {
                log_tail(&folder.path().join("logs/shell.log"), 1) == "hello"
            })
            .await
            .unwrap();
        let status = child.stop(Duration::from_secs(20)).await.unwrap();
        assert_eq!(status.code(), Some(7));
        assert_eq!(child.log_tail(5), "hello\nbye");
    }

    #[tokio::test]
    async fn one_that_ends_too_early_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no such luck; exit 3"]);
        let mut child = Child::spawn("shell", &shell, &folder.path().join("log")).unwrap();
        let error = child.wait_until(Duration::from_secs(20), async || false).await.unwrap_err();
        assert!(error.to_string().contains("shell ended with exit status: 3"), "{error}");
        assert!(error.to_string().contains("no such luck"), "{error}");
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_and_not_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let child = std::thread::spawn(move || Child::spawn("sleep", &sleep, &log).unwrap())
            .join()
            .unwrap();
        let id = child.id();
        std::thread::sleep(Duration::from_millis(100));
        assert!(alive(id), "killed with the thread that asked for it");
        drop(child);
        assert!(!alive(id));
    }
}

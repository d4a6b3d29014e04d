//! A container engine: the user's when one answers, else a private one.
//!
//! A private engine must not be noticed by anyone else on the machine, nor outlive us. So it has its own folders and socket; it
//! touches neither the machine's firewall nor its routing, and makes no default bridge (an engine's own networks choose free
//! subnets by themselves); and it runs in process and mount namespaces of its own, whose end takes every container, shim and
//! mount along.

use crate::{Child, Error, children::find_program};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

/// Where an engine is looked for when `DOCKER_HOST` does not say.
pub const SYSTEM_SOCKET: &str = "unix:///var/run/docker.sock";

/// How the Docker packages of Debian are had.
const REMEDY: &str = "on Debian: `apt install docker.io`";

/// A running engine. Dropping a private one ends it with everything that it ran.
#[derive(Debug)]
pub struct Engine {
    host: String,
    configuration: PathBuf,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    process: Child,
    folder: PathBuf,
}

impl Engine {
    /// The engine at `DOCKER_HOST` or at the system's socket, or a private one with its data in `folder`.
    pub async fn find_or_start(folder: &Path) -> Result<Self, Error> {
        let mut candidates: Vec<String> = std::env::var("DOCKER_HOST")
            .into_iter()
            .filter(|host| !host.is_empty())
            .collect();
        candidates.push(SYSTEM_SOCKET.to_owned());
        for host in &candidates {
            if ping(host).await.is_ok() {
                return Self::at(host.clone(), folder);
            }
        }
        if !nix::unistd::Uid::effective().is_root() {
            return Err(Error::EngineNeedsRoot {
                tried: candidates.join(" and "),
            });
        }
        Self::start(folder).await
    }

    /// An engine that runs already and is not ours.
    pub fn at(host: String, folder: &Path) -> Result<Self, Error> {
        // The user's own configuration may name credential helpers and contexts that are not meant for us.
        let configuration = folder.join("docker-configuration");
        std::fs::create_dir_all(&configuration).map_err(Error::file(&configuration))?;
        Ok(Self {
            host,
            configuration,
            private: None,
        })
    }

    /// Starts a private engine; its containers and networks of an earlier, killed run are removed. Needs root.
    pub async fn start(folder: &Path) -> Result<Self, Error> {
        let dockerd = find_program("dockerd", REMEDY)?;
        let engine_folder = folder.join("engine");
        std::fs::create_dir_all(&engine_folder).map_err(Error::file(&engine_folder))?;
        let socket = engine_folder.join("docker.sock");
        if socket.as_os_str().len() > 107 {
            return Err(Error::PathTooLong {
                length: socket.as_os_str().len(),
                path: socket,
            });
        }
        // A killed engine leaves process ids, its own and its containerd's. In a new process namespace these low numbers are soon
        // someone else's: the next engine would refuse to start over the one, and take the other for a containerd that still runs.
        for left in ["docker.pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(engine_folder.join(left));
        }
        let mut engine = Self::at(format!("unix://{}", socket.display()), folder)?;
        let log = folder.join("logs/engine.log");
        let mut process = Child::spawn(
            "the private Docker engine",
            &command(&dockerd, &engine_folder, &engine.host),
            &log,
        )?;
        let host = engine.host.clone();
        process
            .wait_until(Duration::from_mins(1), || async { ping(&host).await.is_ok() })
            .await?;
        engine.private = Some(Private {
            process,
            folder: engine_folder,
        });
        engine.clear();
        Ok(engine)
    }

    /// As in `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it was started here, and ends with us.
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Where it logs, when it was started here.
    pub fn log(&self) -> Option<&Path> {
        self.private.as_ref().map(|private| private.process.log())
    }

    /// Runs the `docker` command line against this engine and returns what it printed, trimmed.
    pub async fn docker<S: AsRef<str>>(&self, arguments: &[S]) -> Result<String, Error> {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = tokio::process::Command::from(self.command(&arguments)?);
        let output = command.kill_on_drop(true).output().await;
        finish(&arguments, output)
    }

    fn docker_now(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = self.command(arguments)?.output();
        finish(arguments, output)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, Error> {
        let mut command = Command::new(find_program("docker", REMEDY)?);
        command.args(arguments);
        self.address(&mut command);
        Ok(command)
    }

    /// Has the `docker` commands that `command` runs speak to this engine.
    pub(crate) fn address(&self, command: &mut Command) {
        command
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", &self.configuration)
            // The classic builder: BuildKit is a separate package, and packing one file needs none of it.
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_CLI_HINTS", "false");
    }

    /// Removes every container and network of a private engine: their bridges would stay in the kernel.
    fn clear(&self) {
        for (list, remove) in [
            (&["ps", "--all", "--quiet"][..], &["rm", "--force", "--volumes"][..]),
            (&["network", "ls", "--quiet", "--filter", "type=custom"], &["network", "rm"]),
        ] {
            let ids = self.docker_now(list).unwrap_or_default();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty()
                && let Err(error) = self.docker_now(&[remove, &ids].concat())
            {
                tracing::warn!(%error, "could not clear the private engine");
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.private.is_none() {
            return;
        }
        self.clear();
        if let Some(mut private) = self.private.take() {
            private.process.kill();
            if let Err(error) = std::fs::remove_dir_all(&private.folder) {
                tracing::debug!(%error, folder = %private.folder.display(), "could not remove the private engine's data");
            }
        }
    }
}

/// `unshare` ends its namespaces when it is killed. The shell is the first process in there, and as such collects the shims that
/// lost their parents; `dockerd` would leave them as zombies.
fn command(dockerd: &Path, folder: &Path, host: &str) -> Command {
    let mut command = Command::new("unshare");
    // It looks for containerd, runc and docker-proxy in its PATH, which a user's often lacks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    command.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount",
        "--mount-proc",
        "--propagation",
        "slave",
        "--",
    ]);
    command.args(["sh", "-c", "\"$@\" & wait $!", "sh"]).arg(dockerd);
    command.arg("--data-root").arg(folder.join("data"));
    command.arg("--exec-root").arg(folder.join("exec"));
    command.arg("--pidfile").arg(folder.join("docker.pid"));
    command.args(["--host", host, "--bridge", "none"]);
    command.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
    // Each droplet has a network of its own; the default pools hold some thirty. Subnets that the machine uses are left out.
    for pool in ["base=10.213.0.0/16,size=26", "base=172.30.0.0/16,size=26"] {
        command.args(["--default-address-pool", pool]);
    }
    // systemd, the other driver, cannot see the processes of our namespace.
    command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
    command
}

fn finish(arguments: &[&str], output: std::io::Result<Output>) -> Result<String, Error> {
    let output = output.map_err(|source| Error::Spawn {
        name: "docker".to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(Error::Docker {
        arguments: arguments.join(" "),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Asks an engine for a sign of life. `host` is as in `DOCKER_HOST`: `unix:///path` or `tcp://address:port`.
pub async fn ping(host: &str) -> Result<(), Error> {
    let silent = |reason: String| Error::EngineSilent {
        host: host.to_owned(),
        reason,
    };
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5));
    let (builder, url) = match host.split_once("://") {
        Some(("unix", path)) => (builder.unix_socket(path), "http://localhost/_ping".to_owned()),
        Some(("tcp" | "http", address)) => (builder, format!("http://{address}/_ping")),
        _ => return Err(silent("expected unix:///path or tcp://address:port".to_owned())),
    };
    let client = builder.build().map_err(|error| silent(error.to_string()))?;
    let answer = client.get(url).send().await.map_err(|error| silent(innermost(&error)))?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(silent(format!("it answered {}", answer.status())))
    }
}

/// The cause that says most: "No such file or directory" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install_tls() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }

    #[tokio::test]
    async fn silence_is_named_with_its_cause() {
        install_tls();
        let error = ping("unix:///nowhere/docker.sock").await.unwrap_err().to_string();
        assert_eq!(
            error,
            "no Docker engine answers on unix:///nowhere/docker.sock: No such file or directory (os error 2)"
        );
        let error = ping("ssh://elsewhere").await.unwrap_err().to_string();
        assert!(error.contains("expected unix:///path or tcp://address:port"), "{error}");
    }

    #[tokio::test]
    async fn a_folder_that_is_too_deep_for_a_socket_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        let error = Engine::start(&deep).await.unwrap_err().to_string();
        assert!(error.contains("too long for a Unix socket"), "{error}");
    }
}

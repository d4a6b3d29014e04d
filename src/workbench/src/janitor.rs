//! What clears up when we cannot: things on an engine that outlives us, after a SIGKILL of this process.

use crate::{Engine, Error};
use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

/// Waits for the end of its standard input, which the kernel closes when we die. The second is for the agents, which die with us
/// and might be about to create one more container.
const SCRIPT: &str = r#"
cat >/dev/null
sleep 1
if [ -n "$1" ]; then
    docker ps --all --quiet --filter "label=$1" | xargs --no-run-if-empty docker rm --force --volumes
    docker network ls --quiet --filter "label=$1" | xargs --no-run-if-empty docker network rm
fi
if [ -n "$2" ]; then
    docker images --quiet --filter "reference=$2" | xargs --no-run-if-empty docker rmi --force
fi
"#;

/// A process that clears up when this one ends. Dropping it has it done now.
#[derive(Debug)]
pub struct Janitor {
    process: std::process::Child,
}

impl Janitor {
    /// Will remove every container and network that carries `label`, such as `io.toolplane.environment=<id>`.
    pub fn of_label(engine: &Engine, label: &str) -> Result<Self, Error> {
        Self::watch(engine, label, "")
    }

    /// Will remove every image with this name, whatever its tags: `127.0.0.1:5000/acme/echo`.
    pub fn of_image(engine: &Engine, name: &str) -> Result<Self, Error> {
        Self::watch(engine, "", name)
    }

    fn watch(engine: &Engine, label: &str, image: &str) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "janitor", label, image]);
        engine.address(&mut command);
        // The one process that is meant to outlive us, for a moment.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let process = command.spawn().map_err(|source| Error::Spawn {
            name: "the janitor".to_owned(),
            source,
        })?;
        Ok(Self { process })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

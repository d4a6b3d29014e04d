//! What clears up when we cannot: containers and networks on an engine that outlives us, after a SIGKILL of this process.

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
docker ps --all --quiet --filter "label=$1" | xargs --no-run-if-empty docker rm --force --volumes
docker network ls --quiet --filter "label=$1" | xargs --no-run-if-empty docker network rm
"#;

/// A process that, when this one ends, removes every container and network that carries one label. Dropping it has it done now.
#[derive(Debug)]
pub struct Janitor {
    process: std::process::Child,
}

impl Janitor {
    /// Watches over what carries `label`, such as `io.toolplane.environment=<id>`, on an engine that is not ours.
    pub fn watch(engine: &Engine, label: &str) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "janitor", label]);
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

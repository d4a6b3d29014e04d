//! One container as the engine shows it.
//!
//! Owns: reading the engine's answer into types. Must not: ask the engine anything. Promises: what does not carry the labels of
//! this droplet and of an instance is no [`Container`].

use crate::labels;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, PortMap};
use jiff::{SignedDuration, Timestamp};
use model::{DropletId, InstanceId};
use std::{fmt, net::SocketAddr};

/// The engine's full id of a container. Never a name and never a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A container of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Which.
    pub id: ContainerId,
    /// The instance that its label names.
    pub instance: InstanceId,
    /// The generation that its label names.
    pub generation: i64,
    /// The hash of the specification that its label names.
    pub spec_hash: String,
    /// The tool's version that its label names.
    pub version: Option<String>,
    /// The image that its label names.
    pub image_digest: Option<String>,
    /// Seconds between SIGTERM and SIGKILL, as set at creation.
    pub grace_seconds: u32,
    /// When it was created.
    pub created: Timestamp,
    /// The loopback address that its port is published at.
    pub address: Option<SocketAddr>,
    /// What its process does.
    pub lifecycle: Lifecycle,
    /// What its probe says.
    pub readiness: Readiness,
}

/// Where a container's process stands.
///
/// ```text
/// Created -> Running <-> Paused
///    |          |  ^        |
///    |          v  |        v
///    |        Exited <------+
///    +----------+---> Removing -> (gone)  or  Broken
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Never started: the next pass starts it.
    Created,
    /// Its process runs: the next pass probes it.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Someone froze it: the next pass thaws it.
    Paused,
    /// Its process ended: the next pass starts it again when its time has come.
    Exited(Exit),
    /// The engine is removing it: the next pass looks again.
    Removing,
    /// The engine failed to remove it: the next pass removes it.
    Broken,
}

/// How a container's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 and the signal's number for a killed process.
    pub code: i64,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// When.
    pub at: Timestamp,
    /// How long it ran.
    pub ran_for: SignedDuration,
    /// What it wrote last.
    pub last_output: String,
}

/// What the probe of a running container says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not asked.
    Unprobed,
    /// The probe passed.
    Ready,
    /// It has not passed since the container was started.
    NotYet {
        /// What went wrong the last time.
        message: String,
    },
    /// It passed before and has failed since.
    Lost {
        /// How often in a row.
        failures: u32,
        /// What went wrong the last time.
        message: String,
    },
}

impl Container {
    /// Reads the engine's answer; `None` for what is not a container of this droplet.
    pub(crate) fn read(droplet: DropletId, answer: ContainerInspectResponse) -> Option<Self> {
        let config = answer.config?;
        let labels = config.labels?;
        if labels.get(labels::DROPLET)? != &droplet.to_string() {
            return None;
        }
        let grace = config.stop_timeout.and_then(|seconds| u32::try_from(seconds).ok());
        Some(Self {
            id: ContainerId(answer.id?),
            instance: labels.get(labels::INSTANCE)?.parse().ok()?,
            generation: labels.get(labels::GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0),
            spec_hash: labels.get(labels::SPEC_HASH).cloned().unwrap_or_default(),
            version: labels.get(labels::VERSION).cloned(),
            image_digest: labels.get(labels::IMAGE_DIGEST).cloned(),
            grace_seconds: grace.unwrap_or(10),
            created: timestamp(answer.created.as_deref()),
            address: answer
                .network_settings
                .and_then(|settings| settings.ports)
                .as_ref()
                .and_then(published),
            lifecycle: lifecycle(answer.state.as_ref()?)?,
            readiness: Readiness::Unprobed,
        })
    }

    /// Whether its process exists, so that it has to be stopped before it is removed.
    pub fn is_up(&self) -> bool {
        match self.lifecycle {
            Lifecycle::Running { .. } | Lifecycle::Paused => true,
            Lifecycle::Created | Lifecycle::Exited(_) | Lifecycle::Removing | Lifecycle::Broken => false,
        }
    }
}

fn lifecycle(state: &ContainerState) -> Option<Lifecycle> {
    let since = timestamp(state.started_at.as_deref());
    let at = timestamp(state.finished_at.as_deref());
    Some(match state.status? {
        ContainerStateStatusEnum::CREATED => Lifecycle::Created,
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::RESTARTING | ContainerStateStatusEnum::STOPPING => {
            Lifecycle::Running { since }
        }
        ContainerStateStatusEnum::PAUSED => Lifecycle::Paused,
        ContainerStateStatusEnum::EXITED => Lifecycle::Exited(Exit {
            code: state.exit_code.unwrap_or(-1),
            out_of_memory: state.oom_killed.unwrap_or(false),
            at,
            ran_for: at.duration_since(since),
            last_output: String::new(),
        }),
        ContainerStateStatusEnum::REMOVING => Lifecycle::Removing,
        ContainerStateStatusEnum::DEAD => Lifecycle::Broken,
        ContainerStateStatusEnum::EMPTY => return None,
    })
}

/// The first published address. At creation one port at most is published, on loopback only.
fn published(ports: &PortMap) -> Option<SocketAddr> {
    ports.values().flatten().flatten().find_map(|binding| {
        let ip = binding.host_ip.as_deref()?.parse().ok()?;
        let port = binding.host_port.as_deref()?.parse().ok()?;
        Some(SocketAddr::new(ip, port))
    })
}

fn timestamp(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(droplet: &str, state: &serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(serde_json::json!({
            "Id": "abc", "Created": "2026-01-01T00:00:00.5Z", "State": state,
            "Config": {"StopTimeout": 7, "Labels": {
                "io.toolplane.droplet": droplet, "io.toolplane.instance": "00000000-0000-0000-0000-000000000001",
                "io.toolplane.generation": "3", "io.toolplane.spec-hash": "v1:x", "io.toolplane.version": "1.0"}},
            "NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}], "9/tcp": null}},
        }))
        .unwrap()
    }

    #[test]
    fn the_engines_answer_is_read() {
        let state = serde_json::json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true,
            "StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": "2026-01-01T00:00:04.25Z"});
        let container = Container::read(DropletId(4), answer("4", &state)).unwrap();
        assert_eq!(container.address, Some(([127, 0, 0, 1], 49_153).into()));
        assert_eq!((container.generation, container.grace_seconds), (3, 7));
        let Lifecycle::Exited(exit) = container.lifecycle else {
            panic!("{:?}", container.lifecycle)
        };
        assert_eq!((exit.code, exit.out_of_memory), (137, true));
        assert_eq!(exit.ran_for, SignedDuration::from_millis(3_250));
    }

    #[test]
    fn another_droplets_container_is_not_ours() {
        let state = serde_json::json!({"Status": "running"});
        assert!(Container::read(DropletId(4), answer("4", &state)).is_some());
        assert_eq!(Container::read(DropletId(4), answer("40", &state)), None);
        assert_eq!(Container::read(DropletId(40), answer("4", &state)), None);
    }
}

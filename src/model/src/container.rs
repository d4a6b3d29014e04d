//! The typed allow-list of container settings. There is no raw `HostConfig`: what is not a field here cannot be asked for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the agent tells that a tool is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum Probe {
    /// A TCP connection to the tool's port is accepted.
    #[default]
    Tcp,
    /// `GET path` answers 2xx or 3xx.
    Http {
        /// Absolute path, such as `/healthz`.
        path: String,
    },
    /// An MCP server at `path` answers `server/discover` (or, before the 2026-07-28 revision, `initialize`).
    Mcp {
        /// Absolute path, such as `/mcp`.
        path: String,
    },
}

/// What a catalog entry sets, and an instance may override field by field (`config_values_override`). Every field is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerDefaults {
    /// Environment variables; an override adds to and replaces single names. Never a secret: they show in `docker inspect`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Arguments in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
    /// The port that the tool listens on inside its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
    /// Memory limit in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// CPU limit in thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Limit of processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// How readiness is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// Seconds between SIGTERM and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_seconds: Option<u32>,
}

/// One container, completely specified: what the agent runs. Compiled from catalog defaults and instance overrides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// Image reference, by tag or by digest.
    pub image: String,
    /// Environment variables. Never a secret.
    pub environment: BTreeMap<String, String>,
    /// Arguments in place of the image's own, or the image's own.
    pub arguments: Option<Vec<String>>,
    /// The port that the tool listens on inside its container; `None` for a tool that listens on none.
    pub container_port: Option<u16>,
    /// Memory limit in MiB.
    pub memory_mb: u32,
    /// CPU limit in thousandths of a core.
    pub cpu_millis: u32,
    /// Limit of processes and threads.
    pub pids: u32,
    /// How readiness is told.
    pub probe: Probe,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace_seconds: u32,
}

impl ContainerDefaults {
    /// `self` where `over` says nothing, `over` where it does; environment variables merge by name.
    #[must_use]
    pub fn overridden_by(&self, over: &Self) -> Self {
        let mut environment = self.environment.clone();
        environment.extend(over.environment.clone());
        Self {
            environment,
            arguments: over.arguments.clone().or_else(|| self.arguments.clone()),
            container_port: over.container_port.or(self.container_port),
            memory_mb: over.memory_mb.or(self.memory_mb),
            cpu_millis: over.cpu_millis.or(self.cpu_millis),
            pids: over.pids.or(self.pids),
            probe: over.probe.clone().or_else(|| self.probe.clone()),
            stop_grace_seconds: over.stop_grace_seconds.or(self.stop_grace_seconds),
        }
    }

    /// Fills what is still open: 256 MiB, half a core, 128 processes, TCP probe, 10 seconds of grace.
    pub fn into_spec(self, image: String) -> ContainerSpec {
        ContainerSpec {
            image,
            environment: self.environment,
            arguments: self.arguments,
            container_port: self.container_port,
            memory_mb: self.memory_mb.unwrap_or(256),
            cpu_millis: self.cpu_millis.unwrap_or(500),
            pids: self.pids.unwrap_or(128),
            probe: self.probe.unwrap_or_default(),
            stop_grace_seconds: self.stop_grace_seconds.unwrap_or(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_replaces_fields_and_merges_variables() {
        let defaults: ContainerDefaults = serde_json::from_str(
            r#"{"environment": {"A": "1", "B": "2"}, "memory_mb": 64, "probe": {"type": "mcp", "path": "/mcp"}}"#,
        )
        .unwrap();
        let over: ContainerDefaults = serde_json::from_str(r#"{"environment": {"B": "3"}, "memory_mb": 96}"#).unwrap();
        let spec = defaults.overridden_by(&over).into_spec("acme/echo:1".to_owned());
        assert_eq!(
            spec.environment,
            BTreeMap::from([("A".into(), "1".into()), ("B".into(), "3".into())])
        );
        assert_eq!((spec.memory_mb, spec.cpu_millis), (96, 500));
        assert_eq!(spec.probe, Probe::Mcp { path: "/mcp".to_owned() });
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_by_name() {
        let refused = serde_json::from_str::<ContainerDefaults>(r#"{"privileged": true}"#)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("unknown field `privileged`"), "{refused}");
    }
}

//! What a simulator is started with, and what can be changed while it runs.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How to start a simulator.
#[derive(Clone, Debug)]
pub struct Config {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to speak TLS as well, for clients that insist on it. Its certificate is in the state folder, in `ca.pem`.
    pub tls_listen: Option<SocketAddr>,
    /// The only token that is accepted.
    pub token: SecretString,
    /// Where droplets have their disks. Locked while the simulator runs; what a killed one left there is cleared first.
    pub state_dir: PathBuf,
    /// `DOCKER_HOST` of the agents.
    pub docker_host: String,
    /// The first droplet's id; random when absent, so that simulators side by side do not share droplet addresses.
    pub first_droplet_id: Option<u64>,
    /// Two live droplets that carry the same tag with this prefix are an entry in the journal.
    pub watched_tag_prefix: String,
    /// What can be changed while it runs.
    pub settings: Settings,
}

impl Config {
    /// A simulator on a free port, with the defaults of everything else.
    pub fn new(token: SecretString, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_listen: None,
            token,
            state_dir: state_dir.into(),
            docker_host: "unix:///var/run/docker.sock".to_owned(),
            first_droplet_id: None,
            watched_tag_prefix: "toolplane:environment:".to_owned(),
            settings: Settings::default(),
        }
    }
}

/// Delays, lags and limits. On the control endpoints a JSON object, of which any part can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether droplets run the agent of their user data. Without, they become active all the same, and run nothing.
    pub boot_agents: bool,
    /// From a create to `active`, in milliseconds.
    pub boot_ms: u64,
    /// From an action's start to its end, in milliseconds.
    pub action_ms: u64,
    /// From a delete to the droplet's end, in milliseconds.
    pub delete_ms: u64,
    /// From a change of a firewall to its being in force, in milliseconds.
    pub firewall_ms: u64,
    /// From an agent's end, or a failed download, to the next attempt, in milliseconds.
    pub agent_restart_ms: u64,
    /// How long a shutdown waits for the agent before it is killed, in milliseconds.
    pub shutdown_ms: u64,
    /// Lists of droplets are as they were this long ago, in milliseconds.
    pub list_lag_ms: u64,
    /// Lists of firewalls are as they were this long ago, in milliseconds.
    pub firewall_list_lag_ms: u64,
    /// For how long after its create a droplet is in no list and its GET answers 404, in milliseconds.
    pub hide_after_create_ms: u64,
    /// From `active` to the droplet's having its addresses, in milliseconds.
    pub addressless_ms: u64,
    /// The account's `droplet_limit`.
    pub droplet_limit: u32,
    /// Requests in any minute before a 429.
    pub requests_per_minute: u32,
    /// Requests in any hour before a 429.
    pub requests_per_hour: u32,
    /// How long the minute of the rate limit is, in milliseconds. Headers speak of whole seconds, rounded up, whatever it is.
    pub minute_ms: u64,
    /// How long the hour of the rate limit is, in milliseconds.
    pub hour_ms: u64,
    /// How many entries the journal keeps; it counts what it drops.
    pub journal_kept: usize,
    /// How many actions that have ended are kept; what is dropped is counted.
    pub actions_kept: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            boot_agents: true,
            boot_ms: 500,
            action_ms: 300,
            delete_ms: 300,
            firewall_ms: 200,
            agent_restart_ms: 1_000,
            shutdown_ms: 10_000,
            list_lag_ms: 0,
            firewall_list_lag_ms: 0,
            hide_after_create_ms: 0,
            addressless_ms: 0,
            droplet_limit: 1_000,
            requests_per_minute: 250,
            requests_per_hour: 5_000,
            minute_ms: 60_000,
            hour_ms: 3_600_000,
            journal_kept: 200_000,
            actions_kept: 20_000,
        }
    }
}

impl Settings {
    pub(crate) fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms)
    }

    pub(crate) fn action(&self) -> Duration {
        Duration::from_millis(self.action_ms)
    }

    pub(crate) fn delete(&self) -> Duration {
        Duration::from_millis(self.delete_ms)
    }

    pub(crate) fn firewall(&self) -> Duration {
        Duration::from_millis(self.firewall_ms)
    }

    pub(crate) fn addressless(&self) -> Duration {
        Duration::from_millis(self.addressless_ms)
    }

    pub(crate) fn hide_after_create(&self) -> Duration {
        Duration::from_millis(self.hide_after_create_ms)
    }

    pub(crate) fn list_lag(&self) -> Duration {
        Duration::from_millis(self.list_lag_ms)
    }

    pub(crate) fn firewall_list_lag(&self) -> Duration {
        Duration::from_millis(self.firewall_list_lag_ms)
    }

    pub(crate) fn minute(&self) -> Duration {
        Duration::from_millis(self.minute_ms)
    }

    pub(crate) fn hour(&self) -> Duration {
        Duration::from_millis(self.hour_ms)
    }

    pub(crate) fn agent_restart(&self) -> Duration {
        Duration::from_millis(self.agent_restart_ms)
    }

    pub(crate) fn shutdown(&self) -> Duration {
        Duration::from_millis(self.shutdown_ms)
    }
}

/// The settings, as everything that obeys them shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dial(Arc<Mutex<Settings>>);

impl Dial {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(settings)))
    }

    pub(crate) fn get(&self) -> Settings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, settings: Settings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}

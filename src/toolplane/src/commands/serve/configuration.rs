//! From the settings to what a replica has to be told.

use crate::{commands::connect, configuration::Settings};
use agent_api::MasterKey;
use api::AgentBinary;
use control_plane::{Connections, ReplicaConfig};
use effects::Effects;
use firewall_reconciler::Sources;
use jiff::SignedDuration;
use miette::IntoDiagnostic;
use runtime::Backoff;
use secrecy::ExposeSecret;
use std::time::Duration;

/// Everything that a replica needs; an error names the setting that is missing or unusable.
pub(in crate::commands) async fn replica(settings: &Settings) -> miette::Result<ReplicaConfig> {
    let master_key: MasterKey = settings.require_master_key()?.expose_secret().parse().into_diagnostic()?;
    let agent_binary = AgentBinary::open(settings.agent_binary.clone()).await.into_diagnostic()?;
    let token = settings.require_digitalocean_token()?.clone();
    Ok(ReplicaConfig {
        name: name(),
        database_url: settings.require_database_url()?.clone(),
        connections: Connections::default(),
        digitalocean: connect::digitalocean_config(settings, token),
        master_key,
        installation: settings.installation.clone(),
        agent_binary,
        public_url: settings.public_url.clone(),
        plain_http: settings.plain_http,
        sources: Sources {
            backend: settings.require_backend_cidrs()?.to_vec(),
            admin: settings.admin_cidrs.clone(),
        },
        ssh_keys: settings.ssh_keys.clone(),
        project: settings.digitalocean_project.clone(),
        resync: settings.resync,
        lease: settings.lease,
        fleet_sweep: settings.fleet_sweep,
        breaker: fleet::Limits {
            percent: settings.breaker_percent,
            ..fleet::Limits::default()
        },
        backoff: Backoff::default(),
        environment: environment_policy(settings),
        instance: instance_reconciler::Policy {
            // Whoever stops an environment waits for its tools, and these for their ports.
            port_patience: signed(settings.stop_deadline / 2),
            ..instance_reconciler::Policy::default()
        },
        effects: Effects::default(),
    })
}

/// For people who look at the leases: host and process.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

fn environment_policy(settings: &Settings) -> environment_reconciler::Policy {
    environment_reconciler::Policy {
        lag_window: signed(settings.lag_window),
        fleet_max_age: fleet_max_age(settings),
        heartbeat: signed(settings.heartbeat),
        stop_deadline: signed(settings.stop_deadline),
        launch_deadline: signed(settings.launch_deadline),
        ..environment_reconciler::Policy::default()
    }
}

/// A few sweeps, so that a single failed one changes nothing.
fn fleet_max_age(settings: &Settings) -> SignedDuration {
    let default = environment_reconciler::Policy::default().fleet_max_age;
    default.max(signed(settings.fleet_sweep * 4))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

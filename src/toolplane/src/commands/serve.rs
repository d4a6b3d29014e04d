//! `toolplane serve`: one replica of the control plane, from its settings to its end.
//!
//! Owns: addresses, signals, metrics, and what is told when it does not start. Must not: know the parts of a replica. Promises:
//! what is misconfigured is told before anything is begun, with the setting's name; at SIGTERM the replica is stopped in order.

pub(super) mod configuration;
mod listening;
mod metrics;

use super::connect;
use crate::{configuration::Settings, telemetry};
use control_plane::{Replica, StartError};
use listening::Addresses;
use miette::IntoDiagnostic;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

pub(super) async fn run(settings: Settings) -> miette::Result<ExitCode> {
    let metrics = telemetry::record_metrics()?;
    // Addresses first: a port in use is told before anything is begun.
    let addresses = Addresses::bind(&settings)?;
    let config = configuration::replica(&settings).await?;
    tracing::info!(
        installation = %settings.installation,
        listen = %settings.listen,
        agent_sha256 = config.agent_binary.sha256(),
        "control plane starts"
    );
    let listeners = addresses.listeners(metrics::route(metrics.clone()));
    let mut replica = Replica::start(config, listeners).await.map_err(refused)?;
    let ended = tokio::select! {
        () = terminated() => {
            tracing::info!("control plane ends: passes under way may end, leases are released");
            Ok(ExitCode::SUCCESS)
        }
        failure = replica.failed() => Err(failure).into_diagnostic(),
        () = metrics::upkeep(&metrics) => Err(miette::miette!("metrics ended by themselves")),
    };
    replica.stop().await.into_diagnostic()?;
    tracing::info!("control plane ended");
    ended
}

/// Why it does not start, with what to do about it.
pub(super) fn refused(error: StartError) -> miette::Report {
    match error {
        StartError::Database(error) => connect::Error::Unreachable(error).into(),
        StartError::Unmigrated(pending) => connect::Error::Unmigrated(pending).into(),
        StartError::TransactionPooler => connect::Error::TransactionPooler.into(),
        StartError::DigitalOcean(error) => connect::digitalocean_error(&error).into(),
        other @ (StartError::Certificate { .. } | StartError::Budget(_)) => miette::Report::from_err(other),
    }
}

async fn terminated() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without handlers the default action ends the process, which is what was asked for.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

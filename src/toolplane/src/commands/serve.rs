//! `toolplane serve`: the control plane. One replica of any number.
//!
//! Owns: which parts there are, how they are connected, and the order in which they begin and end. Must not: know what they
//! decide. Promises: what is misconfigured is told before anything is begun, with the setting's name; at SIGTERM running passes end,
//! then the leases are released, so that another replica takes over at once.

mod controllers;
mod endpoints;
mod prepared;
mod retention;

use crate::{configuration::Settings, telemetry};
use controllers::Controllers;
use endpoints::Endpoints;
use miette::{IntoDiagnostic, WrapErr};
use prepared::Prepared;
use schema::{LeaseConfig, LeaseKeeper};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(super) async fn run(settings: Settings) -> miette::Result<ExitCode> {
    let metrics = telemetry::record_metrics()?;
    // Addresses first: a port in use is told before anything is begun.
    let endpoints = Endpoints::bind(&settings)?;
    let prepared = Prepared::new(settings).await?;
    tracing::info!(
        installation = %prepared.settings.installation,
        listen = %prepared.settings.listen,
        agent_sha256 = prepared.agent_binary.sha256(),
        "control plane starts"
    );

    // Two ends: first no new work, and only when all work has ended no leases, which others wait for.
    let (working, holding) = (CancellationToken::new(), CancellationToken::new());
    let keeper = LeaseKeeper::new(
        prepared.lease_database.clone(),
        LeaseConfig {
            ttl: prepared.settings.lease,
            name: replica_name(),
        },
    );
    let leases = tokio::spawn(keeper.clone().run(holding.clone()));
    let controllers = Controllers::new(&prepared, &keeper).start(&working);
    let mut endpoints = tokio::spawn(endpoints.serve(prepared.clone(), metrics, working.clone()));

    let ended = tokio::select! {
        () = terminated() => {
            tracing::info!("control plane ends: passes under way may end, leases are released");
            Ok(ExitCode::SUCCESS)
        }
        part = controllers.failed() => Err(miette::miette!("{part} ended by itself; see the log")),
        ended = &mut endpoints => Err(endpoints_failed(ended)),
    };
    working.cancel();
    controllers.ended().await;
    if !endpoints.is_finished() {
        // Requests under way have their own patience, and how they end is of no interest any more.
        let _ = endpoints.await;
    }
    holding.cancel();
    leases.await.into_diagnostic().wrap_err("the leases were not released")?;
    prepared.close().await;
    tracing::info!("control plane ended");
    ended
}

fn endpoints_failed(ended: Result<miette::Result<()>, tokio::task::JoinError>) -> miette::Report {
    match ended {
        Ok(Ok(())) => miette::miette!("the HTTP API ended by itself"),
        Ok(Err(error)) => error,
        Err(error) => miette::miette!("the HTTP API ended by itself: {error}"),
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

/// For people who look at the leases: host and process.
fn replica_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

//! What listens: the API for agents, and the page for operators.

use super::prepared::Prepared;
use crate::configuration::Settings;
use api::Backend;
use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use miette::{IntoDiagnostic, WrapErr};
use secrecy::ExposeSecret;
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often collected metrics are brought into the form that is asked for.
const UPKEEP: Duration = Duration::from_secs(5);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{setting}: cannot listen on {address}")]
#[diagnostic(help("choose a free address of this machine: {flag} or {variable}"))]
pub(crate) struct ListenError {
    setting: &'static str,
    flag: &'static str,
    variable: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Addresses that are ours, and not answered on yet.
#[derive(Debug)]
pub(super) struct Endpoints {
    api: TcpListener,
    dashboard: Option<TcpListener>,
}

impl Endpoints {
    pub(super) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let bind = |address, setting, flag, variable| {
            let listener = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            listener.map_err(|source| ListenError {
                setting,
                flag,
                variable,
                address,
                source,
            })
        };
        let dashboard = settings.dashboard_listen.map(|address| {
            bind(
                address,
                "dashboard_listen",
                "--dashboard-listen",
                "TOOLPLANE_DASHBOARD_LISTEN",
            )
        });
        Ok(Self {
            api: bind(settings.listen, "listen", "--listen", "TOOLPLANE_LISTEN")?,
            dashboard: dashboard.transpose()?,
        })
    }

    /// Answers until shutdown, and then until open requests have ended.
    pub(super) async fn serve(
        self,
        prepared: Prepared,
        metrics: PrometheusHandle,
        shutdown: CancellationToken,
    ) -> miette::Result<()> {
        let certificate = if prepared.settings.plain_http {
            None
        } else {
            let names = names(&prepared.settings);
            Some(
                prepared
                    .authority
                    .issue_server(&names)
                    .into_diagnostic()
                    .wrap_err("public_url: no certificate for it")?,
            )
        };
        let certificate = certificate
            .as_ref()
            .map(|issued| (issued.chain_pem.as_str(), issued.key_pem.expose_secret()));
        let router = api::router(Backend {
            database: prepared.request_database.clone(),
            master_key: Arc::new(prepared.master_key.clone()),
            authority: Arc::new(prepared.authority.clone()),
            agent_binary: prepared.agent_binary.clone(),
            heartbeat_interval: prepared.settings.heartbeat,
        });
        let api = api::serve(self.api, certificate, router, shutdown.clone());
        let dashboard = async {
            match self.dashboard {
                Some(listener) => {
                    let router = dashboard::router(prepared.request_database.clone()).merge(metrics_route(metrics.clone()));
                    api::serve(listener, None, router, shutdown.clone()).await
                }
                None => Ok(()),
            }
        };
        let upkeep = shutdown.run_until_cancelled(upkeep(metrics.clone()));
        let (api, dashboard, _) = tokio::join!(api, dashboard, upkeep);
        api.into_diagnostic().wrap_err("the API")?;
        dashboard.into_diagnostic().wrap_err("the dashboard")
    }
}

fn metrics_route(metrics: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(async move || metrics.render()))
}

async fn upkeep(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// What the API is called by: by droplets, and by people on this machine.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let public = settings.public_url.host().map(|host| match host {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    });
    let listen = Some(settings.listen.ip()).filter(|address| !address.is_unspecified());
    names.extend(public);
    names.extend(listen.map(|address| address.to_string()));
    names.sort();
    names.dedup();
    names
}

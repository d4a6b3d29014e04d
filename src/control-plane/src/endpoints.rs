//! What listens: the API for agents, and the page for operators.

use crate::{parts::Ended, prepared::Prepared};
use agent_api::ServerCertificate;
use api::Backend;
use axum::Router;
use secrecy::ExposeSecret;
use std::{net::TcpListener, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Addresses that are the replica's, and not answered on yet.
#[derive(Debug)]
pub struct Listeners {
    /// For agents.
    pub api: TcpListener,
    /// For operators, when there is a page for them.
    pub operators: Option<Operators>,
}

/// Where operators look.
#[derive(Debug)]
pub struct Operators {
    /// The address.
    pub listener: TcpListener,
    /// What is served there beside the dashboard.
    pub routes: Router,
}

/// Answers until shutdown, and then until open requests have ended. `certificate` is none when something in front does TLS.
pub(crate) async fn serve(
    prepared: Prepared,
    listeners: Listeners,
    certificate: Option<ServerCertificate>,
    shutdown: CancellationToken,
) -> Ended {
    let certificate = certificate
        .as_ref()
        .map(|issued| (issued.chain_pem.as_str(), issued.key_pem.expose_secret()));
    let router = api::router(Backend {
        database: prepared.request_database.clone(),
        master_key: Arc::new(prepared.config.master_key.clone()),
        authority: Arc::new(prepared.authority.clone()),
        agent_binary: prepared.config.agent_binary.clone(),
        heartbeat_interval: prepared.config.heartbeat(),
    });
    let api = api::serve(listeners.api, certificate, router, shutdown.clone());
    let operators = async {
        match listeners.operators {
            Some(Operators { listener, routes }) => {
                let router = dashboard::router(prepared.request_database.clone()).merge(routes);
                api::serve(listener, None, router, shutdown.clone()).await
            }
            None => Ok(()),
        }
    };
    tokio::try_join!(api, operators)?;
    Ok(())
}

/// The names and addresses that the API is called by: by droplets, and by people on this machine.
pub(crate) fn names(prepared: &Prepared, listener: &TcpListener) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let public = prepared.config.public_url.host().map(|host| match host {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    });
    let listen = listener.local_addr().ok().map(|address| address.ip());
    names.extend(public);
    names.extend(
        listen
            .filter(|address| !address.is_unspecified())
            .map(|address| address.to_string()),
    );
    names.sort();
    names.dedup();
    names
}

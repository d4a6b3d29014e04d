//! Taking the addresses that the settings name.

use crate::configuration::Settings;
use axum::Router;
use control_plane::{Listeners, Operators};
use std::net::{SocketAddr, TcpListener};

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
pub(super) struct Addresses {
    api: TcpListener,
    dashboard: Option<TcpListener>,
}

impl Addresses {
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

    /// As a replica takes them; `routes` are served beside the dashboard.
    pub(super) fn listeners(self, routes: Router) -> Listeners {
        Listeners {
            api: self.api,
            operators: self.dashboard.map(|listener| Operators { listener, routes }),
        }
    }
}

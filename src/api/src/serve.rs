//! Listening: TLS (or plain HTTP behind a proxy that does TLS), and an orderly end.

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long open requests may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error("listen {address}: {source}; choose a free address of this machine")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate or key is unusable.
    #[error("server certificate: {0}")]
    Certificate(String),
    /// The server stopped by itself.
    #[error("HTTP server stopped")]
    Io(#[from] std::io::Error),
}

/// Takes the address before anything else is started, so that a port in use is told at once.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `shutdown`, then lets open requests end. `certificate` is a PEM chain and its PEM key; `None` serves plain HTTP.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<(&str, &str)>,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let handle = Handle::new();
    // Connections are served in tasks of their own; they end with this call, however it ends.
    let _connections = Connections(handle.clone());
    let closing = async {
        shutdown.cancelled().await;
        handle.graceful_shutdown(Some(GRACE));
        std::future::pending().await
    };
    let service = router.into_make_service();
    let serving = async {
        if let Some((chain, key)) = certificate {
            let tls = RustlsConfig::from_config(Arc::new(tls_config(chain, key)?));
            let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
            server.serve(service).await?;
        } else {
            let server = axum_server::from_tcp(listener)?.handle(handle.clone());
            server.serve(service).await?;
        }
        Ok(())
    };
    tokio::select! {
        served = serving => served,
        never = closing => never,
    }
}

/// Ends every connection when it is dropped.
struct Connections(Handle<SocketAddr>);

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn tls_config(chain: &str, key: &str) -> Result<ServerConfig, ServeError> {
    let unusable = |what: &dyn std::fmt::Display| ServeError::Certificate(what.to_string());
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

//! The HTTP server. It is not axum's own, because it must be able to drop a connection instead of answering.

mod tls;

pub(crate) use tls::certify;

use crate::fault::Lost;
use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// The answer was lost on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the answer was lost on purpose")]
struct LostAnswer;

/// How a listener speaks.
#[derive(Clone)]
pub(crate) enum Wire {
    Plain,
    /// Some official clients send no token over plain HTTP.
    Tls(TlsAcceptor),
}

/// The scheme that a request came by: links in answers carry it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme(pub(crate) &'static str);

/// Serves until told to stop; then connections end with the answer that they are at.
pub(crate) async fn serve(listener: TcpListener, wire: Wire, app: Router, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, wire.clone(), app.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: there will be some again.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, wire: Wire, app: Router, stop: CancellationToken) {
    match wire {
        Wire::Plain => requests(stream, Scheme("http"), app, stop).await,
        Wire::Tls(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => requests(stream, Scheme("https"), app, stop).await,
            Err(error) => tracing::debug!(%error, "a client did not get through the TLS handshake"),
        },
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, scheme: Scheme, app: Router, stop: CancellationToken) {
    let service = service_fn(|request: hyper::Request<Incoming>| answer(app.clone(), scheme, request.map(Body::new)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn answer(app: Router, scheme: Scheme, mut request: Request) -> Result<Response, LostAnswer> {
    request.extensions_mut().insert(scheme);
    trim_trailing_slash(&mut request);
    let Ok(response) = app.oneshot(request).await;
    if response.extensions().get::<Lost>().is_some() {
        return Err(LostAnswer);
    }
    Ok(response)
}

/// Official clients send some paths with a slash at their end.
fn trim_trailing_slash(request: &mut Request) {
    let uri = request.uri();
    let trimmed = uri.path().trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == uri.path().len() {
        return;
    }
    let trimmed = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    if let Ok(uri) = trimmed.parse() {
        *request.uri_mut() = uri;
    }
}

//! The HTTP server. It is not axum's own, because it must be able to drop a connection instead of answering.

use crate::fault::Lost;
use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// The answer was lost on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the answer was lost on purpose")]
struct LostAnswer;

/// Serves until told to stop; then connections end with the answer that they are at.
pub(crate) async fn serve(listener: TcpListener, app: Router, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, app.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: there will be some again.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Router, stop: CancellationToken) {
    let service = service_fn(|request: hyper::Request<Incoming>| answer(app.clone(), request.map(Body::new)));
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

async fn answer(app: Router, mut request: Request) -> Result<Response, LostAnswer> {
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

//! The DigitalOcean API: routes, and how requests are read. What they mean is the world's business.

mod account;
mod action;
mod catalog;
mod droplet;
mod firewall;
mod project;
mod tag;

use crate::{
    cloud::Cloud,
    fault::{Asked, Fault},
    gate,
    page::Paging,
    problem::Problem,
    server::Scheme,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{Method, StatusCode, header::HOST, request::Parts},
    middleware,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{convert::Infallible, sync::Arc};
use url::Url;

/// An answer with a body.
type Answer = Result<(StatusCode, Json<Value>), Problem>;
/// An answer without one.
type Done = Result<StatusCode, Problem>;

pub(crate) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    Router::new()
        .merge(account::routes())
        .merge(action::routes())
        .merge(catalog::routes())
        .merge(droplet::routes())
        .merge(firewall::routes())
        .merge(project::routes())
        .merge(tag::routes())
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::not_found() })
        .layer(middleware::from_fn_with_state(Arc::clone(cloud), gate::pass))
}

fn found(body: Value) -> (StatusCode, Json<Value>) {
    (StatusCode::OK, Json(body))
}

/// A body, whatever its content type says.
struct Payload<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::bad_request())?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| Problem::bad_request())
    }
}

impl FromRequestParts<Arc<Cloud>> for Paging {
    type Rejection = Infallible;

    /// Links are built from the address that the client used.
    async fn from_request_parts(parts: &mut Parts, cloud: &Arc<Cloud>) -> Result<Self, Infallible> {
        let Ok(asked) = Asked::from_request_parts(parts, cloud).await;
        let is_list = parts.method == Method::GET;
        let flaw = is_list.then(|| cloud.faults.strike(&asked, Fault::flaw)).flatten();
        let host = parts
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let scheme = parts.extensions.get::<Scheme>().map_or("http", |scheme| scheme.0);
        let url = Url::parse(&format!("{scheme}://{host}{path}"));
        Ok(Self::new(url.unwrap_or_else(|_| fallback_url()), flaw))
    }
}

/// For a client whose Host header is no host.
fn fallback_url() -> Url {
    const FALLBACK: &str = "http://localhost/";
    #[expect(clippy::expect_used, reason = "a constant")]
    Url::parse(FALLBACK).expect("the fallback is a URL")
}

/// An id in a path. One that is no number names nothing.
fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

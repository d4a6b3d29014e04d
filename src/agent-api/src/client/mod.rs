//! The two HTTP clients. Each speaks TLS only, trusts exactly the authority that it was given, and follows no redirect.

mod agent;
mod backend;

pub use agent::{AgentClient, Agents, PutOutcome};
pub use backend::BackendClient;

use crate::{Error, Problem};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, redirect};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The longest answer that is read. A droplet is a customer's machine: it may not fill the control plane's memory.
const ANSWER_LIMIT: usize = 4 << 20;

/// The longest error text that is kept.
const DETAIL_LIMIT: usize = 500;

fn builder(ca_pem: &str) -> Result<ClientBuilder, Error> {
    let roots = Certificate::from_pem_bundle(ca_pem.as_bytes()).map_err(Error::tls("the authority's PEM"))?;
    Ok(Client::builder()
        .tls_certs_only(roots)
        .https_only(true)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(20))
        .user_agent(concat!("toolplane/", env!("CARGO_PKG_VERSION"))))
}

/// Sends a request; an error status becomes [`Error::Refused`].
async fn send(what: &'static str, request: RequestBuilder) -> Result<Response, Error> {
    let response = request.send().await.map_err(|source| Error::Unreachable { what, source })?;
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    let body = read(what, response).await.unwrap_or_default();
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    if let (409, Some(held)) = (status, problem.as_ref().and_then(|problem| problem.held)) {
        return Err(Error::OlderSet { held });
    }
    let detail = problem.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), |problem| problem.detail);
    Err(Error::Refused {
        what,
        status,
        detail: detail.chars().take(DETAIL_LIMIT).collect(),
    })
}

/// Sends a request and reads its JSON answer.
async fn json<T: DeserializeOwned>(what: &'static str, request: RequestBuilder) -> Result<T, Error> {
    let body = read(what, send(what, request).await?).await?;
    serde_json::from_slice(&body).map_err(|source| Error::Answer {
        what,
        source: source.into(),
    })
}

async fn read(what: &'static str, mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| Error::Unreachable { what, source })? {
        if body.len() + chunk.len() > ANSWER_LIMIT {
            return Err(Error::Answer {
                what,
                source: format!("longer than {ANSWER_LIMIT} bytes").into(),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

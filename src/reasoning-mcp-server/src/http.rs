//! What the server answers to HTTP: MCP at `/mcp`, and `/healthz`.
//!
//! Owns who is let in by the `Host` and `Origin` headers. It must not know the tools. It promises that a page in a browser cannot
//! reach the tools by pointing a name of its own at this address (DNS rebinding), and that a proxy in front needs no setting as long
//! as it is called by its address.

use crate::{sessions::Sessions, tools::ReasoningServer};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The most bytes that a call may have. A thought has far fewer.
const REQUEST_BYTES: usize = 256 * 1024;

/// Who is let in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    /// Host names, with a port or for any port; `*` for every name. Addresses and `localhost` need no entry.
    pub(crate) hosts: Vec<String>,
    /// Origins of browser pages, such as `https://app.example.com:443`.
    pub(crate) origins: Vec<String>,
}

/// The routes.
pub(crate) fn router(version: String, sessions: Arc<Mutex<Sessions>>, allowed: Allowed) -> Router {
    let health = Health {
        version: version.clone(),
        sessions: sessions.clone(),
    };
    // Nothing is kept per connection, so that a call may come in over any of them; and every call is answered at once, so plain
    // JSON does and no stream has to be held open. The Host header is checked below, where addresses pass without a list of them.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(REQUEST_BYTES)
        .disable_allowed_hosts()
        .with_allowed_origins(allowed.origins)
        .enforce_origin_validation();
    let server = Arc::new(ReasoningServer::new(version, sessions));
    let mcp = StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), config);
    let hosts: Arc<[String]> = allowed.hosts.into();
    Router::new()
        .route_service("/mcp", mcp)
        .layer(middleware::from_fn_with_state(hosts, check_host))
        .route("/healthz", get(healthz).with_state(health))
}

#[derive(Clone)]
struct Health {
    version: String,
    sessions: Arc<Mutex<Sessions>>,
}

async fn healthz(State(health): State<Health>) -> Json<serde_json::Value> {
    let sessions = health.sessions.lock().unwrap_or_else(PoisonError::into_inner).len();
    Json(serde_json::json!({"status": "ok", "version": health.version, "sessions": sessions}))
}

async fn check_host(State(allowed): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    match authority(request.uri(), request.headers()) {
        None => (StatusCode::BAD_REQUEST, "the Host header is missing or malformed\n").into_response(),
        Some(host) if host_is_allowed(&host, &allowed) => next.run(request).await,
        Some(host) => {
            tracing::warn!(%host, "refused a request by its Host header");
            let hint = format!("host `{host}` is not allowed; --allowed-host (REASONING_MCP_ALLOWED_HOSTS) adds it\n");
            (StatusCode::FORBIDDEN, hint).into_response()
        }
    }
}

/// HTTP/1 names the host in a header, HTTP/2 in the URI.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    match headers.get(header::HOST) {
        Some(host) => host.to_str().ok()?.parse().ok(),
        None => uri.authority().cloned(),
    }
}

/// Rebinding takes a name that its owner can point elsewhere. An address is no such name, and neither is `localhost`.
fn host_is_allowed(host: &Authority, allowed: &[String]) -> bool {
    let name = host.host();
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_address
        || name.eq_ignore_ascii_case("localhost")
        || allowed
            .iter()
            .any(|entry| entry == "*" || entry.eq_ignore_ascii_case(name) || entry.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(host: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|&entry| entry.to_owned()).collect();
        host_is_allowed(&host.parse().unwrap(), &allowed)
    }

    #[test]
    fn addresses_pass_and_names_need_an_entry() {
        for host in [
            "127.0.0.1",
            "127.7.0.9:31000",
            "203.0.113.5:31000",
            "[::1]:8080",
            "localhost:8080",
            "LOCALHOST",
        ] {
            assert!(passes(host, &[]), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "1.2.3"] {
            assert!(!passes(host, &[]), "{host}");
            assert!(passes(host, &["*"]), "{host}");
        }
        assert!(passes("tools.example.com:31000", &["Tools.Example.com"]));
        assert!(passes("tools.example.com:31000", &["tools.example.com:31000"]));
        assert!(!passes("tools.example.com:31001", &["tools.example.com:31000"]));
        assert!(!passes("example.com", &["tools.example.com"]));
    }

    #[test]
    fn the_host_is_read_from_the_header_or_else_from_the_uri() {
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("https://one.example/mcp");
        assert_eq!(authority(&uri, &headers).unwrap(), "one.example");
        headers.insert(header::HOST, "two.example:81".parse().unwrap());
        assert_eq!(authority(&uri, &headers).unwrap(), "two.example:81");
        headers.insert(header::HOST, "no host".parse().unwrap());
        assert_eq!(authority(&uri, &headers), None);
        assert_eq!(authority(&Uri::from_static("/mcp"), &HeaderMap::new()), None);
    }
}

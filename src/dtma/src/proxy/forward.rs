//! One call through the proxy.

use crate::credentials::Current;
use agent_api::Problem;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{convert::Infallible, net::SocketAddr, pin::Pin, time::Duration};
use tokio::sync::watch;

/// How long a container's loopback port may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The connections to containers, shared by all tools.
pub(super) type Client = HyperClient<HttpConnector, Incoming>;

/// A body that streams through, or our own words.
type Body = Either<Incoming, Full<Bytes>>;

/// Headers that speak of one connection and not of the message (RFC 9110, 7.6.1), and the older ones that are used as such.
static HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Calls one tool.
#[derive(Clone)]
pub(super) struct Forward {
    client: Client,
    target: watch::Receiver<SocketAddr>,
    credentials: Current,
}

/// A client for plain HTTP/1.1 to loopback.
pub(super) fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    HyperClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector)
}

impl Forward {
    /// Calls whatever `target` says at the time of a call.
    pub(super) fn new(client: Client, target: watch::Receiver<SocketAddr>, credentials: Current) -> Self {
        Self {
            client,
            target,
            credentials,
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let credentials = self.credentials.borrow();
        credentials
            .as_ref()
            .is_some_and(|credentials| credentials.tool_token.verify_header(presented))
    }

    async fn call(self, request: Request<Incoming>) -> Response<Body> {
        if !self.admits(request.headers()) {
            return refuse(StatusCode::UNAUTHORIZED, "the tool token is missing or not this epoch's");
        }
        let target = *self.target.borrow();
        let Ok(request) = readdress(request, target) else {
            return refuse(StatusCode::BAD_REQUEST, "the request's target is not understood");
        };
        match self.client.request(request).await {
            Ok(mut response) => {
                strip(response.headers_mut());
                *response.version_mut() = Version::default();
                response.map(Either::Left)
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, %target, "a call was not answered");
                refuse(StatusCode::BAD_GATEWAY, "the tool does not answer")
            }
        }
    }
}

impl Service<Request<Incoming>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let call = Forward::call(self.clone(), request);
        Box::pin(async { Ok(call.await) })
    }
}

/// The request as the container gets it: its own address, no trace of our token.
fn readdress(mut request: Request<Incoming>, target: SocketAddr) -> Result<Request<Incoming>, http::Error> {
    let authority = target.to_string();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.parse::<Authority>()?);
    let path = request.uri().path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts)?;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip(headers);
    headers.remove(AUTHORIZATION);
    // MCP servers refuse host names that they do not know, against DNS rebinding. Loopback is what they are called by.
    headers.insert(HOST, HeaderValue::try_from(authority)?);
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    Ok(request)
}

/// Removes the headers of one connection, and those that its `Connection` header names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn refuse(status: StatusCode, detail: &str) -> Response<Body> {
    let problem = Problem {
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        held: None,
    };
    // Text and a number: this cannot fail, and an empty body would do.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Either::Right(Full::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Mine"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("mcp-session-id", "abc"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["mcp-session-id"], "abc");
    }
}

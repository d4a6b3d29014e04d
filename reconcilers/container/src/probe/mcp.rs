//! The MCP probe over streamable HTTP: `server/discover` of the 2026-07-28 revision, else `initialize` of the ones before.

use super::http::Exchange;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};
use std::net::SocketAddr;

const STATELESS: &str = "2026-07-28";
const WITH_SESSIONS: &str = "2025-11-25";
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Passes when the server introduces itself.
pub(super) async fn greet(address: SocketAddr, path: &str) -> Result<(), String> {
    if let Ok(()) = discover(address, path).await {
        return Ok(());
    }
    initialize(address, path).await
}

async fn discover(address: SocketAddr, path: &str) -> Result<(), String> {
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "server/discover",
        "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientInfo": client(),
            "io.modelcontextprotocol/clientCapabilities": {},
        }},
    });
    let mut headers = headers(STATELESS);
    headers.insert(METHOD, HeaderValue::from_static("server/discover"));
    call(address, path, headers, &request).await.map(drop)
}

async fn initialize(address: SocketAddr, path: &str) -> Result<(), String> {
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": WITH_SESSIONS, "capabilities": {}, "clientInfo": client()},
    });
    let session = call(address, path, headers(WITH_SESSIONS), &request).await?;
    if let Some(session) = session {
        // A server that does not let its sessions be ended says so; the probe passed all the same.
        let mut headers = headers(WITH_SESSIONS);
        headers.insert(SESSION, session);
        let _ = Exchange::begin(address, Method::DELETE, path, headers, Bytes::new()).await;
    }
    Ok(())
}

/// Sends one JSON-RPC request; answers with the session that the server opened for it, if any.
async fn call(address: SocketAddr, path: &str, headers: HeaderMap, request: &Value) -> Result<Option<HeaderValue>, String> {
    let body = Bytes::from(request.to_string());
    let mut exchange = Exchange::begin(address, Method::POST, path, headers, body).await?;
    if !exchange.status().is_success() {
        return Err(format!("POST {path} answered {}", exchange.status()));
    }
    let session = exchange.headers().get(SESSION).cloned();
    let message = exchange.read_until(answer).await?;
    let message = message.ok_or_else(|| format!("POST {path} answered without a JSON-RPC message"))?;
    match (message.get("result"), message.get("error")) {
        (Some(_), None) => Ok(session),
        (_, Some(error)) => Err(format!("the MCP server answered with the error {error}")),
        (None, None) => Err("the MCP server answered neither a result nor an error".to_owned()),
    }
}

/// The answer to the request in what was read so far: a JSON body, or the data of a server-sent event.
fn answer(read: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(read).ok()?;
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    std::iter::once(text)
        .chain(events)
        .filter_map(|text| serde_json::from_str::<Value>(text).ok())
        .find(|message| message.get("id") == Some(&json!(1)))
}

fn headers(version: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        ),
        (PROTOCOL_VERSION, HeaderValue::from_static(version)),
    ])
}

fn client() -> Value {
    json!({"name": "toolplane-probe", "version": env!("CARGO_PKG_VERSION")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_json_and_in_events() {
        assert!(answer(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).is_some());
        let events = b": hello\n\nevent: message\ndata: {\"method\":\"log\"}\n\ndata: {\"id\":1,\"result\":{}}\n\n";
        assert!(answer(events).is_some());
        assert_eq!(answer(b"data: {\"id\":1,\"res"), None, "not complete yet");
        assert_eq!(answer(br#"{"id":2,"result":{}}"#), None, "the answer to something else");
        assert_eq!(answer(b"<html>"), None);
    }
}

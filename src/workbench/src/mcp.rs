//! One call to an MCP server, as an agent makes it: streamable HTTP over TLS, with a bearer token.

use crate::Error;
use rmcp::{
    ServiceExt,
    model::{CallToolRequestParams, CallToolResult},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// An MCP server, and what is needed to be let in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https://<address>:<port>/mcp`.
    pub url: String,
    /// The only authority whose certificates are taken.
    pub authority_pem: String,
    /// The bearer token.
    pub token: SecretString,
}

/// Connects, calls `tool` with `arguments` (a JSON object) and disconnects. An answer that says "error" is an answer.
pub async fn call_tool(endpoint: &Endpoint, tool: &str, arguments: serde_json::Value) -> Result<CallToolResult, Error> {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, call(endpoint, tool, arguments))
        .await
        .unwrap_or_else(|_| Err(failed(endpoint, format!("no answer within {} seconds", limit.as_secs()))))
}

/// The text of an answer, its parts joined by line breaks.
pub fn text(answer: &CallToolResult) -> String {
    let parts = answer.content.iter().filter_map(|content| content.as_text());
    parts.map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n")
}

async fn call(endpoint: &Endpoint, tool: &str, arguments: serde_json::Value) -> Result<CallToolResult, Error> {
    let client = http_client(endpoint).map_err(|error| failed(endpoint, chain(&error)))?;
    // The transport's own errors hide their causes, which say what is wrong with address, certificate or port.
    let reached = client.get(&endpoint.url).send().await;
    reached.map_err(|error| failed(endpoint, chain(&error.without_url())))?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(endpoint.url.clone());
    config.auth_header = Some(endpoint.token.expose_secret().to_owned());
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let session = ().serve(transport).await.map_err(|error| failed(endpoint, chain(&error)))?;
    let mut request = CallToolRequestParams::new(tool.to_owned());
    request.arguments = arguments.as_object().cloned();
    let answer = session.call_tool(request).await;
    let answer = answer.map_err(|error| failed(endpoint, chain(&error)));
    // The answer is there; how the server takes the farewell changes nothing about it.
    let _ = session.cancel().await;
    answer
}

fn http_client(endpoint: &Endpoint) -> Result<reqwest::Client, reqwest::Error> {
    let authority = reqwest::Certificate::from_pem(endpoint.authority_pem.as_bytes())?;
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([authority])
        .connect_timeout(Duration::from_secs(5))
        .build()
}

/// An error with its causes: the outermost says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(beneath) = cause {
        let said = beneath.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = beneath.source();
    }
    text
}

fn failed(endpoint: &Endpoint, reason: String) -> Error {
    Error::Mcp {
        endpoint: endpoint.url.clone(),
        reason,
    }
}

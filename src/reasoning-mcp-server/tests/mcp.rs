//! The real binary, called over real HTTP: by the protocol's own client, and byte by byte where the bytes matter.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{RequestBuilder, StatusCode};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient, ServiceExt,
    model::{CallToolRequestParams, CallToolResult, ProtocolVersion},
    service::RunningService,
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const BINARY: &str = env!("CARGO_BIN_EXE_reasoning-mcp-server");

/// Far beyond what anything here takes; only there so that a hang fails instead of hanging.
const HANG: Duration = Duration::from_mins(1);

struct Server {
    process: Child,
    url: String,
}

impl Server {
    async fn start(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", BINARY, "--listen", "127.0.0.1", "--port", "0"])
            .args(flags)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        within(output.read_line(&mut line)).await.unwrap();
        let url = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Self { process, url }
    }

    fn post(&self, body: &Value) -> RequestBuilder {
        http()
            .post(&self.url)
            .header("Accept", "application/json, text/event-stream")
            .json(body)
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let request =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let answer = self.post(&request).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json::<Value>().await.unwrap()["result"].clone()
    }
}

fn http() -> reqwest::Client {
    // Err: another test of this process was first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("hangs")
}

async fn connect(server: &Server, lifecycle: ClientLifecycleMode) -> RunningService<RoleClient, ()> {
    http();
    let transport = StreamableHttpClientTransport::from_uri(server.url.as_str());
    within(().serve_with_lifecycle(transport, lifecycle)).await.unwrap()
}

async fn call(client: &RunningService<RoleClient, ()>, tool: &'static str, arguments: Value) -> CallToolResult {
    let request = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().unwrap().clone());
    within(client.call_tool(request)).await.unwrap()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_client_of_today_discovers_thinks_and_reads_back() {
    let server = Server::start(&[], &[]).await;
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let client = connect(&server, lifecycle).await;

    let tools = within(client.list_all_tools()).await.unwrap();
    let names: BTreeSet<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names, BTreeSet::from(["forget", "review", "think"]));
    assert!(
        tools
            .iter()
            .all(|tool| tool.output_schema.is_some() && tool.description.is_some())
    );

    let first = call(&client, "think", json!({"thought": "Seven times eight is fifty-four."})).await;
    let first = first.structured_content.unwrap();
    let session = &first["session_id"];
    call(
        &client,
        "think",
        json!({"session_id": session, "thought": "Seven times eight is fifty-six.", "revises": 1}),
    )
    .await;
    let last = json!({"session_id": session, "thought": "So the area is 56.", "conclusion": true});
    assert_eq!(
        call(&client, "think", last).await.structured_content.unwrap()["thought_number"],
        3
    );
    let side = json!({"session_id": session, "thought": "Or add.", "branch": "by-adding", "branch_from": 2});
    call(&client, "think", side).await;

    let review = call(&client, "review", json!({"session_id": session, "branch": "main"})).await;
    assert_eq!(
        review.structured_content.unwrap()["steps"],
        json!([
            {"thought_number": 1, "revised_by": [2], "thought": "Seven times eight is fifty-six.", "conclusion": false},
            {"thought_number": 3, "thought": "So the area is 56.", "conclusion": true},
        ])
    );
    let content = serde_json::to_value(&review.content).unwrap();
    let shown = content[0]["text"].as_str().unwrap();
    assert!(shown.contains("1. (revised by 2) Seven times eight is fifty-six."), "{shown}");
    assert!(shown.contains("3. Conclusion: So the area is 56."), "{shown}");
    assert!(shown.contains("Other branch: by-adding after 2, 2 steps"), "{shown}");

    let forgotten = call(&client, "forget", json!({"session_id": session})).await;
    assert_eq!(forgotten.structured_content.unwrap(), json!({"forgotten": true}));
    assert_eq!(
        call(&client, "review", json!({"session_id": session})).await.is_error,
        Some(true)
    );
    within(client.cancel()).await.unwrap();
}

#[tokio::test]
async fn a_client_of_before_initializes_and_thinks() {
    let server = Server::start(&[], &[("REASONING_MCP_VERSION", "9.8.7")]).await;
    http();
    let client = within(().serve(StreamableHttpClientTransport::from_uri(server.url.as_str())))
        .await
        .unwrap();
    let about = serde_json::to_value(client.peer_info().unwrap().as_ref())
        .unwrap()
        .to_string();
    assert!(about.contains("9.8.7"), "{about}");
    let answer = call(&client, "think", json!({"thought": "One step."})).await;
    assert_eq!(answer.structured_content.unwrap()["thoughts_left"], 255);
    within(client.cancel()).await.unwrap();

    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    }});
    let answer: Value = server.post(&initialize).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(answer["result"]["serverInfo"]["version"], "9.8.7");
}

#[tokio::test]
async fn discovery_tells_version_and_revisions() {
    let server = Server::start(&[], &[("REASONING_MCP_VERSION", "1.1.0")]).await;
    let discover = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    }}});
    let request = server
        .post(&discover)
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "server/discover");
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let result = &answer["result"];
    assert!(
        result["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")),
        "{answer}"
    );
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["version"], "1.1.0");
    assert!(result["instructions"].as_str().unwrap().contains("think"));
}

#[tokio::test]
async fn refusals_name_the_argument() {
    let server = Server::start(&[], &[]).await;
    let session = server.call("think", json!({"thought": "a"})).await["structuredContent"]["session_id"].clone();
    let table = [
        ("think", json!({}), "missing field `thought`"),
        ("think", json!({"thought": "  "}), "thought: is empty"),
        ("think", json!({"thought": 7}), "thought: invalid type: integer `7`"),
        ("think", json!({"thought": "t", "revise": 1}), "unknown field `revise`"),
        (
            "think",
            json!({"thought": "t", "session_id": "mine"}),
            "session_id: UUID parsing failed",
        ),
        (
            "think",
            json!({"thought": "t", "session_id": uuid::Uuid::nil()}),
            "session_id: no session 0000",
        ),
        (
            "think",
            json!({"thought": "t", "session_id": session, "revises": 2}),
            "revises: there is no thought 2",
        ),
        (
            "think",
            json!({"thought": "t", "session_id": session, "branch_from": 1}),
            "branch: is missing",
        ),
        (
            "think",
            json!({"thought": "t", "branch_from": -1}),
            "branch_from: invalid value: integer `-1`",
        ),
        (
            "review",
            json!({"session_id": session, "branch": "x"}),
            "branch: there is no branch `x`",
        ),
        ("forget", json!({}), "missing field `session_id`"),
    ];
    for (tool, arguments, expected) in table {
        let result = server.call(tool, arguments.clone()).await;
        assert_eq!(result["isError"], true, "{tool} {arguments}");
        assert!(
            text(&result).contains(expected),
            "{tool} {arguments}: {:?} should contain {expected:?}",
            text(&result)
        );
    }
}

#[tokio::test]
async fn strange_hosts_and_origins_are_kept_out() {
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let status = async |server: &Server, name: &'static str, value: &'static str| {
        let request = server.post(&list).header(name, value);
        request.send().await.unwrap().status()
    };
    let server = Server::start(&[], &[]).await;
    assert_eq!(
        status(&server, "Host", "203.0.113.5:31000").await,
        StatusCode::OK,
        "a proxy called by its address"
    );
    assert_eq!(status(&server, "Host", "evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&server, "Origin", "https://evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&server, "Origin", "null").await, StatusCode::FORBIDDEN);

    let flags = [
        "--allowed-host",
        "tools.example.com,other.example",
        "--allowed-origin",
        "https://app.example.com:443",
    ];
    let server = Server::start(&flags, &[]).await;
    assert_eq!(status(&server, "Host", "tools.example.com:443").await, StatusCode::OK);
    assert_eq!(status(&server, "Origin", "https://app.example.com").await, StatusCode::OK);
    assert_eq!(
        status(&server, "Origin", "http://app.example.com").await,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn memory_is_bounded_in_sessions_and_thoughts() {
    let server = Server::start(&["--max-sessions", "2", "--max-thoughts", "2"], &[]).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let begun = server.call("think", json!({"thought": "a"})).await;
        sessions.push(begun["structuredContent"]["session_id"].clone());
    }
    assert_eq!(
        server.call("review", json!({"session_id": sessions[0]})).await["isError"],
        true
    );
    let next = json!({"session_id": sessions[2], "thought": "b"});
    assert_eq!(server.call("think", next.clone()).await["isError"], false);
    assert!(text(&server.call("think", next).await).contains("the session is full"));

    let health = http().get(server.url.replace("/mcp", "/healthz")).send().await.unwrap();
    let health: Value = health.json().await.unwrap();
    assert_eq!((&health["status"], &health["sessions"]), (&json!("ok"), &json!(2)));

    let flood = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "think", "arguments": {"thought": "x".repeat(300 * 1024)}
    }});
    assert_eq!(
        server.post(&flood).send().await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn sigterm_ends_it_with_success_though_a_connection_is_kept_alive() {
    let mut server = Server::start(&[], &[]).await;
    let client = http();
    client.get(server.url.replace("/mcp", "/healthz")).send().await.unwrap();
    let pid = i32::try_from(server.process.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let status = within(server.process.wait()).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_version_is_printed_and_a_port_in_use_is_named() {
    for (given, expected) in [("1.2.3", "1.2.3"), ("", env!("CARGO_PKG_VERSION"))] {
        let mut command = Command::new(BINARY);
        let output = command
            .arg("--version")
            .env("REASONING_MCP_VERSION", given)
            .output()
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("reasoning-mcp-server {expected}\n")
        );
    }

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = within(Command::new(BINARY).args(["--listen", "127.0.0.1", "--port", &port]).output())
        .await
        .unwrap();
    assert!(!refused.status.success());
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        message.contains(&format!("cannot listen on 127.0.0.1, port {port}")),
        "{message}"
    );
}

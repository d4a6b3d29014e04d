//! Probes against small servers on loopback, each as rude as some tool is.

use super::*;
use crate::container::ContainerId;
use model::DropletId;
use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Answers each connection as told, once it has read a request's head; keeps what it read.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = read_request(&mut stream).await;
                seen.lock().unwrap().push(head.clone());
                stream.write_all(answer(&head).as_bytes()).await.unwrap();
                // Stays open, as a stream of events does.
                open.push(stream);
            }
        });
        Self {
            address,
            heads,
            _serving: serving,
        }
    }

    fn saw(&self, text: &str) -> usize {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter(|head| head.contains(text)).count()
    }
}

/// Head and body: everything that comes before the client waits for an answer.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = String::new();
    let mut buffer = [0; 4096];
    loop {
        let some = stream.read(&mut buffer).await.unwrap();
        read.push_str(std::str::from_utf8(&buffer[..some]).unwrap());
        let complete = read.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        });
        if complete || some == 0 {
            return read;
        }
    }
}

fn json(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

fn mcp() -> Probe {
    Probe::Mcp { path: "/mcp".to_owned() }
}

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const UNKNOWN_METHOD: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}"#;

#[tokio::test]
async fn http_is_judged_by_its_status() {
    for (status, passes) in [
        ("200 OK", true),
        ("204 No Content", true),
        ("302 Found", true),
        ("401 Unauthorized", false),
        ("503 Service Unavailable", false),
    ] {
        let server = Server::start(move |_| json(status, "", "")).await;
        let outcome = ask(server.address, &Probe::Http { path: "/up".into() }).await;
        assert_eq!(outcome.is_ok(), passes, "{status}: {outcome:?}");
        assert_eq!(server.saw("GET /up HTTP/1.1"), 1);
    }
}

#[tokio::test]
async fn a_server_without_sessions_is_discovered() {
    let server = Server::start(|_| json("200 OK", "", RESULT)).await;
    assert_eq!(ask(server.address, &mcp()).await, Ok(()));
    assert_eq!((server.saw("server/discover"), server.saw("initialize")), (1, 0));
    assert_eq!(server.saw("mcp-protocol-version: 2026-07-28"), 1);
}

#[tokio::test]
async fn an_older_server_is_initialised_and_its_session_ended() {
    let server = Server::start(|head| {
        if head.contains("\"initialize\"") {
            // A stream that stays open after the answer.
            let event = format!("event: message\ndata: {RESULT}\n\n");
            let head = "content-type: text/event-stream\r\nmcp-session-id: s-1\r\ntransfer-encoding: chunked\r\n";
            format!("HTTP/1.1 200 OK\r\n{head}\r\n{:x}\r\n{event}\r\n", event.len())
        } else {
            json("200 OK", "", UNKNOWN_METHOD)
        }
    })
    .await;
    assert_eq!(ask(server.address, &mcp()).await, Ok(()));
    assert_eq!((server.saw("DELETE /mcp"), server.saw("mcp-session-id: s-1")), (1, 1));
}

#[tokio::test]
async fn what_is_no_mcp_server_is_told_as_it_answers() {
    for (status, body, says) in [
        ("401 Unauthorized", "", "POST /mcp answered 401 Unauthorized"),
        ("200 OK", "<html>", "POST /mcp answered without a JSON-RPC message"),
        ("200 OK", UNKNOWN_METHOD, "the MCP server answered with the error"),
    ] {
        let server = Server::start(move |_| json(status, "", body)).await;
        let message = ask(server.address, &mcp()).await.unwrap_err();
        assert!(message.starts_with(says), "{message}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MOST * 2));
    let server = Server::start(move |_| endless.clone()).await;
    let message = ask(server.address, &mcp()).await.unwrap_err();
    assert_eq!(message, format!("its answer is longer than {MOST} bytes"));
}

#[tokio::test]
async fn a_forwarder_without_a_tool_behind_it_does_not_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let message = ask(address, &Probe::Tcp).await.unwrap_err();
    assert_eq!(message, "it closes the connection at once");
    serving.shutdown().await;
    assert!(ask(address, &Probe::Tcp).await.is_err(), "nothing listens");
}

fn container(address: SocketAddr, since: i64) -> Container {
    let labels = serde_json::json!({"io.toolplane.droplet": "1", "io.toolplane.instance": uuid::Uuid::nil()});
    let answer = serde_json::json!({"Id": "c", "Config": {"Labels": labels}, "State": {"Status": "running"}});
    let container = Container::read(DropletId(1), serde_json::from_value(answer).unwrap()).unwrap();
    Container {
        address: Some(address),
        lifecycle: Lifecycle::Running {
            since: Timestamp::from_second(since).unwrap(),
        },
        ..container
    }
}

#[tokio::test]
async fn readiness_that_was_lost_is_not_readiness_that_never_came() {
    let requests = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let healthy = requests.fetch_add(1, Ordering::Relaxed) == 1;
        json(if healthy { "200 OK" } else { "500 Oh" }, "", "")
    })
    .await;
    let (prober, probe) = (Prober::default(), Probe::Http { path: "/".into() });
    let first = container(server.address, 1);
    let readiness = async || {
        // Past every result's freshness.
        prober.lock().values_mut().for_each(|record| record.at -= FRESH_READY);
        prober.readiness(&first, &probe, true).await
    };
    let message = "GET / answered 500 Internal Server Error".to_owned();
    assert_eq!(
        readiness().await,
        Readiness::NotYet {
            message: message.clone()
        }
    );
    assert_eq!(readiness().await, Readiness::Ready);
    for failures in [1, 2] {
        let message = message.clone();
        assert_eq!(readiness().await, Readiness::Lost { failures, message });
    }
    let again = container(server.address, 2);
    let readiness = prober.readiness(&again, &probe, true).await;
    assert_eq!(readiness, Readiness::NotYet { message }, "another run of the same container");
    prober.keep(first.instance, std::slice::from_ref(&first));
    assert_eq!(prober.lock().len(), 1);
    prober.keep(first.instance, &[]);
    assert_eq!(prober.lock().len(), 0);
    assert_eq!(first.id, ContainerId("c".to_owned()));
}

#[tokio::test]
async fn passes_in_quick_succession_ask_once() {
    let server = Server::start(|_| json("200 OK", "", "")).await;
    let (prober, probe) = (Prober::default(), Probe::Http { path: "/".into() });
    for _ in 0..5 {
        let container = container(server.address, 1);
        assert_eq!(prober.readiness(&container, &probe, true).await, Readiness::Ready);
    }
    assert_eq!(server.saw("GET"), 1);
    let silent = Container {
        address: None,
        ..container(server.address, 2)
    };
    assert_eq!(
        prober.readiness(&silent, &probe, false).await,
        Readiness::Ready,
        "it has no port"
    );
}

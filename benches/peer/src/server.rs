//! As much of a Kubernetes API server as a watcher needs: lists in pages, watches with and without initial events, bookmarks.
//!
//! Everything that can be made beforehand is: objects are kept as the bytes that are sent, so that the peer waits for nothing.

use crate::{
    fixture::Row,
    object::{Environment, object},
};
use anyhow::Result;
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::broadcast};
use tokio_stream::wrappers::BroadcastStream;

struct Objects {
    /// Each as JSON.
    objects: Vec<Bytes>,
    version: u64,
    events: broadcast::Sender<Bytes>,
}

type Shared = Arc<Mutex<Objects>>;

/// Serves `count` objects.
pub async fn run(count: u32) -> Result<()> {
    let (events, _) = broadcast::channel(65_536);
    let objects = (0..count).map(|number| json(&object(&Row::new(number), 0, u64::from(number) + 1)));
    let shared: Shared = Arc::new(Mutex::new(Objects {
        objects: objects.collect::<Result<_>>()?,
        version: u64::from(count),
        events,
    }));
    let router = Router::new()
        .route("/apis/toolplane.dev/v1/environments", get(list_or_watch))
        .route("/touch/{number}", post(touch))
        .route("/burst", post(burst))
        .with_state(shared);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a TCP socket"));
    let mut input = tokio::io::stdin();
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served?,
        _ = input.read_u8() => {}
    }
    Ok(())
}

fn json(object: &Environment) -> Result<Bytes> {
    Ok(serde_json::to_vec(object)?.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    #[serde(default)]
    watch: bool,
    #[serde(default)]
    send_initial_events: bool,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    from: Option<usize>,
}

async fn list_or_watch(State(shared): State<Shared>, Query(parameters): Query<Parameters>) -> Response {
    if parameters.watch {
        let body = Body::from_stream(watch(&shared, parameters.send_initial_events).map(Ok::<_, Infallible>));
        return ([(CONTENT_TYPE, "application/json")], body).into_response();
    }
    let body = page(&shared, parameters.from.unwrap_or(0), parameters.limit);
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn page(shared: &Shared, from: usize, limit: Option<usize>) -> Bytes {
    let shared = shared.lock().expect("no panic");
    let rest = &shared.objects[from.min(shared.objects.len())..];
    let items = &rest[..limit.unwrap_or(rest.len()).min(rest.len())];
    let left = rest.len() - items.len();
    let next = if left > 0 {
        format!(r#","continue":"{}","remainingItemCount":{left}"#, from + items.len())
    } else {
        String::new()
    };
    let head = format!(
        r#"{{"kind":"EnvironmentList","apiVersion":"toolplane.dev/v1","metadata":{{"resourceVersion":"{}"{next}}},"items":["#,
        shared.version
    );
    [head.as_bytes(), &items.join(&b","[..]), b"]}"].concat().into()
}

fn watch(shared: &Shared, initial: bool) -> impl Stream<Item = Bytes> + Send + use<> {
    let shared = shared.lock().expect("no panic");
    let live = BroadcastStream::new(shared.events.subscribe()).filter_map(async |event| event.ok());
    let objects = if initial { shared.objects.clone() } else { Vec::new() };
    let bookmark = initial.then(|| bookmark(shared.version));
    // Chunks of some 64 KiB.
    let mut objects = objects.into_iter();
    let chunks = std::iter::from_fn(move || {
        let events: Vec<Bytes> = objects.by_ref().take(48).map(|object| event("ADDED", &object)).collect();
        (!events.is_empty()).then(|| Bytes::from(events.concat()))
    });
    stream::iter(chunks.chain(bookmark)).chain(live)
}

fn event(kind: &str, object: &[u8]) -> Bytes {
    [br#"{"type":""#, kind.as_bytes(), br#"","object":"#, object, b"}\n"]
        .concat()
        .into()
}

fn bookmark(version: u64) -> Bytes {
    let annotations = r#"{"k8s.io/initial-events-end":"true"}"#;
    let object = format!(
        r#"{{"kind":"Environment","apiVersion":"toolplane.dev/v1","metadata":{{"resourceVersion":"{version}","annotations":{annotations}}}}}"#
    );
    event("BOOKMARK", object.as_bytes())
}

/// Changes one object and tells the watchers. Answers with when, in nanoseconds since 1970.
async fn touch(State(shared): State<Shared>, Path(number): Path<u32>) -> Json<u128> {
    let mut shared = shared.lock().expect("no panic");
    shared.version += 1;
    let bytes = json(&object(&Row::new(number), 1, shared.version)).expect("as the others");
    let event = event("MODIFIED", &bytes);
    shared.objects[number as usize] = bytes;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    // Nobody watching is fine.
    let _ = shared.events.send(event);
    Json(now)
}

/// Changes every object and tells the watchers, one event each. Answers with when the first was sent, in nanoseconds since 1970:
/// everything is made before that.
async fn burst(State(shared): State<Shared>) -> Json<u128> {
    let mut shared = shared.lock().expect("no panic");
    let objects = (0..).zip(shared.version + 1..).take(shared.objects.len());
    let changed: Vec<Bytes> = objects
        .map(|(number, version)| json(&object(&Row::new(number), 1, version)).expect("as the others"))
        .collect();
    let events: Vec<Bytes> = changed.iter().map(|object| event("MODIFIED", object)).collect();
    shared.version += events.len() as u64;
    shared.objects = changed;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    for event in events {
        // Nobody watching is fine.
        let _ = shared.events.send(event);
    }
    Json(now)
}

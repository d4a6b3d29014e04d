//! The metadata service: what a droplet can learn of itself at `http://169.254.169.254/metadata/v1`, here below a path of its own.
//! Plain GET, no authentication, as on the real thing.

use crate::{cloud::Cloud, world::droplet::Droplet};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/metadata/{id}/v1.json", get(document))
        .route("/metadata/{id}/v1", get(root))
        .route("/metadata/{id}/v1/{*path}", get(entry))
}

async fn document(State(cloud): State<Arc<Cloud>>, Path(id): Path<u64>) -> Response {
    match metadata_of(&cloud, id) {
        Some(document) => Json(document).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn root(State(cloud): State<Arc<Cloud>>, Path(id): Path<u64>) -> Response {
    find(&cloud, id, "")
}

async fn entry(State(cloud): State<Arc<Cloud>>, Path((id, path)): Path<(u64, String)>) -> Response {
    find(&cloud, id, &path)
}

/// Follows a path into the document: folders answer with their entries, leaves with their text.
fn find(cloud: &Cloud, id: u64, path: &str) -> Response {
    let Some(document) = metadata_of(cloud, id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut found = &document;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        // The document says `user_data` where the path says `user-data`.
        let key = part.replace('-', "_");
        let next = match found {
            Value::Array(entries) => part.parse().ok().and_then(|index: usize| entries.get(index)),
            other => other.get(part).or_else(|| other.get(&key)),
        };
        match next {
            Some(next) => found = next,
            None => return StatusCode::NOT_FOUND.into_response(),
        }
    }
    text_of(found).into_response()
}

fn text_of(found: &Value) -> String {
    let folder = |name: String, value: &Value| {
        if value.is_object() || value.is_array() {
            format!("{name}/")
        } else {
            name
        }
    };
    match found {
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, value)| folder(name.replace('_', "-"), value));
            entries.collect::<Vec<_>>().join("\n")
        }
        // Tags and keys are texts, one a line; interfaces are folders, numbered.
        Value::Array(entries) if entries.iter().all(Value::is_string) => {
            entries.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        Value::Array(entries) => {
            let entries = entries
                .iter()
                .enumerate()
                .map(|(index, value)| folder(index.to_string(), value));
            entries.collect::<Vec<_>>().join("\n")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn metadata_of(cloud: &Cloud, id: u64) -> Option<Value> {
    cloud.world().droplets.get(id).map(document_of)
}

fn document_of(droplet: &Droplet) -> Value {
    json!({
        "droplet_id": droplet.id,
        "id": droplet.id,
        "hostname": droplet.name,
        "user_data": droplet.user_data.as_deref().unwrap_or_default(),
        "vendor_data": "",
        "public_keys": [],
        "auth_key": "",
        "region": droplet.region,
        "interfaces": {
            "public": [{
                "ipv4": {"ip_address": droplet.address, "address": droplet.address, "netmask": "255.255.255.0", "gateway": "127.0.0.1"},
                "mac": "",
                "type": "public",
            }],
        },
        "dns": {"nameservers": ["67.207.67.2", "67.207.67.3"]},
        "tags": droplet.tags,
        "features": {"dhcp_enabled": false},
    })
}

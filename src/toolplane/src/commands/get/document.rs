//! Rows as documents: JSON for programs, YAML that `apply` reads again.

use super::{Listing, row::spelled};
use crate::{cli::Kind, manifests::API_VERSION};
use jiff::Timestamp;
use model::{CatalogEntry, Environment, Instance};
use serde_json::{Value, json};

/// The kind as `-o name` and messages spell it.
pub(super) fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Environments => "environments",
        Kind::Instances => "instances",
        Kind::Catalog => "catalog",
    }
}

/// One document, or a list of them.
pub(super) fn json(listing: &Listing, now: Timestamp) -> String {
    let mut documents = documents(listing, now);
    let whole = match documents.len() {
        1 => documents.remove(0),
        _ => json!({"apiVersion": API_VERSION, "kind": "List", "items": documents}),
    };
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}

/// Documents one after the other.
pub(super) fn yaml(listing: &Listing, now: Timestamp) -> String {
    let documents = documents(listing, now);
    let texts = documents
        .iter()
        .map(|document| serde_saphyr::to_string(document).unwrap_or_default());
    texts
        .map(|text| text.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n---\n")
}

/// `accounttoolinstance/<id>`, a line each.
pub(super) fn names(listing: &Listing) -> String {
    let names: Vec<String> = match listing {
        Listing::Environments(rows) => rows.iter().map(|row| format!("accounttoolenvironment/{}", row.id)).collect(),
        Listing::Instances(rows, _) => rows.iter().map(|row| format!("accounttoolinstance/{}", row.id)).collect(),
        Listing::Catalog(rows) => rows.iter().map(|row| format!("toolcatalogentry/{}", row.id)).collect(),
    };
    names.join("\n")
}

fn documents(listing: &Listing, now: Timestamp) -> Vec<Value> {
    match listing {
        Listing::Environments(rows) => rows.iter().map(|row| environment(row, now)).collect(),
        Listing::Instances(rows, catalog) => rows.iter().map(|row| instance(row, catalog, now)).collect(),
        Listing::Catalog(rows) => rows.iter().map(catalog_entry).collect(),
    }
}

fn document(kind: &str, metadata: &Value, spec: &Value, status: Option<&Value>) -> Value {
    let mut document = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
    if let Some(status) = status {
        document["status"] = status.clone();
    }
    document
}

/// The status with how old what it says was when it was read: a file does not grow older as a screen does.
fn with_age(status: Value, observed_at: Option<Timestamp>, now: Timestamp) -> Value {
    let age = observed_at.map(|then| now.duration_since(then).as_secs().max(0));
    let mut status = status;
    status["observed_age_seconds"] = age.into();
    status
}

fn environment(row: &Environment, now: Timestamp) -> Value {
    let status = serde_json::to_value(&row.status).unwrap_or_default();
    let mut status = with_age(status, row.status.observed_at, now);
    status["last_heartbeat_at"] = json!(row.last_heartbeat_at);
    // A name is for the manifests that are applied together; the id is one that no two share.
    let metadata = json!({"name": row.id, "id": row.id, "generation": row.generation, "created_at": row.created_at});
    let spec = serde_json::to_value(&row.spec).unwrap_or_default();
    document("AccountToolEnvironment", &metadata, &spec, Some(&status))
}

fn instance(row: &Instance, catalog: &[CatalogEntry], now: Timestamp) -> Value {
    let status = serde_json::to_value(&row.status).unwrap_or_default();
    let status = with_age(status, row.status.observed_at, now);
    let tool = catalog.iter().find(|entry| entry.id == row.spec.catalog_id);
    let name = row.spec.instance_name.clone().unwrap_or_else(|| row.id.to_string());
    let metadata = json!({"name": name, "id": row.id, "generation": row.generation, "created_at": row.created_at});
    let spec = json!({
        "environment": row.spec.environment_id,
        "tool": tool.map_or_else(|| row.spec.catalog_id.to_string(), |tool| tool.tool_name.clone()),
        "version_to_run": row.spec.version_to_run,
        "config_values_override": row.spec.config_values_override,
        "desired_state": spelled(&row.spec.desired_state),
        "paused": row.spec.paused,
    });
    document("AccountToolInstance", &metadata, &spec, Some(&status))
}

fn catalog_entry(row: &CatalogEntry) -> Value {
    let mut spec = serde_json::to_value(row).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("id");
        fields.remove("tool_name");
    }
    document("ToolCatalogEntry", &json!({"name": row.tool_name, "id": row.id}), &spec, None)
}

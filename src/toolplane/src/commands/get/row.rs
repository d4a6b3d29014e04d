//! A row as the cells of a table. Every status stands beside the age of its observation.

use super::{
    Listing,
    age::{age, seen},
};
use jiff::Timestamp;
use model::{CatalogEntry, Conditions, Environment, Instance};
use serde::Serialize;

type Cells = Vec<String>;

/// Titles and rows.
pub(super) fn cells(listing: &Listing, wide: bool, now: Timestamp) -> (Vec<&'static str>, Vec<Cells>) {
    match listing {
        Listing::Environments(rows) => (
            titles(
                &["ID", "STATUS", "READY", "DROPLET", "ADDRESS", "REGION", "SIZE", "SEEN", "AGE"],
                &["DESIRED", "IMAGE", "USER", "HEARTBEAT", "GENERATION", "MESSAGE"],
                wide,
            ),
            rows.iter().map(|row| environment(row, wide, now)).collect(),
        ),
        Listing::Instances(rows, catalog) => (
            titles(
                &[
                    "NAME", "ID", "TOOL", "VERSION", "STATUS", "READY", "RESTARTS", "ENDPOINT", "SEEN", "AGE",
                ],
                &["DESIRED", "ENVIRONMENT", "CONTAINER", "GENERATION", "MESSAGE"],
                wide,
            ),
            rows.iter().map(|row| instance(row, catalog, wide, now)).collect(),
        ),
        Listing::Catalog(rows) => (
            titles(
                &["NAME", "ID", "STATUS", "DEFAULT", "VERSIONS"],
                &["IMAGE", "SECRETS", "DESCRIPTION"],
                wide,
            ),
            rows.iter().map(|row| catalog_entry(row, wide)).collect(),
        ),
    }
}

fn titles(narrow: &[&'static str], more: &[&'static str], wide: bool) -> Vec<&'static str> {
    let more = if wide { more } else { &[] };
    [narrow, more].concat()
}

fn environment(row: &Environment, wide: bool, now: Timestamp) -> Cells {
    let status = &row.status;
    let mut cells = vec![
        row.id.to_string(),
        paused(&spelled(&status.phase), row.spec.paused),
        ready(&status.conditions, status.observed_generation, row.generation),
        or_dash(status.droplet_id),
        or_dash(status.ip_address),
        row.spec.region.to_string(),
        row.spec.size.to_string(),
        seen(status.observed_at, now),
        age(row.created_at, now),
    ];
    if wide {
        cells.extend([
            spelled(&row.spec.desired_state),
            row.spec.image.to_string(),
            row.spec.user_id.to_string(),
            seen(row.last_heartbeat_at, now),
            format!("{}/{}", status.observed_generation, row.generation),
            message(status.error_message.as_deref(), &status.conditions),
        ]);
    }
    cells
}

fn instance(row: &Instance, catalog: &[CatalogEntry], wide: bool, now: Timestamp) -> Cells {
    let status = &row.status;
    let tool = catalog.iter().find(|entry| entry.id == row.spec.catalog_id);
    let detail = |name: &str| {
        let value = &status.runtime_details[name];
        let text = value
            .as_str()
            .map(str::to_owned)
            .or_else(|| value.as_i64().map(|number| number.to_string()));
        or_dash(text)
    };
    let version = match status.actual_running_version.as_deref() {
        Some(actual) if actual != row.spec.version_to_run => format!("{actual} -> {}", row.spec.version_to_run),
        _ => row.spec.version_to_run.clone(),
    };
    let mut cells = vec![
        or_dash(row.spec.instance_name.as_deref()),
        row.id.to_string(),
        tool.map_or_else(|| row.spec.catalog_id.to_string(), |tool| tool.tool_name.clone()),
        version,
        paused(&spelled(&status.phase), row.spec.paused),
        ready(&status.conditions, status.observed_generation, row.generation),
        detail("restarts"),
        detail("endpoint"),
        seen(status.observed_at, now),
        age(row.created_at, now),
    ];
    if wide {
        let container: String = detail("container_id").chars().take(12).collect();
        cells.extend([
            spelled(&row.spec.desired_state),
            row.spec.environment_id.to_string(),
            container,
            format!("{}/{}", status.observed_generation, row.generation),
            message(status.error_message.as_deref(), &status.conditions),
        ]);
    }
    cells
}

fn catalog_entry(row: &CatalogEntry, wide: bool) -> Cells {
    let mut cells = vec![
        row.tool_name.clone(),
        row.id.to_string(),
        spelled(&row.status),
        row.version_info.default_version.clone(),
        row.version_info.available_versions.join(","),
    ];
    if wide {
        let secrets: Vec<&str> = row
            .required_secrets_schema
            .iter()
            .map(|secret| secret.name.as_str())
            .collect();
        cells.extend([
            row.package_identifier.clone(),
            or_dash((!secrets.is_empty()).then(|| secrets.join(","))),
            or_dash(row.description.as_deref()),
        ]);
    }
    cells
}

/// As the database spells an enum.
pub(crate) fn spelled(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "-".to_owned(),
    }
}

fn paused(phase: &str, paused: bool) -> String {
    if paused {
        format!("{phase} (paused)")
    } else {
        phase.to_owned()
    }
}

/// The `Ready` condition, or what stands in its way; `Outdated` while the status speaks of an earlier generation.
fn ready(conditions: &Conditions, observed_generation: i64, generation: i64) -> String {
    if observed_generation < generation {
        return "Outdated".to_owned();
    }
    match conditions.get("Ready") {
        Some(ready) if ready.status == model::ConditionStatus::True => "True".to_owned(),
        Some(ready) => ready.reason.to_string(),
        None => "-".to_owned(),
    }
}

/// Why it is in an error, else what stands in the way.
fn message(error: Option<&str>, conditions: &Conditions) -> String {
    let blocker = || conditions.blocker().map(|blocker| blocker.message.to_string());
    let text = error.map(str::to_owned).or_else(blocker);
    or_dash(text.filter(|text| !text.is_empty()))
}

pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

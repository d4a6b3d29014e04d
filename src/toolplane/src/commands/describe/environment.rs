//! An environment's page.

use super::{
    Known,
    page::{Page, moment, yes},
    waits,
};
use crate::{
    cli::Output,
    commands::get::{self, Listing, or_dash, seen, spelled},
    configuration::Settings,
};
use jiff::Timestamp;
use model::{AgentReport, ConditionStatus, Environment, Intent, Subject, Tombstone};

pub(super) fn page(known: &Known, settings: &Settings, now: Timestamp) -> String {
    let mut page = Page::default();
    match &known.record.subject {
        Subject::Row(row) => {
            specification(&mut page, row, now);
            status(&mut page, row, now);
            page.conditions(&row.status.conditions, now);
        }
        Subject::Tombstone(tombstone) => tombstoned(&mut page, tombstone, now),
    }
    droplet(&mut page, known, now);
    firewall(&mut page, known, now);
    tools(&mut page, known, now);
    intent(&mut page, known.record.intent.as_deref(), settings, now);
    worked_on(&mut page, known, now);
    if let Subject::Row(row) = &known.record.subject {
        match waits::environment(known, row, settings, now) {
            Some(waiting) => {
                page.section("Waits for", &waiting.what);
                page.field("Goes on", &waiting.goes_on);
            }
            None => page.section("Waits for", "nothing"),
        }
    }
    page.events(&known.events, now);
    page.text()
}

fn specification(page: &mut Page, row: &Environment, now: Timestamp) {
    page.section("Environment", &row.id.to_string());
    page.field("User", &row.spec.user_id.to_string());
    page.field("Created", &moment(row.created_at, now));
    page.section("Specification", &format!("generation {}", row.generation));
    page.field("Desired state", &spelled(&row.spec.desired_state));
    page.field("Paused", yes(row.spec.paused));
    page.field("Region", &row.spec.region);
    page.field("Size", &row.spec.size);
    page.field("Image", &row.spec.image);
}

fn status(page: &mut Page, row: &Environment, now: Timestamp) {
    let status = &row.status;
    let behind = if status.observed_generation < row.generation {
        ", which is outdated"
    } else {
        ""
    };
    let of = format!(
        "{}, of generation {}{behind}, seen {}",
        spelled(&status.phase),
        status.observed_generation,
        seen(status.observed_at, now)
    );
    page.section("Status", &of);
    page.field_if("Error", status.error_message.clone());
}

fn tombstoned(page: &mut Page, tombstone: &Tombstone, now: Timestamp) {
    page.section("Environment", &tombstone.environment_id.to_string());
    page.field("User", &tombstone.user_id.to_string());
    page.field("Row", &format!("deleted {}", moment(tombstone.deleted_at, now)));
    page.section(
        "Waits for",
        "its droplet to be seen to be gone; then nothing is left of it but its events",
    );
}

fn droplet(page: &mut Page, known: &Known, now: Timestamp) {
    let (id, address, created_at) = match &known.record.subject {
        Subject::Row(row) => (row.status.droplet_id, row.status.ip_address, row.status.droplet_created_at),
        Subject::Tombstone(tombstone) => (tombstone.droplet_id, tombstone.ip_address, None),
    };
    let Some(id) = id else {
        return page.section("Droplet", "none");
    };
    page.section("Droplet", &id.to_string());
    page.field("Address", &or_dash(address));
    page.field_if("Created", created_at.map(|at| moment(at, now)));
    match known.record.current_report() {
        Some(report) => agent(page, report, now),
        None => page.field("Agent", "has not reported yet"),
    }
}

fn agent(page: &mut Page, report: &AgentReport, now: Timestamp) {
    let heard = seen(Some(report.received_at), now);
    page.field("Agent", &format!("version {}, heard {heard}", report.agent_version));
    let vitals = &report.vitals;
    page.field("Memory", &available(vitals.memory_available, vitals.memory_total));
    page.field("Disk", &available(vitals.disk_available, vitals.disk_total));
}

/// In whole mebibytes: nobody buys less.
fn available(available: u64, total: u64) -> String {
    const MEBIBYTE: u64 = 1024 * 1024;
    format!("{} of {} MiB free", available / MEBIBYTE, total / MEBIBYTE)
}

fn firewall(page: &mut Page, known: &Known, now: Timestamp) {
    let Some(firewall) = known.record.firewall.as_deref() else {
        return page.section("Firewall", "none of its own");
    };
    let id = firewall.id.clone().unwrap_or_else(|| "announced, not seen yet".to_owned());
    page.section("Firewall", &id);
    page.field("Announced", &moment(firewall.announced_at, now));
    let ports: Vec<String> = firewall.ports.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() {
        "none".to_owned()
    } else {
        ports.join(", ")
    };
    page.field("Open, at most", &ports);
    for (port, since) in &firewall.closing {
        page.field(
            "Closing",
            &format!("{port}, asked for {}, before its tool stops", seen(Some(*since), now)),
        );
    }
    if firewall.state != ConditionStatus::True {
        page.field("State", &format!("{}: {}", firewall.reason, firewall.message));
    }
}

fn tools(page: &mut Page, known: &Known, now: Timestamp) {
    let Some(tools) = known.record.tools.as_deref() else {
        return page.section("Tools", "none");
    };
    let title = if tools.instances.is_empty() { "none" } else { "" };
    page.section("Tools", title);
    if !tools.instances.is_empty() {
        let listing = Listing::Instances(tools.instances.clone(), known.catalog.clone());
        page.lines(&get::render(&listing, Output::Table, now));
    }
    if let Some(set) = &tools.desired {
        let applied = known.record.current_report().and_then(|report| report.applied);
        let told = match applied {
            Some(applied) if applied >= set.stamp => "the agent holds it".to_owned(),
            Some(applied) if applied.epoch == set.stamp.epoch => format!("the agent holds {}", applied.generation),
            Some(_) | None => "the agent does not hold it yet".to_owned(),
        };
        let stamp = format!("generation {} of epoch {}", set.stamp.generation, set.stamp.epoch);
        page.field("Desired set", &format!("{stamp}; {told}"));
    }
}

fn intent(page: &mut Page, intent: Option<&Intent>, settings: &Settings, now: Timestamp) {
    let Some(intent) = intent else {
        return page.section("Intent", "none was ever announced");
    };
    page.section("Intent", &format!("{} {}", spelled(&intent.kind), intent.id));
    page.field("Announced", &moment(intent.announced_at, now));
    let outcome = match (intent.outcome, intent.announced_at.checked_add(settings.lag_window)) {
        (Some(outcome), _) => spelled(&outcome),
        (None, Ok(until)) => format!("open; its droplet is looked for until {}", moment(until, now)),
        (None, Err(_)) => "open".to_owned(),
    };
    page.field("Outcome", &outcome);
    page.field("Droplet", &or_dash(intent.droplet_id));
    page.field("Epoch", &intent.epoch.to_string());
    page.field(
        "Agent's key",
        if intent.enrolled_key.is_some() {
            "enrolled"
        } else {
            "not enrolled"
        },
    );
}

fn worked_on(page: &mut Page, known: &Known, now: Timestamp) {
    let shard = known.record.id().shard();
    match &known.holder {
        Some(holder) => {
            page.section("Worked on by", &holder.name);
            page.field("Lease", &format!("shard {shard}, epoch {}", holder.epoch));
            page.field("Runs out", &format!("{} unless renewed", moment(holder.expires_at, now)));
        }
        None => page.section("Worked on by", &format!("nobody: shard {shard} is free")),
    }
}

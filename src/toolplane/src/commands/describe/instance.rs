//! An instance's page.

use super::{
    Known,
    page::{Page, moment, yes},
};
use crate::commands::get::{or_dash, seen, spelled};
use jiff::Timestamp;
use model::{Condition, Instance, InstanceDesiredState, InstancePhase, Subject};

pub(super) fn page(known: &Known, row: &Instance, now: Timestamp) -> String {
    let mut page = Page::default();
    page.section("Instance", &row.id.to_string());
    page.field("Name", &or_dash(row.spec.instance_name.as_deref()));
    page.field("Tool", &known.tool(row));
    page.field("Created", &moment(row.created_at, now));
    environment(&mut page, known);
    page.section("Specification", &format!("generation {}", row.generation));
    page.field("Desired state", &spelled(&row.spec.desired_state));
    page.field("Paused", yes(row.spec.paused));
    page.field("Version", &row.spec.version_to_run);
    page.field("Overrides", &row.spec.config_values_override.to_string());
    status(&mut page, row, now);
    page.conditions(&row.status.conditions, now);
    container(&mut page, known, row, now);
    match waits_for(row) {
        Some(what) => page.section("Waits for", &what),
        None => page.section("Waits for", "nothing"),
    }
    page.events(&known.events, now);
    page.text()
}

fn environment(page: &mut Page, known: &Known) {
    let Subject::Row(environment) = &known.record.subject else {
        return;
    };
    page.section("Environment", &environment.id.to_string());
    page.field("Status", &spelled(&environment.status.phase));
    page.field("Droplet", &or_dash(environment.status.droplet_id));
    page.field("Address", &or_dash(environment.status.ip_address));
}

fn status(page: &mut Page, row: &Instance, now: Timestamp) {
    let status = &row.status;
    let of = format!(
        "{}, of generation {}, seen {}",
        spelled(&status.phase),
        status.observed_generation,
        seen(status.observed_at, now)
    );
    page.section("Status", &of);
    page.field("Version", &or_dash(status.actual_running_version.as_deref()));
    page.field_if("Error", status.error_message.clone());
}

/// What its agent was told of it, and what it said.
fn container(page: &mut Page, known: &Known, row: &Instance, now: Timestamp) {
    let tools = known.record.tools.as_deref();
    let told = tools.and_then(|tools| {
        tools
            .desired
            .as_ref()?
            .instances
            .iter()
            .find(|told| told.instance_id == row.id)
    });
    match told {
        Some(told) => {
            let run = spelled(&told.run);
            page.section(
                "Desired set",
                &format!("generation {} of the row: {run}, port {}", told.generation, told.port),
            );
        }
        None => page.section("Desired set", "the agent is not told of it"),
    }
    let report = known.record.current_report();
    let Some((report, said)) = report.and_then(|report| Some((report, report.instance(row.id)?))) else {
        return page.section("Container", "the agent has not reported it");
    };
    let heard = seen(Some(report.received_at), now);
    page.section("Container", &format!("{}, heard {heard}", spelled(&said.state)));
    page.field("Id", &or_dash(said.container_id.as_deref()));
    page.field("Image", &or_dash(said.image_digest.as_deref()));
    page.field("Restarts", &said.restarts.to_string());
    page.field_if("Exit code", said.exit_code.map(|code| code.to_string()));
    page.field_if("Reason", said.reason.clone());
    page.field_if("Message", said.message.clone());
    let endpoint = row.status.runtime_details["endpoint"].as_str();
    page.field_if("Endpoint", endpoint.map(str::to_owned));
}

fn waits_for(row: &Instance) -> Option<String> {
    if row.spec.paused {
        return Some("spec.paused to be unset".to_owned());
    }
    if row.status.observed_generation < row.generation {
        return Some(format!("generation {} to be taken up", row.generation));
    }
    let at_rest = match row.spec.desired_state {
        InstanceDesiredState::Running => row.status.phase == InstancePhase::Running,
        InstanceDesiredState::Stopped => row.status.phase == InstancePhase::Stopped,
        InstanceDesiredState::Removed => row.status.phase == InstancePhase::Removed,
    };
    if at_rest {
        return None;
    }
    let blocker = row.status.conditions.blocker();
    Some(blocker.map_or_else(|| "a first look".to_owned(), Condition::said))
}

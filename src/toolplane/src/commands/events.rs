//! `toolplane events`: what was done, and why.
//!
//! Owns: which events are shown and how. Must not: write. Promises: oldest first, so that the latest stands at the prompt; what
//! `--watch` prints is printed once for each time that it happened.

mod about;
mod watch;

pub(crate) use about::About;

use super::{
    connect,
    get::{age, columns, print, spelled},
};
use crate::{
    cli::{Events, ReportOutput},
    configuration::Settings,
    manifests::API_VERSION,
};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use schema::{Database, EventFilter, RecordedEvent, Role};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Events are read so many at a time.
const PAGE: u32 = 500;
/// As much of an id as a table shows; commands take it for the id.
const ID_LENGTH: usize = 8;
/// An id as a UUID is spelled.
const WHOLE_ID: usize = 36;

pub(super) async fn run(events: &Events, settings: Settings) -> miette::Result<ExitCode> {
    let database = connect::migrated_database(&settings, Role::Service).await?;
    let about = About::understand(&database, &events.about).await?;
    let since = events.since.map(|since| since.moment(Timestamp::now()));
    let limit = if events.limit == 0 {
        usize::MAX
    } else {
        events.limit as usize
    };
    let mut found = read(&database, &about, since, limit.saturating_add(1)).await?;
    let more = found.len() > limit;
    if more {
        found.remove(0);
        eprintln!("only the latest {limit} events are shown; --limit 0 shows all, --since fewer");
    }
    let nothing_yet = found.is_empty() && events.watch;
    let read_on = nothing_yet || print(&render(&found, events.output, Timestamp::now(), true));
    if events.watch && read_on {
        watch::run(&database, &about, events.output, found).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The latest events about these things, at most so many, oldest first.
pub(super) async fn read(
    database: &Database,
    about: &About,
    since: Option<Timestamp>,
    limit: usize,
) -> miette::Result<Vec<RecordedEvent>> {
    let mut found = Vec::new();
    for filter in about.filters() {
        let filter = EventFilter { since, ..filter };
        let events = latest(database, filter, limit).await;
        found.extend(events.into_diagnostic().wrap_err("cannot read the events")?);
    }
    found.retain(|event| about.takes(&event.event));
    found.sort_by_key(|event| (event.last_seen, event.id));
    found.drain(..found.len().saturating_sub(limit));
    Ok(found)
}

async fn latest(database: &Database, filter: EventFilter, limit: usize) -> Result<Vec<RecordedEvent>, schema::Error> {
    let (mut filter, mut found) = (filter, Vec::new());
    while found.len() < limit {
        let page = database.event_page(&filter, PAGE).await?;
        let complete = page.len() < PAGE as usize;
        filter.behind = page.last().map(RecordedEvent::place);
        found.extend(page);
        if complete {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// All of them, in the form that was asked for.
pub(super) fn render(events: &[RecordedEvent], output: ReportOutput, now: Timestamp, header: bool) -> String {
    match output {
        ReportOutput::Table | ReportOutput::Wide if events.is_empty() => "no events".to_owned(),
        ReportOutput::Table | ReportOutput::Wide => {
            let wide = output == ReportOutput::Wide;
            let titles: &[&str] = if wide {
                &[
                    "LAST SEEN",
                    "FIRST SEEN",
                    "COUNT",
                    "TYPE",
                    "REASON",
                    "OBJECT",
                    "ACTOR",
                    "MESSAGE",
                    "CAUSE",
                ]
            } else {
                &["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE", "CAUSE"]
            };
            let rows = events.iter().map(|event| cells(event, wide, now)).collect();
            columns(header.then_some(titles), rows)
        }
        ReportOutput::Json => {
            let items: Vec<Value> = events.iter().map(document).collect();
            let whole = json!({"apiVersion": API_VERSION, "kind": "List", "items": items});
            serde_json::to_string_pretty(&whole).unwrap_or_default()
        }
        ReportOutput::Yaml => {
            let texts = events.iter().map(|event| {
                let text = serde_saphyr::to_string(&document(event)).unwrap_or_default();
                text.trim_end().to_owned()
            });
            texts.collect::<Vec<_>>().join("\n---\n")
        }
    }
}

fn cells(event: &RecordedEvent, wide: bool, now: Timestamp) -> Vec<String> {
    let RecordedEvent {
        event: told,
        count,
        first_seen,
        last_seen,
        ..
    } = event;
    let object = |length: usize| match (told.instance_id, told.environment_id) {
        (Some(id), _) => format!("instance/{}", &id.to_string()[..length]),
        (None, Some(id)) => format!("environment/{}", &id.to_string()[..length]),
        (None, None) => "installation".to_owned(),
    };
    let (last, first) = (age(*last_seen, now), age(*first_seen, now));
    let (reason, message, cause) = (told.reason.clone(), told.message.clone(), told.cause.clone());
    let type_ = spelled(&told.kind);
    if wide {
        return vec![
            last,
            first,
            count.to_string(),
            type_,
            reason,
            object(WHOLE_ID),
            told.actor.clone(),
            message,
            cause,
        ];
    }
    let last = if *count > 1 {
        format!("{last} (x{count} over {first})")
    } else {
        last
    };
    vec![last, type_, reason, object(ID_LENGTH), message, cause]
}

fn document(event: &RecordedEvent) -> Value {
    let mut document = json!({"apiVersion": API_VERSION, "kind": "ReconcileEvent"});
    if let (Some(fields), Ok(Value::Object(told))) = (document.as_object_mut(), serde_json::to_value(event)) {
        fields.extend(told);
    }
    document
}

#[cfg(test)]
pub(super) mod tests;

//! The pages as their templates take them. Owns: which words and colours say what. Must not: read anything.

mod banner;
mod environment;
mod event;
#[cfg(test)]
mod tests;

use askama::Template;
use banner::{Banner, banners};
use environment::{ConditionView, EnvironmentView};
use event::EventView;
use jiff::Timestamp;
use model::{EnvironmentId, EnvironmentRecord};
use schema::{EventPlace, RecordedEvent};
use std::fmt::Display;

/// One page of all environments.
#[derive(Template)]
#[template(path = "fleet.html")]
pub(crate) struct Fleet {
    here: &'static str,
    banners: Vec<Banner>,
    environments: Vec<EnvironmentView>,
    instance_count: usize,
    paged: bool,
    next: Option<EnvironmentId>,
}

impl Fleet {
    /// `paged` is whether others came before, `next` the last of this page when others follow.
    pub(crate) fn new(records: &[EnvironmentRecord], paged: bool, next: Option<EnvironmentId>, now: Timestamp) -> Self {
        let environments: Vec<EnvironmentView> = records.iter().map(|record| EnvironmentView::new(record, now)).collect();
        Self {
            here: "/",
            banners: banners(records, now),
            instance_count: environments.iter().map(|environment| environment.instances.len()).sum(),
            environments,
            paged,
            next,
        }
    }
}

/// One environment with everything about it.
#[derive(Template)]
#[template(path = "environment.html")]
pub(crate) struct Environment {
    here: &'static str,
    banners: Vec<Banner>,
    card: EnvironmentView,
    conditions: Vec<ConditionView>,
    events: Vec<EventView>,
}

impl Environment {
    pub(crate) fn new(record: &EnvironmentRecord, events: &[RecordedEvent], now: Timestamp) -> Self {
        Self {
            here: "",
            banners: banners(std::slice::from_ref(record), now),
            card: EnvironmentView::new(record, now),
            conditions: environment::conditions(record, now),
            events: events.iter().map(|event| EventView::new(event, now)).collect(),
        }
    }
}

/// One page of events.
#[derive(Template)]
#[template(path = "events.html")]
pub(crate) struct Events {
    here: &'static str,
    banners: Vec<Banner>,
    environment: Option<EnvironmentId>,
    list: Vec<EventView>,
    first: Option<String>,
    next: Option<String>,
}

impl Events {
    /// `paged` is whether later ones came before, `more` whether earlier ones follow.
    pub(crate) fn new(
        events: &[RecordedEvent],
        environment: Option<EnvironmentId>,
        paged: bool,
        more: bool,
        now: Timestamp,
    ) -> Self {
        let last = events.last().filter(|_| more).map(RecordedEvent::place);
        Self {
            here: "/events",
            banners: Vec::new(),
            environment,
            list: events.iter().map(|event| EventView::new(event, now)).collect(),
            first: paged.then(|| address(environment, None)),
            next: last.map(|last| address(environment, Some(last))),
        }
    }
}

/// A page of events, relative to this host. Nothing in it needs escaping.
fn address(environment: Option<EnvironmentId>, behind: Option<EventPlace>) -> String {
    let environment = environment.map(|id| format!("environment={id}"));
    let behind = behind.map(|EventPlace { last_seen, id }| format!("before={last_seen}&id={id}"));
    let query: Vec<String> = environment.into_iter().chain(behind).collect();
    format!("/events?{}", query.join("&"))
}

/// The enum's name as Postgres spells it.
fn spelled(value: impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| "?".to_owned())
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// How long, in its largest whole unit: `12s`.
fn span(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// How long ago, in its largest whole unit: `12s ago`.
fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", span(at, now)))
}

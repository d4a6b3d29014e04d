//! Text in sections, each with fields or a table. Owns: the layout. Must not: know what it says.

use crate::{
    cli::ReportOutput,
    commands::{
        events,
        get::{age, columns},
    },
};
use jiff::Timestamp;
use model::Conditions;
use schema::RecordedEvent;

/// Where values begin.
const INDENT: usize = 18;

/// A page on its way.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<String>);

impl Page {
    /// A section with a title and what is said of all of it.
    pub(super) fn section(&mut self, title: &str, of: &str) {
        if !self.0.is_empty() {
            self.0.push(String::new());
        }
        self.line(&format!("{title}:"), of);
    }

    /// One thing within a section.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        self.line(&format!("  {name}:"), value);
    }

    /// As a field, when there is something to say.
    pub(super) fn field_if(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.field(name, &value);
        }
    }

    /// Lines under a section.
    pub(super) fn lines(&mut self, text: &str) {
        self.0.extend(text.lines().map(|line| format!("  {line}")));
    }

    /// Each with how long it has been so.
    pub(super) fn conditions(&mut self, conditions: &Conditions, now: Timestamp) {
        if conditions.0.is_empty() {
            return self.section("Conditions", "none yet");
        }
        self.section("Conditions", "");
        let rows = conditions.0.iter().map(|condition| {
            vec![
                condition.kind.to_string(),
                crate::commands::get::spelled(&condition.status),
                age(condition.last_transition_time, now),
                condition.reason.to_string(),
                condition.message.to_string(),
            ]
        });
        let titles: &[&str] = &["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"];
        self.lines(&columns(Some(titles), rows.collect()));
    }

    /// The latest, oldest first.
    pub(super) fn events(&mut self, events: &[RecordedEvent], now: Timestamp) {
        if events.is_empty() {
            return self.section("Events", "none");
        }
        self.section("Events", "");
        self.lines(&events::render(events, ReportOutput::Table, now, true));
    }

    pub(super) fn text(self) -> String {
        self.0.join("\n")
    }

    fn line(&mut self, title: &str, value: &str) {
        self.0.push(format!("{title:INDENT$}{value}").trim_end().to_owned());
    }
}

/// A moment as people want it: how far it is, and when it is.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    let whole = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    if at > now {
        format!("in {} ({whole})", age(now, at))
    } else {
        format!("{} ago ({whole})", age(at, now))
    }
}

/// `yes` or `no`.
pub(super) fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

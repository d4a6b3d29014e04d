//! An event as text.

use super::{age, or_dash};
use jiff::Timestamp;
use model::EventType;
use schema::RecordedEvent;

/// As much of an id as is shown; commands take it for the id.
const ID_LENGTH: usize = 8;

pub(super) struct EventView {
    pub(super) at: String,
    pub(super) seen: String,
    pub(super) count: i64,
    pub(super) tone: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) cause: String,
    pub(super) actor: String,
    /// `None` for what the installation has once.
    pub(super) environment: Option<String>,
    pub(super) object: String,
}

impl EventView {
    pub(super) fn new(recorded: &RecordedEvent, now: Timestamp) -> Self {
        let event = &recorded.event;
        let environment = event.environment_id.map(|id| id.to_string());
        let object = match (event.instance_id, &environment) {
            (Some(id), _) => format!("instance {}", beginning(&id.to_string())),
            (None, Some(id)) => format!("environment {}", beginning(id)),
            (None, None) => "the installation".to_owned(),
        };
        Self {
            at: recorded.last_seen.to_string(),
            seen: age(Some(recorded.last_seen), now),
            count: recorded.count,
            tone: match event.kind {
                EventType::Normal => "",
                EventType::Warning => "bad",
            },
            reason: event.reason.clone(),
            message: event.message.clone(),
            cause: or_dash(Some(&event.cause).filter(|cause| !cause.is_empty())),
            actor: event.actor.clone(),
            environment,
            object,
        }
    }
}

fn beginning(id: &str) -> String {
    id.chars().take(ID_LENGTH).collect()
}

//! `reconcile_events`: what was done and why, for people.

use crate::{
    Database, Error,
    codec::{Spelled, Time},
};
use jiff::Timestamp;
use model::{EnvironmentId, Event, InstanceId};
use std::time::Duration;

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RecordedEvent {
    /// What was seen.
    #[serde(flatten)]
    pub event: Event,
    /// How often.
    pub count: i64,
    /// First, by the database's clock.
    pub first_seen: Timestamp,
    /// Last, by the database's clock.
    pub last_seen: Timestamp,
}

impl Database {
    /// Records an event, or counts it when the same was seen within the hour.
    pub async fn event_record(&self, event: &Event) -> Result<(), Error> {
        sqlx::query!(
            "select toolplane.event_record($1, $2, $3::text::reconcile_event_type_enum, $4, $5, $6, $7)",
            event.environment_id.0,
            event.instance_id.map(|id| id.0) as _,
            Spelled(event.kind) as _,
            event.reason,
            event.message,
            event.actor,
            event.cause,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The latest events, of one environment or of all, the last seen first.
    pub async fn event_list(&self, environment: Option<EnvironmentId>, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        let rows = sqlx::query!(
            r#"select environment_id, instance_id, type as "kind: Spelled<model::EventType>", reason, message, actor, cause, count,
                first_seen as "first_seen: Time", last_seen as "last_seen: Time"
            from reconcile_events
            where $1::uuid is null or environment_id = $1
            order by last_seen desc, id desc
            limit $2"#,
            environment.map(|id| id.0),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        let events = rows.into_iter().map(|row| RecordedEvent {
            event: Event {
                environment_id: row.environment_id.into(),
                instance_id: row.instance_id.map(InstanceId),
                kind: row.kind.0,
                reason: row.reason,
                message: row.message,
                actor: row.actor,
                cause: row.cause,
            },
            count: row.count,
            first_seen: row.first_seen.to_jiff(),
            last_seen: row.last_seen.to_jiff(),
        });
        Ok(events.collect())
    }

    /// Forgets events that were last seen longer ago than this, and says how many there were.
    pub async fn event_prune(&self, older_than: Duration) -> Result<u64, Error> {
        let pruned = sqlx::query!(
            "delete from reconcile_events where last_seen < clock_timestamp() - make_interval(secs => $1)",
            older_than.as_secs_f64(),
        )
        .execute(&self.pool)
        .await?;
        Ok(pruned.rows_affected())
    }
}

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
    /// Which.
    pub id: i64,
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

/// Which events to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those of one environment, and of the instances on it.
    pub environment_id: Option<EnvironmentId>,
    /// Only those of one instance.
    pub instance_id: Option<InstanceId>,
    /// Only those that were last seen then or later.
    pub since: Option<Timestamp>,
    /// Only those behind this place of the list: what follows a page whose last event is there.
    pub behind: Option<EventPlace>,
}

/// A place in the list of events. An event that is seen again moves to the list's beginning, so that paging on from a place misses
/// nothing and repeats nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// When the event was last seen.
    pub last_seen: Timestamp,
    /// The event's id.
    pub id: i64,
}

impl RecordedEvent {
    /// Where it stands in the list.
    pub fn place(&self) -> EventPlace {
        EventPlace {
            last_seen: self.last_seen,
            id: self.id,
        }
    }
}

impl Database {
    /// Records an event, or counts it when the same was seen within the hour.
    pub async fn event_record(&self, event: &Event) -> Result<(), Error> {
        let statement = sqlx::query!(
            "select toolplane.event_record($1, $2, $3::text::reconcile_event_type_enum, $4, $5, $6, $7)",
            event.environment_id.map(|id| id.0) as _,
            event.instance_id.map(|id| id.0) as _,
            Spelled(event.kind) as _,
            event.reason,
            event.message,
            event.actor,
            event.cause,
        )
        .execute(&self.pool);
        self.write("event_record", statement).await?;
        Ok(())
    }

    /// The latest events, of one environment or of all, the last seen first.
    pub async fn event_list(&self, environment: Option<EnvironmentId>, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        let filter = EventFilter {
            environment_id: environment,
            ..EventFilter::default()
        };
        self.event_page(&filter, limit).await
    }

    /// The latest events that the filter lets through, the last seen first.
    pub async fn event_page(&self, filter: &EventFilter, limit: u32) -> Result<Vec<RecordedEvent>, Error> {
        let rows = sqlx::query!(
            r#"select id, environment_id, instance_id, type as "kind: Spelled<model::EventType>", reason, message, actor, cause,
                count, first_seen as "first_seen: Time", last_seen as "last_seen: Time"
            from reconcile_events
            where ($1::uuid is null or environment_id = $1)
                and ($2::uuid is null or instance_id = $2)
                and ($3::timestamptz is null or last_seen >= $3)
                and ($4::timestamptz is null or (last_seen, id) < ($4, $5))
            order by last_seen desc, id desc
            limit $6"#,
            filter.environment_id.map(|id| id.0),
            filter.instance_id.map(|id| id.0),
            filter.since.map(Time::from) as _,
            filter.behind.map(|place| Time::from(place.last_seen)) as _,
            filter.behind.map(|place| place.id),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        let events = rows.into_iter().map(|row| RecordedEvent {
            id: row.id,
            event: Event {
                environment_id: row.environment_id.map(EnvironmentId),
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
        let statement = sqlx::query!(
            "delete from reconcile_events where last_seen < clock_timestamp() - make_interval(secs => $1)",
            older_than.as_secs_f64(),
        )
        .execute(&self.pool);
        let pruned = self.write("event_prune", statement).await?;
        Ok(pruned.rows_affected())
    }
}

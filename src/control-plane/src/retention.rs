//! Events are kept for a month: long enough to explain a bill, short enough for a table that is read by people. That older ones are
//! forgotten is an event itself.

use model::{Event, EventType};
use schema::Database;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const KEPT: Duration = Duration::from_hours(30 * 24);
const EVERY: Duration = Duration::from_hours(1);

/// Forgets old events every hour, until shutdown. Several replicas doing it at once do no harm.
pub(crate) async fn forget_old_events(database: Database, shutdown: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        match database.event_prune(KEPT).await {
            Ok(0) => {}
            Ok(events) => {
                if let Err(error) = database.event_record(&forgotten(events)).await {
                    tracing::warn!(%error, events, "old events are forgotten, and that could not be recorded");
                }
            }
            Err(error) => tracing::warn!(%error, "old events are not forgotten this time"),
        }
    }
}

fn forgotten(events: u64) -> Event {
    let days = KEPT.as_secs() / (24 * 60 * 60);
    Event {
        environment_id: None,
        instance_id: None,
        kind: EventType::Normal,
        reason: "EventsForgotten".to_owned(),
        message: format!("{events} events are forgotten"),
        actor: "event-retention".to_owned(),
        cause: format!("they were last seen more than {days} days ago"),
    }
}

//! Events are kept for a month: long enough to explain a bill, short enough for a table that is read by people.

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
            Ok(events) => tracing::info!(events, "old events are forgotten"),
            Err(error) => tracing::warn!(%error, "old events are not forgotten this time"),
        }
    }
}

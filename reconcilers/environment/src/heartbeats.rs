//! When agents were last heard, for the records in memory that are behind.
//!
//! A heartbeat that says nothing new notifies nobody, so the time in a record of memory grows old while the agent is well. This
//! looks the old ones up, many at a time, and wakes the environments whose agent really is silent.
//!
//! Owns: the times. Must not: judge what silence means. Promises: a time is never replaced by an earlier one.

use fleet::Wakes;
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, EnvironmentPhase, EnvironmentRecord, record::Subject};
use runtime::{Clock, SharedClock, Store, Wake};
use schema::Database;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How many records are read at once.
const BATCH: usize = 500;

/// The shared memory; a cheap clone.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: RwLock<HashMap<EnvironmentId, Timestamp>>,
    wakes: Wakes,
}

impl Heartbeats {
    /// Nothing heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// When an agent was last heard, as far as it was looked up.
    pub fn heard_at(&self, environment: EnvironmentId) -> Option<Timestamp> {
        let heard = self.shared.heard.read().unwrap_or_else(PoisonError::into_inner);
        heard.get(&environment).copied()
    }

    /// Every environment that is found silent from now on.
    pub fn silent(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.shared.wakes.subscribe()
    }

    /// Looks up, once in `every`, the active environments that memory has not heard of for longer than `silence`.
    pub async fn run(
        self,
        database: Database,
        records: Store<EnvironmentId, EnvironmentRecord>,
        clock: SharedClock,
        every: Duration,
        silence: SignedDuration,
        shutdown: CancellationToken,
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            records.ready().await;
            loop {
                ticks.tick().await;
                let overdue = self.overdue(&records, clock.now(), silence);
                for batch in overdue.chunks(BATCH) {
                    match database.record_fetch(batch).await {
                        Ok(fetched) => self.learn(fetched, clock.now(), silence),
                        Err(error) => tracing::warn!(%error, "heartbeats could not be looked up"),
                    }
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// The active environments whose heartbeat would be due by what memory knows. Others are forgotten.
    fn overdue(
        &self,
        records: &Store<EnvironmentId, EnvironmentRecord>,
        now: Timestamp,
        silence: SignedDuration,
    ) -> Vec<EnvironmentId> {
        let mut heard = HashMap::new();
        let mut overdue = Vec::new();
        for record in records.values() {
            let id = record.id();
            let Some(reported) = active(&record) else { continue };
            let at = self.heard_at(id).map_or(reported, |at| at.max(reported));
            heard.insert(id, at);
            if now.duration_since(at) > silence {
                overdue.push(id);
            }
        }
        *self.shared.heard.write().unwrap_or_else(PoisonError::into_inner) = heard;
        overdue
    }

    fn learn(&self, fetched: Vec<(EnvironmentId, Option<EnvironmentRecord>)>, now: Timestamp, silence: SignedDuration) {
        let mut silent = Vec::new();
        let mut heard = self.shared.heard.write().unwrap_or_else(PoisonError::into_inner);
        for (id, record) in fetched {
            let Some(reported) = record.as_ref().and_then(active) else {
                continue;
            };
            let at = heard.entry(id).or_insert(reported);
            *at = (*at).max(reported);
            if now.duration_since(*at) > silence {
                silent.push(id);
            }
        }
        drop(heard);
        self.shared.wakes.wake(silent);
    }
}

/// When an active environment's agent was last heard. The database wakes those that are unresponsive when they are heard again.
fn active(record: &EnvironmentRecord) -> Option<Timestamp> {
    match &record.subject {
        Subject::Row(row) if row.status.phase == EnvironmentPhase::Active => Some(record.current_report()?.received_at),
        Subject::Row(_) | Subject::Tombstone(_) => None,
    }
}

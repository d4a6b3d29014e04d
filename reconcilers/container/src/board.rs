//! The report board: what the agent last concluded about each instance, in memory.
//!
//! Owns: verdicts, the heartbeat's reports and the proxy's endpoints. Must not: decide anything. Promises: reports and endpoints
//! change together, and an endpoint is there only while its container's probe passes.

use crate::ledger::Ledger;
use model::{InstanceId, InstanceReport};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Where an instance can be reached, for the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The public port that the agent serves it at.
    pub port: u16,
    /// Where the container listens: an ephemeral port on 127.0.0.1.
    pub address: SocketAddr,
}

/// Every instance that can be reached right now.
pub type Endpoints = BTreeMap<InstanceId, Endpoint>;

/// The conclusion of one pass over an instance, and what the next one has to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// For the heartbeat; `None` when nothing of the instance is left.
    pub report: Option<InstanceReport>,
    /// For the proxy; `None` unless the probe passes.
    pub endpoint: Option<Endpoint>,
    /// The failures so far.
    pub ledger: Ledger,
}

/// A cheap-clone handle on the board.
#[derive(Clone, Debug)]
pub struct ReportBoard {
    verdicts: Arc<Mutex<BTreeMap<InstanceId, Verdict>>>,
    endpoints: Arc<watch::Sender<Arc<Endpoints>>>,
    revision: Arc<watch::Sender<u64>>,
}

impl Default for ReportBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl ReportBoard {
    /// An empty board.
    pub fn new() -> Self {
        Self {
            verdicts: Arc::default(),
            endpoints: Arc::new(watch::Sender::new(Arc::default())),
            revision: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The reports of all instances, ordered by id.
    pub fn reports(&self) -> Vec<InstanceReport> {
        self.lock().values().filter_map(|verdict| verdict.report.clone()).collect()
    }

    /// One instance's report.
    pub fn report(&self, id: InstanceId) -> Option<InstanceReport> {
        self.lock().get(&id).and_then(|verdict| verdict.report.clone())
    }

    /// Follows the endpoints.
    pub fn endpoints(&self) -> watch::Receiver<Arc<Endpoints>> {
        self.endpoints.subscribe()
    }

    /// Changes whenever a report does; the value itself says nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// What was last concluded about an instance.
    pub(crate) fn verdict(&self, id: InstanceId) -> Verdict {
        self.lock().get(&id).cloned().unwrap_or_default()
    }

    /// Every instance that something is known of.
    pub(crate) fn keys(&self) -> Vec<InstanceId> {
        self.lock().keys().copied().collect()
    }

    /// Replaces what is known of an instance; a verdict without a report forgets it.
    pub(crate) fn write(&self, id: InstanceId, verdict: &Verdict) {
        let mut verdicts = self.lock();
        self.endpoints.send_if_modified(|endpoints| {
            let changed = endpoints.get(&id).copied() != verdict.endpoint;
            if changed {
                match verdict.endpoint {
                    Some(endpoint) => Arc::make_mut(endpoints).insert(id, endpoint),
                    None => Arc::make_mut(endpoints).remove(&id),
                };
            }
            changed
        });
        let before = if verdict.report.is_some() {
            verdicts.insert(id, verdict.clone())
        } else {
            verdicts.remove(&id)
        };
        self.revision.send_if_modified(|revision| {
            let changed = before.and_then(|before| before.report).as_ref() != verdict.report.as_ref();
            *revision += u64::from(changed);
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::InstanceState;

    fn verdict(id: InstanceId, endpoint: Option<Endpoint>) -> Verdict {
        Verdict {
            report: Some(InstanceReport {
                instance_id: id,
                generation: 1,
                state: InstanceState::Running,
                version: None,
                image_digest: None,
                container_id: None,
                port: None,
                restarts: 0,
                exit_code: None,
                reason: None,
                message: None,
            }),
            endpoint,
            ledger: Ledger::default(),
        }
    }

    #[test]
    fn readers_wake_only_for_what_changed() {
        let (board, id) = (ReportBoard::new(), InstanceId::random());
        let (mut endpoints, mut changes) = (board.endpoints(), board.changes());
        let endpoint = Endpoint {
            port: 31_000,
            address: ([127, 0, 0, 1], 40_000).into(),
        };
        board.write(id, &verdict(id, Some(endpoint)));
        assert_eq!(endpoints.borrow_and_update().get(&id), Some(&endpoint));
        changes.borrow_and_update();
        board.write(id, &verdict(id, Some(endpoint)));
        assert!(!endpoints.has_changed().unwrap() && !changes.has_changed().unwrap());
        board.write(id, &verdict(id, None));
        assert!(endpoints.has_changed().unwrap() && !changes.has_changed().unwrap());
        board.write(id, &Verdict::default());
        assert!(changes.has_changed().unwrap());
        assert_eq!((board.reports(), board.keys()), (vec![], vec![]));
    }
}

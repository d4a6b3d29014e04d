//! What is told about tools: the board's reports, each held back until the proxy serves what it promises.
//!
//! Owns: nothing; it joins two views. Must not: change a report but for this. Promises: whoever is told that a tool runs can call
//! it at once, at the address that its container has now.

use container_reconciler::{Endpoints, ReportBoard};
use model::{InstanceId, InstanceReport, InstanceState};
use std::sync::Arc;
use tokio::sync::watch;

/// A cheap-clone view.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    board: ReportBoard,
    reports: watch::Receiver<u64>,
    endpoints: watch::Receiver<Arc<Endpoints>>,
    served: watch::Receiver<Arc<Endpoints>>,
}

impl Told {
    /// What `board` says and the proxy has `served`.
    pub(crate) fn new(board: ReportBoard, served: watch::Receiver<Arc<Endpoints>>) -> Self {
        Self {
            reports: board.changes(),
            endpoints: board.endpoints(),
            board,
            served,
        }
    }

    /// The reports of all instances, ordered by id.
    pub(crate) fn reports(&self) -> Vec<InstanceReport> {
        // In this order: what comes up in between is told as not served yet, never the other way round.
        let reports = self.board.reports();
        let (endpoints, served) = (self.endpoints.borrow().clone(), self.served.borrow().clone());
        let held = reports.into_iter().map(|report| held_back(report, &endpoints, &served));
        held.collect()
    }

    /// One instance's report.
    pub(crate) fn report(&self, id: InstanceId) -> Option<InstanceReport> {
        let report = self.board.report(id)?;
        Some(held_back(report, &self.endpoints.borrow(), &self.served.borrow()))
    }

    /// Everything up to now has been told.
    pub(crate) fn mark_told(&mut self) {
        self.reports.mark_unchanged();
        self.served.mark_unchanged();
    }

    /// Something else is to be told.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            _ = self.reports.changed() => (),
            _ = self.served.changed() => (),
        }
    }
}

fn held_back(report: InstanceReport, endpoints: &Endpoints, served: &Endpoints) -> InstanceReport {
    let id = report.instance_id;
    if report.state != InstanceState::Running || endpoints.get(&id) == served.get(&id) {
        return report;
    }
    InstanceReport {
        state: InstanceState::Starting,
        message: Some("it is ready, and its public port is being opened".to_owned()),
        ..report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use container_reconciler::Endpoint;

    fn report(state: InstanceState) -> InstanceReport {
        InstanceReport {
            instance_id: InstanceId::random(),
            generation: 1,
            state,
            version: None,
            image_digest: None,
            container_id: None,
            port: Some(31_000),
            restarts: 0,
            exit_code: None,
            reason: None,
            message: None,
        }
    }

    fn at(id: InstanceId, port: u16) -> Endpoints {
        let address = ([127, 0, 0, 1], port).into();
        [(id, Endpoint { port: 31_000, address })].into()
    }

    #[test]
    fn running_is_told_once_the_proxy_serves_the_container_of_now() {
        let running = report(InstanceState::Running);
        let id = running.instance_id;
        for (wanted, served, state) in [
            (at(id, 1), at(id, 1), InstanceState::Running),
            (at(id, 1), Endpoints::new(), InstanceState::Starting),
            (at(id, 2), at(id, 1), InstanceState::Starting),
            // A tool that listens on no port has nothing to be served.
            (Endpoints::new(), Endpoints::new(), InstanceState::Running),
        ] {
            assert_eq!(
                held_back(running.clone(), &wanted, &served).state,
                state,
                "{wanted:?} {served:?}"
            );
        }
        let stopped = report(InstanceState::Stopped);
        assert_eq!(
            held_back(stopped.clone(), &Endpoints::new(), &at(stopped.instance_id, 1)),
            stopped
        );
    }
}

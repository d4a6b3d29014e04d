//! Probes: whether a tool answers.
//!
//! Owns: the requests on the published loopback port, and what they said the last time. Must not: decide what follows from it.
//! Promises: a probe ends within [`LIMIT`], reads at most [`MOST`] bytes of an answer, and leaves no session behind.

use crate::container::{Container, ContainerId, Lifecycle, Readiness};
use jiff::Timestamp;
use model::{InstanceId, container::Probe};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout},
};

mod http;
mod mcp;
#[cfg(test)]
mod tests;

/// The longest that one probe takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// The most that is read of one answer, in bytes.
pub(crate) const MOST: usize = 64 * 1024;

/// The engine's port forwarder accepts a connection before it knows whether the container does, and closes it when not.
const FORWARDER: Duration = Duration::from_millis(100);

/// How long a result stands for the passes that follow it at once.
const FRESH: Duration = Duration::from_millis(40);

/// The same for a result that is good; shorter than the pause until [`crate::decide`] wants the next.
const FRESH_READY: Duration = Duration::from_secs(5);

/// The probes' memory, by container.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    records: Mutex<HashMap<ContainerId, Record>>,
}

/// What is remembered of one run of one container.
#[derive(Clone, Debug)]
struct Record {
    instance: InstanceId,
    since: Timestamp,
    probe: Probe,
    at: Instant,
    passed_before: bool,
    failures: u32,
    readiness: Readiness,
}

impl Prober {
    /// Probes a container, or repeats a result that is fresh. What does not run is not probed.
    pub(crate) async fn readiness(&self, container: &Container, probe: &Probe, listens: bool) -> Readiness {
        let since = match container.lifecycle {
            Lifecycle::Running { since } => since,
            Lifecycle::Created | Lifecycle::Paused | Lifecycle::Exited(_) | Lifecycle::Removing | Lifecycle::Broken => {
                return Readiness::Unprobed;
            }
        };
        let before = self.recall(container, since, probe);
        if let Some(record) = before.as_ref().filter(|record| record.is_fresh()) {
            return record.readiness.clone();
        }
        let outcome = match (listens, container.address) {
            // A tool that listens on no port is ready as soon as it runs.
            (false, _) => Ok(()),
            (true, None) => Err("its port is not published".to_owned()),
            (true, Some(address)) => timeout(LIMIT, ask(address, probe))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs()))),
        };
        let record = Record::after(before, container, since, probe, &outcome);
        let readiness = record.readiness.clone();
        self.lock().insert(container.id.clone(), record);
        readiness
    }

    /// Forgets an instance's containers but these.
    pub(crate) fn keep(&self, instance: InstanceId, containers: &[Container]) {
        let kept = |id: &ContainerId| containers.iter().any(|container| container.id == *id);
        self.lock().retain(|id, record| record.instance != instance || kept(id));
    }

    fn recall(&self, container: &Container, since: Timestamp, probe: &Probe) -> Option<Record> {
        let record = self.lock().get(&container.id)?.clone();
        (record.since == since && record.probe == *probe).then_some(record)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn is_fresh(&self) -> bool {
        let fresh = match self.readiness {
            Readiness::Ready => FRESH_READY,
            Readiness::Unprobed | Readiness::NotYet { .. } | Readiness::Lost { .. } => FRESH,
        };
        self.at.elapsed() < fresh
    }

    fn after(before: Option<Self>, container: &Container, since: Timestamp, probe: &Probe, outcome: &Result<(), String>) -> Self {
        let (passed_before, failures) = before.map_or((false, 0), |record| (record.passed_before, record.failures));
        let failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
        let readiness = match (outcome, passed_before) {
            (Ok(()), _) => Readiness::Ready,
            (Err(message), false) => Readiness::NotYet {
                message: message.clone(),
            },
            (Err(message), true) => Readiness::Lost {
                failures,
                message: message.clone(),
            },
        };
        Self {
            instance: container.instance,
            since,
            probe: probe.clone(),
            at: Instant::now(),
            passed_before: passed_before || outcome.is_ok(),
            failures,
            readiness,
        }
    }
}

/// Asks once; the error is a sentence's end, such as `connection refused`.
async fn ask(address: SocketAddr, probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Tcp => tcp(address).await,
        Probe::Http { path } => http::get(address, path).await,
        Probe::Mcp { path } => mcp::greet(address, path).await,
    }
}

async fn tcp(address: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    match timeout(FORWARDER, stream.read_u8()).await {
        // It stayed open, or greeted: something accepted it.
        Err(_) | Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err("it closes the connection at once".to_owned()),
    }
}

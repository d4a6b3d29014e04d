//! Carrying out one action. Owns: storing sets, pushing them, writing statuses. Must not: choose what to do. Promises: each action
//! is safe to repeat; an agent that holds a newer set than the pushed one is no failure, for then somebody else is ahead.

use crate::{Action, InstanceReconciler, decide::listed, status::event};
use agent_api::PutOutcome;
use futures::{Stream, StreamExt, stream};
use model::{CatalogEntry, CatalogId, Cause, DesiredSet, EnvironmentId, EnvironmentRecord, Event, EventType, Stamp};
use runtime::{Error, Reason, Store, Wake};
use schema::{Fence, Written};
use std::{collections::BTreeSet, net::IpAddr};

impl InstanceReconciler {
    pub(crate) async fn carry_out(&self, id: EnvironmentId, action: &Action) -> Result<(), Error> {
        match action {
            Action::StoreDesiredSet {
                expected,
                set,
                left_open,
                cause,
            } => self.store(id, *expected, set, left_open, cause).await,
            Action::ClosePorts { ports, cause } => self.close(id, ports, cause).await,
            Action::PushDesiredSet { address, set, cause } => self.push(id, *address, set, cause).await,
        }
    }

    async fn store(
        &self,
        id: EnvironmentId,
        expected: Option<Stamp>,
        set: &DesiredSet,
        left_open: &BTreeSet<u16>,
        cause: &Cause,
    ) -> Result<(), Error> {
        let fence = self.fence(id)?;
        let stored = self.database.desired_set_store(&fence, id, expected, set, left_open).await;
        match stored.map_err(|error| Error::from(&error))? {
            Written::Done => {}
            Written::Stale => {
                let message = "the desired set, or what may be open of its ports, has moved on; it is compiled again";
                return Err(Error::retriable("DesiredSetStale", message));
            }
        }
        let message = format!("a desired set of {} instances is stored", set.instances.len());
        self.record(event(id, EventType::Normal, "DesiredSetStored", message, cause.to_string()))
            .await;
        if !left_open.is_empty() {
            let message = format!("tools stop although {} could not be closed in time", listed(left_open));
            let waited = "DigitalOcean did not confirm that it is closed within the port patience".to_owned();
            self.record(event(id, EventType::Warning, "PortLeftOpen", message, waited))
                .await;
        }
        Ok(())
    }

    async fn close(&self, id: EnvironmentId, ports: &BTreeSet<u16>, cause: &Cause) -> Result<(), Error> {
        let asked = self.database.firewall_close(&self.fence(id)?, id, ports).await;
        match asked.map_err(|error| Error::from(&error))? {
            // Without a firewall on record no port is open, and the change of the record wakes the key.
            Written::Done | Written::Stale => {}
        }
        let (reason, message) = if ports.is_empty() {
            ("PortsKept", "no port has to close any more".to_owned())
        } else {
            (
                "PortsClosing",
                format!("to be closed before the tools behind stop: {}", listed(ports)),
            )
        };
        self.record(event(id, EventType::Normal, reason, message, cause.to_string()))
            .await;
        Ok(())
    }

    async fn push(&self, id: EnvironmentId, address: IpAddr, set: &DesiredSet, cause: &Cause) -> Result<(), Error> {
        let client = self.agents.client(id, set.stamp.epoch, address);
        let client = client.map_err(|error| Error::terminal("AgentClient", error.to_string()))?;
        match client.put_desired_set(set).await {
            Ok(PutOutcome::Accepted) => self.pushed.took(id, set.stamp),
            Ok(PutOutcome::Older { held }) => {
                self.pushed.took(id, held);
                return Ok(());
            }
            // The agent asks for the set with its next heartbeat. What is refused now may be taken after its next enrolment.
            Err(error) => return Err(Error::retriable("AgentUnreachable", format!("{address}: {error}"))),
        }
        let message = format!(
            "the agent took generation {} of epoch {}",
            set.stamp.generation, set.stamp.epoch
        );
        self.record(event(id, EventType::Normal, "DesiredSetPushed", message, cause.to_string()))
            .await;
        Ok(())
    }

    /// Proof that this process works on the environment, while it does.
    pub(crate) fn fence(&self, id: EnvironmentId) -> Result<Fence, Error> {
        let fence = self.leases.fence(id.shard());
        fence.ok_or_else(|| Error::retriable("LeaseLost", format!("the lease of shard {} is not held", id.shard())))
    }

    /// Records an event. What it tells of has happened, and is not undone when the telling fails.
    pub(crate) async fn record(&self, event: Event) {
        if let Err(error) = self.database.event_record(&event).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be recorded");
        }
    }
}

/// The environments to work on when catalog entries change: those with an instance of one.
pub fn catalog_wakes(
    changed: impl Stream<Item = Wake<CatalogId>> + Send + 'static,
    records: Store<EnvironmentId, EnvironmentRecord>,
) -> impl Stream<Item = Wake<EnvironmentId>> + Send {
    changed.flat_map(move |wake| {
        let uses = |record: &EnvironmentRecord| {
            let tools = record.tools.as_deref();
            tools.is_some_and(|tools| tools.instances.iter().any(|row| row.spec.catalog_id == wake.key))
        };
        let affected: Vec<_> = records
            .values()
            .into_iter()
            .filter(|record| uses(record))
            .map(|record| record.id())
            .collect();
        stream::iter(affected.into_iter().map(|id| Wake::now(id, Reason::Related)))
    })
}

/// The catalog entries that a record's instances name, each once, as far as they are known.
pub(crate) fn entries(record: &EnvironmentRecord, catalog: &Store<CatalogId, CatalogEntry>) -> Vec<std::sync::Arc<CatalogEntry>> {
    let Some(tools) = record.tools.as_deref() else {
        return Vec::new();
    };
    let mut ids: Vec<CatalogId> = tools.instances.iter().map(|row| row.spec.catalog_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().filter_map(|id| catalog.get(id)).collect()
}

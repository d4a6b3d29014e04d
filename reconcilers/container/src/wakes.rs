//! What wakes an instance: a changed desired set, something that happened on the engine, a pull that ended, the resync.
//!
//! Owns: following the engine's events and reconnecting. Must not: conclude anything from an event but that a key needs a look.
//! Promises: nothing is lost between two connections, because each begins with a full list and with the events since before it;
//! a period without any event ends with every key waking once.

use crate::{
    desired::DesiredHandle,
    engine::{Engine, EngineError, label_filters},
    labels,
    observe::Cache,
    pulls::Pulls,
};
use bollard::models::EventMessage;
use futures::{Stream, StreamExt, pin_mut};
use jiff::Timestamp;
use model::{DesiredInstance, DesiredSet, DropletId, InstanceId};
use runtime::{Reason, Wake};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// How long to wait before reaching for an engine that went away.
const RECONNECT: Duration = Duration::from_millis(500);

type Sender = mpsc::Sender<Wake<InstanceId>>;

/// Everything that the followers need.
pub(crate) struct Sources {
    pub(crate) engine: Engine,
    pub(crate) droplet: DropletId,
    pub(crate) desired: DesiredHandle,
    pub(crate) board: crate::board::ReportBoard,
    pub(crate) cache: Cache,
    pub(crate) pulls: Pulls,
    pub(crate) resync: Duration,
}

/// The wake-ups, as an endless stream. Following ends when it is dropped.
#[derive(Debug)]
pub struct Wakes {
    receiver: mpsc::Receiver<Wake<InstanceId>>,
    _followers: JoinSet<()>,
}

impl Stream for Wakes {
    type Item = Wake<InstanceId>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

/// Starts to follow all sources.
pub(crate) fn follow(sources: Sources) -> Wakes {
    let (sender, receiver) = mpsc::channel(256);
    let sources = Arc::new(sources);
    let mut followers = JoinSet::new();
    followers.spawn(follow_desired(sources.clone(), sender.clone()));
    followers.spawn(follow_pulls(sources.clone(), sender.clone()));
    followers.spawn(follow_engine(sources, sender));
    Wakes {
        receiver,
        _followers: followers,
    }
}

/// A closed channel means that the stream was dropped, and this task is about to be, too.
async fn wake(sender: &Sender, keys: impl IntoIterator<Item = InstanceId>, reason: Reason) {
    for key in keys {
        let _ = sender.send(Wake::now(key, reason)).await;
    }
}

async fn follow_desired(sources: Arc<Sources>, sender: Sender) {
    let mut receiver = sources.desired.subscribe();
    let mut before = BTreeMap::new();
    loop {
        let set = receiver.borrow_and_update().clone();
        let after = set.as_deref().map(by_instance).unwrap_or_default();
        wake(&sender, changed(&before, &after), Reason::Changed).await;
        before = after;
        if receiver.changed().await.is_err() {
            return;
        }
    }
}

fn by_instance(set: &DesiredSet) -> BTreeMap<InstanceId, DesiredInstance> {
    set.instances
        .iter()
        .map(|instance| (instance.instance_id, instance.clone()))
        .collect()
}

/// The keys that were added, changed or removed.
fn changed<V: PartialEq>(before: &BTreeMap<InstanceId, V>, after: &BTreeMap<InstanceId, V>) -> BTreeSet<InstanceId> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(key) != after.get(key)).copied().collect()
}

async fn follow_pulls(sources: Arc<Sources>, sender: Sender) {
    let mut ended = sources.pulls.ended();
    loop {
        let waiting: Vec<InstanceId> = match ended.recv().await {
            Ok(reference) => instances(&sources, |instance| instance.container.image == reference),
            Err(broadcast::error::RecvError::Lagged(_)) => instances(&sources, |_| true),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        wake(&sender, waiting, Reason::Related).await;
    }
}

fn instances(sources: &Sources, chosen: impl Fn(&DesiredInstance) -> bool) -> Vec<InstanceId> {
    let set = sources.desired.current();
    let named = set.iter().flat_map(|set| &set.instances);
    named
        .filter(|instance| chosen(instance))
        .map(|instance| instance.instance_id)
        .collect()
}

async fn follow_engine(sources: Arc<Sources>, sender: Sender) {
    loop {
        if let Err(error) = follow_connection(&sources, &sender).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "lost sight of the engine");
        }
        sources.engine.reconnect();
        sources.cache.distrust();
        // Every pass that runs now finds out that the engine is away, and says so.
        wake(&sender, known(&sources), Reason::Resynced).await;
        sleep(RECONNECT).await;
    }
}

/// One connection's life: events from just before a full list on, and another full list whenever the period is over.
async fn follow_connection(sources: &Sources, sender: &Sender) -> Result<(), EngineError> {
    // One second early, because the engine counts in seconds here. An event seen twice is only another look.
    let events = sources
        .engine
        .events(sources.droplet, Timestamp::now().as_second() - 1)
        .await?;
    pin_mut!(events);
    loop {
        let mut keys = known(sources);
        let listed = sources.engine.containers(label_filters(sources.droplet, None)).await?;
        keys.extend(listed.iter().filter_map(|summary| instance_of(summary.labels.as_ref()?)));
        sources.cache.trust_anew();
        wake(sender, keys, Reason::Resynced).await;
        let resync = Instant::now() + sources.resync;
        while let Ok(event) = timeout_at(resync, events.next()).await {
            let Some(event) = event else { return Ok(()) };
            if let Some(key) = subject(&event?) {
                sources.cache.invalidate(key);
                wake(sender, [key], Reason::Changed).await;
            }
        }
    }
}

/// Every instance that is wanted or was reported.
fn known(sources: &Sources) -> BTreeSet<InstanceId> {
    let mut keys: BTreeSet<InstanceId> = sources.board.keys().into_iter().collect();
    keys.extend(instances(sources, |_| true));
    keys
}

/// An event carries the labels of its container.
fn subject(event: &EventMessage) -> Option<InstanceId> {
    instance_of(event.actor.as_ref()?.attributes.as_ref()?)
}

fn instance_of(labels: &HashMap<String, String>) -> Option<InstanceId> {
    labels.get(labels::INSTANCE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_set_wakes_what_it_adds_changes_and_removes() {
        let [same, other, added, removed] = [1, 2, 3, 4].map(|n| InstanceId(uuid::Uuid::from_u128(n)));
        let before = BTreeMap::from([(same, "a"), (other, "a"), (removed, "a")]);
        let after = BTreeMap::from([(same, "a"), (other, "b"), (added, "a")]);
        assert_eq!(changed(&before, &after), [other, added, removed].into());
    }

    #[test]
    fn an_event_names_its_instance_by_label_alone() {
        let event = |attributes: serde_json::Value| -> EventMessage {
            serde_json::from_value(serde_json::json!({"Actor": {"ID": "c", "Attributes": attributes}})).unwrap()
        };
        let id = InstanceId(uuid::Uuid::from_u128(1));
        let labelled = event(serde_json::json!({"io.toolplane.instance": id, "exitCode": "1"}));
        assert_eq!(subject(&labelled), Some(id));
        let named = event(serde_json::json!({"name": format!("toolplane-1-{id}")}));
        assert_eq!(subject(&named), None);
    }
}

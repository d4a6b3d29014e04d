//! What the peer's reconcile does: compares an environment with its droplet, as our environment reconciler does for one that
//! stands, and finds nothing to do.

use crate::{
    fixture::Row,
    object::{DesiredState, Environment, Outcome, Phase},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, RwLock},
};
use uuid::Uuid;

/// What is seen of a droplet; the same as our side keeps.
#[derive(Clone, Debug)]
pub struct Droplet {
    pub id: u64,
    pub active: bool,
    pub address: Option<Ipv4Addr>,
    pub created_at: Option<Timestamp>,
    pub ours: bool,
    pub intent: Option<Uuid>,
}

/// The droplets as they were last listed, by environment.
#[derive(Debug, Default)]
pub struct Fleet(RwLock<HashMap<Uuid, (Arc<[Droplet]>, Timestamp)>>);

impl Fleet {
    /// One droplet for each of `count` rows, seen now.
    pub fn seen(count: u32) -> Self {
        let now = Timestamp::now();
        let created_at = crate::fixture::same::CREATED.parse().ok();
        let entry = |number| {
            let row = Row::new(number);
            let droplet = Droplet {
                id: row.droplet,
                active: true,
                address: Some(row.address),
                created_at,
                ours: true,
                intent: Some(row.intent),
            };
            (row.environment, (Arc::from([droplet]), now))
        };
        Self(RwLock::new((0..count).map(entry).collect()))
    }

    fn sighting(&self, environment: Uuid) -> Option<(Arc<[Droplet]>, Timestamp)> {
        self.0.read().ok()?.get(&environment).cloned()
    }
}

/// How many things differ from what is wanted and from what the status says: none, for the rows of this comparison.
pub fn differences(object: &Environment, fleet: &Fleet, now: Timestamp) -> usize {
    let (Some(name), Some(status)) = (&object.metadata.name, &object.status) else {
        return 1;
    };
    let Some((droplets, read_at)) = name.parse().ok().and_then(|id| fleet.sighting(id)) else {
        return 1;
    };
    let mut found = usize::from(object.spec.desired_state != DesiredState::Active);
    found += usize::from(object.spec.paused);
    found += usize::from(now.duration_since(read_at).as_secs() > 120);
    let latest = status.intent.as_ref();
    let kept = droplets.iter().find(|droplet| {
        Some(droplet.id) == status.droplet_id && latest.is_none_or(|intent| droplet.intent.is_none_or(|named| named == intent.id))
    });
    let Some(kept) = kept else {
        return found + 1;
    };
    // Adoption, duplicates, power.
    found += usize::from(latest.is_some_and(|intent| intent.outcome != Some(Outcome::Adopted)));
    found += droplets
        .iter()
        .filter(|droplet| droplet.ours && droplet.id != kept.id)
        .count();
    found += usize::from(!kept.active);
    // The droplet in the status.
    found += usize::from(status.ip_address != kept.address.map(Into::into) || status.droplet_created_at != kept.created_at);
    // The agent.
    let heard = status.report.as_ref().filter(|report| report.epoch == status.agent_epoch);
    let silent = heard.is_none_or(|report| now.duration_since(report.received_at).as_secs() > 30);
    found += usize::from(silent) + usize::from(status.phase != Phase::Active) + usize::from(status.error_message.is_some());
    // The conditions, of this generation.
    let generation = object.metadata.generation;
    found += usize::from(Some(status.observed_generation) != generation);
    found += usize::from(!says(&status.conditions, "DropletReady", "Active", generation));
    found += usize::from(!says(&status.conditions, "AgentReady", "HeartbeatsReceived", generation));
    found += usize::from(!says(&status.conditions, "Ready", "Ready", generation));
    found += usize::from(!says(&status.conditions, "Reconciled", "Reconciled", generation));
    found
}

fn says(conditions: &[Condition], kind: &str, reason: &str, generation: Option<i64>) -> bool {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .is_some_and(|condition| {
            condition.status == "True"
                && condition.reason == reason
                && condition.message.is_empty()
                && condition.observed_generation == generation
        })
}

//! What to do about a firewall: make it, replace it whole, or take it away.
//!
//! Owns: when an environment has a firewall and which ports are open in it. Must not: do I/O, read a clock, log. Promises: a port
//! is open only while its tool is wanted, runs and is ready; `Unknown` leads to nothing; a set that means the same is left alone.

#[cfg(test)]
mod tests;

use crate::rules::{self, Sources};
use digitalocean::FirewallSpec;
use fleet::firewalls::Observed;
use jiff::{SignedDuration, Timestamp};
use model::{
    Environment, EnvironmentDesiredState, EnvironmentPhase, EnvironmentRecord, InstallationId, InstanceDesiredState,
    InstanceState, desired::RunState, record::Subject,
};
use runtime::{Observation, Plan};
use std::collections::BTreeSet;

/// One effect. Each is safe to repeat: names are unique in an account, and an update replaces everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a tag that the firewall applies by.
    EnsureTag {
        /// Its name.
        tag: String,
    },
    /// Make the firewall.
    Create {
        /// What it should be.
        spec: FirewallSpec,
        /// How many ports it has no room for.
        closed: usize,
    },
    /// Replace everything that it is.
    Update {
        /// Which.
        id: String,
        /// What it should be.
        spec: FirewallSpec,
        /// How many ports it has no room for.
        closed: usize,
    },
    /// Take it away.
    Delete {
        /// Which.
        id: String,
    },
}

/// What decisions are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose firewalls.
    pub installation: InstallationId,
    /// From where what is let in.
    pub sources: Sources,
    /// An observation older than this is `Unknown`.
    pub max_age: SignedDuration,
}

/// How soon to ask again for what was not known.
const RECHECK: SignedDuration = SignedDuration::from_secs(10);

/// What should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This firewall.
    Firewall {
        /// What it should be.
        spec: FirewallSpec,
        /// How many ports it has no room for.
        closed: usize,
    },
    /// None.
    Nothing,
    /// Whatever there is: paused, or between two droplets.
    AsItIs,
}

/// Decides one pass over an environment's firewall.
pub fn decide(policy: &Policy, record: &EnvironmentRecord, observed: &Observed, now: Timestamp) -> Plan<Action, ()> {
    settle(&wanted(policy, record), observed, policy.max_age, now)
}

/// What is needed to get from what is there to what should be.
pub(crate) fn settle(wanted: &Wanted, observed: &Observed, max_age: SignedDuration, now: Timestamp) -> Plan<Action, ()> {
    let age = observed
        .read_at
        .map_or(SignedDuration::MAX, |read_at| now.duration_since(read_at));
    let actions = match (wanted, &observed.firewall) {
        (Wanted::AsItIs, Observation::Unknown | Observation::Absent | Observation::Present(_))
        | (Wanted::Nothing, Observation::Absent) => Vec::new(),
        (Wanted::Firewall { .. } | Wanted::Nothing, Observation::Unknown) => return unknown(),
        (Wanted::Firewall { .. } | Wanted::Nothing, Observation::Absent | Observation::Present(_)) if age > max_age => {
            return unknown();
        }
        (Wanted::Nothing, Observation::Present(known)) => vec![Action::Delete { id: known.id.clone() }],
        (Wanted::Firewall { spec, closed }, Observation::Absent) => {
            let (spec, closed) = (spec.clone(), *closed);
            with_tags(&spec.tags.clone(), Action::Create { spec, closed })
        }
        (Wanted::Firewall { spec, .. }, Observation::Present(known)) if known.spec == *spec => Vec::new(),
        (Wanted::Firewall { spec, closed }, Observation::Present(known)) => {
            let (id, spec, closed) = (known.id.clone(), spec.clone(), *closed);
            with_tags(&spec.tags.clone(), Action::Update { id, spec, closed })
        }
    };
    Plan {
        actions,
        status: None,
        requeue: None,
    }
}

/// Tags that a firewall names have to exist before it.
fn with_tags(tags: &[String], action: Action) -> Vec<Action> {
    let tags = tags.iter().map(|tag| Action::EnsureTag { tag: tag.clone() });
    tags.chain([action]).collect()
}

fn unknown() -> Plan<Action, ()> {
    Plan {
        requeue: Some(RECHECK),
        ..Plan::noop()
    }
}

fn wanted(policy: &Policy, record: &EnvironmentRecord) -> Wanted {
    let row = match &record.subject {
        Subject::Row(row) => row,
        // The base firewall still guards the droplet while it goes.
        Subject::Tombstone(_) => return Wanted::Nothing,
    };
    if row.spec.paused {
        return Wanted::AsItIs;
    }
    match (row.spec.desired_state, row.status.droplet_id) {
        (EnvironmentDesiredState::Active | EnvironmentDesiredState::Deleted, Some(droplet)) => {
            let ports = open_ports(row, record);
            let (spec, closed) = rules::environment(&policy.installation, row.id, droplet, &ports, &policy.sources);
            Wanted::Firewall { spec, closed }
        }
        (EnvironmentDesiredState::Active, None) => Wanted::AsItIs,
        (EnvironmentDesiredState::Deleted, None) => Wanted::Nothing,
    }
}

/// The ports of the tools that are wanted, told to run, and ready by the current droplet's last word.
fn open_ports(row: &Environment, record: &EnvironmentRecord) -> BTreeSet<u16> {
    let (Some(tools), Some(report)) = (record.tools.as_deref(), record.current_report()) else {
        return BTreeSet::new();
    };
    let launched = match row.status.phase {
        EnvironmentPhase::Active | EnvironmentPhase::Unresponsive => true,
        EnvironmentPhase::PendingCreation
        | EnvironmentPhase::Creating
        | EnvironmentPhase::ErrorCreation
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting
        | EnvironmentPhase::Deleted
        | EnvironmentPhase::ErrorDeletion => false,
    };
    let (true, EnvironmentDesiredState::Active, Some(set)) = (launched, row.spec.desired_state, &tools.desired) else {
        return BTreeSet::new();
    };
    let told = set.instances.iter().filter(|entry| entry.run == RunState::Running);
    told.filter(|entry| {
        let wanted = tools
            .instances
            .iter()
            .any(|row| row.id == entry.instance_id && row.spec.desired_state == InstanceDesiredState::Running);
        let reported = report.instance(entry.instance_id);
        wanted && reported.is_some_and(|reported| reported.state == InstanceState::Running)
    })
    .map(|entry| entry.port)
    .collect()
}

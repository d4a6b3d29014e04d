//! Everything the control plane knows about one environment, in one value: what reflectors hold and passes load.
//!
//! It is one record and not one per table, so that one notification means one read, and every reconciler of an environment
//! decides from the same moment. An idle environment without tools costs one small allocation.

use crate::{AgentReport, ConditionStatus, DesiredSet, Environment, EnvironmentId, Instance, Intent, Tombstone, Word};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The row, or what is left of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// The row is there.
    Row(Environment),
    /// The row was deleted, and its droplet has to go.
    Tombstone(Tombstone),
}

/// One environment with everything that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentRecord {
    /// The row or its tombstone.
    pub subject: Subject,
    /// The latest intent, open or resolved.
    pub intent: Option<Box<Intent>>,
    /// `None` while there are no instances, no report and no desired set.
    pub tools: Option<Box<Tools>>,
    /// `None` until its firewall is announced, and once that is gone.
    pub firewall: Option<Box<RecordedFirewall>>,
}

/// What is on record of an environment's firewall (`environment_firewalls`).
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedFirewall {
    /// DigitalOcean's id, once the firewall was seen.
    pub id: Option<String>,
    /// When it was announced, before it was made.
    pub announced_at: Timestamp,
    /// The agent's epoch of the droplet that the ports are those of.
    pub epoch: i64,
    /// Every port that may be open. More than are open, never fewer.
    pub ports: BTreeSet<u16>,
    /// The ports that have to close before their tools stop, and since when that is asked.
    pub closing: BTreeMap<u16, Timestamp>,
    /// Whether it is as it should be: what the condition `FirewallReady` repeats.
    pub state: ConditionStatus,
    /// One upper-camel-case word for programs.
    pub reason: Word,
    /// A sentence for people; may be empty.
    pub message: String,
}

/// The tools' part of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// All instance rows, ordered by id.
    pub instances: Vec<Instance>,
    /// The desired set that was last stored for the agent.
    pub desired: Option<DesiredSet>,
    /// The last heartbeat.
    pub report: Option<ReceivedReport>,
}

/// A heartbeat with the epoch of the token that it came with.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedReport {
    /// Reports of an older epoch than the environment's `agent_epoch` speak of another droplet.
    pub epoch: i64,
    /// What it said.
    pub report: AgentReport,
}

impl EnvironmentRecord {
    /// The environment's id.
    pub fn id(&self) -> EnvironmentId {
        match &self.subject {
            Subject::Row(environment) => environment.id,
            Subject::Tombstone(tombstone) => tombstone.environment_id,
        }
    }

    /// The epoch that the environment's agent must hold.
    pub fn agent_epoch(&self) -> i64 {
        match &self.subject {
            Subject::Row(environment) => environment.status.agent_epoch,
            Subject::Tombstone(tombstone) => tombstone.agent_epoch,
        }
    }

    /// The last report of the environment's own droplet, never of an earlier one.
    pub fn current_report(&self) -> Option<&AgentReport> {
        let received = self.tools.as_ref()?.report.as_ref()?;
        (received.epoch == self.agent_epoch()).then_some(&received.report)
    }
    /// The ports of the environment's own droplet that may be open: none of them may lose its tool. Those of an earlier droplet
    /// do not count.
    pub fn open_ports(&self) -> BTreeSet<u16> {
        let recorded = self.firewall.as_ref().filter(|firewall| firewall.epoch == self.agent_epoch());
        recorded.map(|firewall| firewall.ports.clone()).unwrap_or_default()
    }
}

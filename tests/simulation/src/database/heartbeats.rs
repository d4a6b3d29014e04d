//! `agent_reports`: what the agents' heartbeats say.

use super::Database;
use crate::moment::{Millis, timestamp};
use model::{AgentReport, EnvironmentId, InstanceReport, ReceivedReport, Stamp};
use schema::HeartbeatOutcome;
use uuid::Uuid;

/// How many earlier boots are remembered.
const EARLIER_BOOTS: usize = 8;

/// A heartbeat on its way.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Whose.
    pub environment: EnvironmentId,
    /// Of the token that it comes with.
    pub epoch: i64,
    /// What it says.
    pub report: AgentReport,
    /// When the agent made it. Nobody is told; the invariants know.
    pub made_at: Millis,
}

/// A row.
#[derive(Clone, Debug)]
pub struct ReportRow {
    /// What records show.
    pub received: ReceivedReport,
    earlier_boots: Vec<Uuid>,
    /// When what is kept was made, for the invariants.
    pub made_at: Millis,
}

impl ReportRow {
    /// Whether a heartbeat is later than what is kept.
    fn is_before(&self, heartbeat: &Heartbeat) -> bool {
        let (kept, said) = (&self.received.report, &heartbeat.report);
        self.received.epoch <= heartbeat.epoch
            && if kept.boot_id == said.boot_id {
                kept.sequence < said.sequence
            } else {
                !self.earlier_boots.contains(&said.boot_id)
            }
    }

    /// Whether another report tells anything new: not that it came, but what it says.
    fn differs_from(&self, other: &ReceivedReport) -> bool {
        let told = |received: &ReceivedReport| (received.epoch, received.report.boot_id, received.report.applied);
        told(&self.received) != told(other) || self.received.report.instances != other.report.instances
    }

    /// The boots before this one, the latest first.
    fn boots_before(&self, boot: Uuid) -> Vec<Uuid> {
        let mut boots = self.earlier_boots.clone();
        if self.received.report.boot_id != boot {
            boots.insert(0, self.received.report.boot_id);
            boots.truncate(EARLIER_BOOTS);
        }
        boots
    }
}

impl Database {
    /// Keeps a heartbeat, unless it is old news.
    pub fn heartbeat_record(&mut self, now: Millis, heartbeat: &Heartbeat) -> HeartbeatOutcome {
        let id = heartbeat.environment;
        let row = self.rows.get(&id).map(|row| row.status.agent_epoch);
        let tombstone = || self.tombstones.get(&id).map(|tombstone| tombstone.agent_epoch);
        let Some(current) = row.or_else(tombstone) else {
            return HeartbeatOutcome::UnknownEnvironment;
        };
        if current != heartbeat.epoch {
            return HeartbeatOutcome::StaleEpoch;
        }
        let old = self.reports.get(&id);
        if old.is_some_and(|old| !old.is_before(heartbeat)) && !self.loose.replays {
            return HeartbeatOutcome::Replayed;
        }
        let row = self.received(now, heartbeat);
        let mut woken = old.is_none_or(|old| old.differs_from(&row.received));
        self.reports.insert(id, row);
        if let Some(row) = self.rows.get_mut(&id) {
            row.last_heartbeat_at = Some(timestamp(now));
            woken |= row.status.phase == model::EnvironmentPhase::Unresponsive;
        }
        if woken {
            self.changed.insert(id);
        }
        HeartbeatOutcome::Recorded {
            received_at: timestamp(now),
            desired: self.desired.get(&id).map(|set| set.stamp),
        }
    }

    /// A heartbeat as it is kept: with what it says of the environment's own instances.
    fn received(&self, now: Millis, heartbeat: &Heartbeat) -> ReportRow {
        let (id, said) = (heartbeat.environment, &heartbeat.report);
        let own = said.instances.iter().filter(|said| self.is_own(id, said));
        let old = self.reports.get(&id);
        ReportRow {
            received: ReceivedReport {
                epoch: heartbeat.epoch,
                report: AgentReport {
                    instances: own.cloned().collect(),
                    received_at: timestamp(now),
                    ..said.clone()
                },
            },
            earlier_boots: old.map(|old| old.boots_before(said.boot_id)).unwrap_or_default(),
            made_at: heartbeat.made_at,
        }
    }

    /// Whether a report is about an instance of this environment: one that has a row in it, or none any more and was told or heard of.
    fn is_own(&self, id: EnvironmentId, said: &InstanceReport) -> bool {
        let told = || {
            let set = self.desired.get(&id);
            set.is_some_and(|set| set.instances.iter().any(|told| told.instance_id == said.instance_id))
        };
        let heard = || {
            let report = self.reports.get(&id);
            report.is_some_and(|row| row.received.report.instance(said.instance_id).is_some())
        };
        match self.instances.get(&said.instance_id) {
            Some(row) => row.spec.environment_id == id,
            None => told() || heard(),
        }
    }

    /// The set that an agent with a token of this epoch is given.
    pub fn desired_set_get(&self, id: EnvironmentId, epoch: i64) -> Option<(Stamp, model::DesiredSet)> {
        let row = self.rows.get(&id).map(|row| row.status.agent_epoch);
        let current = row.or_else(|| self.tombstones.get(&id).map(|tombstone| tombstone.agent_epoch))?;
        let set = self.desired.get(&id).filter(|_| current == epoch)?;
        Some((set.stamp, set.clone()))
    }
}

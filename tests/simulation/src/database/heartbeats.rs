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
        let report = AgentReport {
            instances: heartbeat
                .report
                .instances
                .iter()
                .filter(|said| self.is_own(id, said))
                .cloned()
                .collect(),
            received_at: timestamp(now),
            ..heartbeat.report.clone()
        };
        let news = old.is_none_or(|old| {
            let (kept, epoch) = (&old.received.report, old.received.epoch);
            (epoch, kept.boot_id, kept.applied, &kept.instances)
                != (heartbeat.epoch, report.boot_id, report.applied, &report.instances)
        });
        let earlier_boots = old.map(|old| old.boots_before(report.boot_id)).unwrap_or_default();
        let row = ReportRow {
            received: ReceivedReport {
                epoch: heartbeat.epoch,
                report,
            },
            earlier_boots,
            made_at: heartbeat.made_at,
        };
        self.reports.insert(id, row);
        let mut woken = news;
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

//! `environment_firewalls`: which firewall an environment has, and which ports may be open in it. A superset of what is outside.

use super::{Database, Denied};
use crate::moment::{Millis, timestamp};
use jiff::Timestamp;
use model::{ConditionStatus, DesiredInstance, DesiredSet, EnvironmentId, RecordedFirewall, Stamp, Word};
use schema::Fence;
use std::collections::{BTreeMap, BTreeSet};

impl Database {
    /// Announces a firewall for the droplet of this epoch, and ports that are about to be opened in it.
    pub fn firewall_announce(
        &mut self,
        now: Millis,
        fence: &Fence,
        id: EnvironmentId,
        epoch: i64,
        told: Option<Stamp>,
        ports: &BTreeSet<u16>,
    ) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        let stored = self.desired.get(&id).map(|set| set.stamp);
        let there = self.rows.contains_key(&id) || self.tombstones.contains_key(&id);
        if !there || (!ports.is_empty() && stored != Some(told.unwrap_or_default())) {
            return Err(Denied::Stale);
        }
        let fresh = || RecordedFirewall {
            id: None,
            announced_at: timestamp(now),
            epoch,
            ports: ports.clone(),
            closing: BTreeMap::new(),
            state: ConditionStatus::Unknown,
            reason: "Announced".into(),
            message: String::new(),
        };
        let row = self.firewalls.entry(id).or_insert_with(fresh);
        if row.epoch == epoch {
            if ports.iter().any(|port| row.closing.contains_key(port)) {
                return Err(Denied::Stale);
            }
            row.ports.extend(ports);
        } else {
            row.ports.clone_from(ports);
            row.closing.clear();
            row.epoch = epoch;
        }
        self.changed.insert(id);
        Ok(())
    }

    /// Records what was seen in force.
    pub fn firewall_settle(
        &mut self,
        now: Millis,
        fence: &Fence,
        id: EnvironmentId,
        firewall: Option<String>,
        epoch: i64,
        ports: &BTreeSet<u16>,
    ) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        let row = self.firewalls.get_mut(&id).ok_or(Denied::Stale)?;
        row.id = firewall.or(row.id.take());
        row.ports.clone_from(ports);
        if row.epoch != epoch {
            row.closing.clear();
            row.epoch = epoch;
        }
        self.changed.insert(id);
        Ok(())
    }

    /// Asks for exactly these ports to be closed; one that was asked for before keeps its time.
    pub fn firewall_close(&mut self, now: Millis, fence: &Fence, id: EnvironmentId, ports: &BTreeSet<u16>) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        let row = self.firewalls.get_mut(&id).ok_or(Denied::Stale)?;
        let asked: BTreeMap<u16, Timestamp> = ports
            .iter()
            .map(|port| (*port, row.closing.get(port).copied().unwrap_or_else(|| timestamp(now))))
            .collect();
        row.closing = asked;
        self.changed.insert(id);
        Ok(())
    }

    /// Records how the firewall is.
    pub fn firewall_state_write(
        &mut self,
        now: Millis,
        fence: &Fence,
        id: EnvironmentId,
        state: (ConditionStatus, Word, String),
    ) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        if let Some(row) = self.firewalls.get_mut(&id)
            && (row.state, &row.reason, &row.message) != (state.0, &state.1, &state.2)
        {
            (row.state, row.reason, row.message) = state;
            self.changed.insert(id);
        }
        Ok(())
    }

    /// Forgets a firewall that was seen to be gone.
    pub fn firewall_forget(&mut self, now: Millis, fence: &Fence, id: EnvironmentId) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        if self.firewalls.remove(&id).is_some() {
            self.changed.insert(id);
        }
        Ok(())
    }

    /// Whether a set in place of the stored one would change a tool, or bring another one, behind a port that may be open.
    pub(super) fn changes_behind_open_port(&self, id: EnvironmentId, set: &DesiredSet, left_open: &BTreeSet<u16>) -> bool {
        let Some(row) = self.firewalls.get(&id).filter(|row| row.epoch == set.stamp.epoch) else {
            return false;
        };
        let stored = self.desired.get(&id).map_or(&[][..], |stored| &stored.instances[..]);
        let waited_for = |port: &&u16| !(left_open.contains(port) && row.closing.contains_key(port));
        row.ports
            .iter()
            .filter(waited_for)
            .any(|port| behind(stored, *port) != behind(&set.instances, *port))
    }

    /// Whether a tool was stopped although its port could not be closed in time.
    pub fn waited_out(&self, id: EnvironmentId, port: u16) -> bool {
        self.left_open.contains(&(id, port))
    }
}

fn behind(instances: &[DesiredInstance], port: u16) -> Option<&DesiredInstance> {
    instances.iter().find(|instance| instance.port == port)
}

//! What users do to their rows, and what triggers make of it.

use super::Database;
use crate::moment::{Millis, timestamp};
use model::{
    Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentSpec, EnvironmentStatus, Instance, InstanceDesiredState,
    InstanceId, InstanceSpec, InstanceStatus, Tombstone,
};

impl Database {
    /// A new environment. Refused, as by the trigger `b_tombstone_guard`, while a tombstone has its id.
    pub fn insert_row(&mut self, now: Millis, id: EnvironmentId, spec: EnvironmentSpec) -> bool {
        if self.tombstones.contains_key(&id) || self.rows.contains_key(&id) {
            return false;
        }
        let row = Environment {
            id,
            generation: 1,
            spec,
            status: EnvironmentStatus::default(),
            last_heartbeat_at: None,
            created_at: timestamp(now),
            updated_at: timestamp(now),
        };
        self.rows.insert(id, row);
        self.changed.insert(id);
        true
    }

    /// A new instance.
    pub fn insert_instance(&mut self, now: Millis, id: InstanceId, spec: InstanceSpec) {
        let environment = spec.environment_id;
        let row = Instance {
            id,
            generation: 1,
            spec,
            status: InstanceStatus::default(),
            created_at: timestamp(now),
            updated_at: timestamp(now),
        };
        self.instances.insert(id, row);
        self.changed.insert(environment);
    }

    /// Changes a specification; its generation rises when it really changed.
    pub fn specify(&mut self, id: EnvironmentId, edit: impl FnOnce(&mut EnvironmentSpec)) {
        if let Some(row) = self.rows.get_mut(&id) {
            let before = row.spec.clone();
            edit(&mut row.spec);
            if row.spec != before {
                row.generation += 1;
                self.changed.insert(id);
            }
        }
    }

    /// The same of an instance.
    pub fn specify_instance(&mut self, id: InstanceId, edit: impl FnOnce(&mut InstanceSpec)) {
        if let Some(row) = self.instances.get_mut(&id) {
            let before = row.spec.clone();
            edit(&mut row.spec);
            if row.spec != before {
                row.generation += 1;
                self.changed.insert(row.spec.environment_id);
            }
        }
    }

    /// A program that knows only `status` asks: its request becomes specification.
    pub fn request_status(&mut self, id: EnvironmentId, deletion: bool) {
        let wanted = if deletion {
            EnvironmentDesiredState::Deleted
        } else {
            EnvironmentDesiredState::Active
        };
        self.specify(id, |spec| spec.desired_state = wanted);
    }

    /// Deletes a row: its instances go with it, and a tombstone stays where there may be a droplet.
    pub fn delete_row(&mut self, now: Millis, id: EnvironmentId) {
        let Some(row) = self.rows.remove(&id) else { return };
        self.instances.retain(|_, instance| instance.spec.environment_id != id);
        self.changed.insert(id);
        let firewall = self.firewalls.contains_key(&id);
        if firewall || row.status.droplet_id.is_some() || self.intents.get(&id).is_some_and(|intents| !intents.is_empty()) {
            let tombstone = Tombstone {
                environment_id: id,
                user_id: row.spec.user_id,
                droplet_id: row.status.droplet_id,
                ip_address: row.status.ip_address,
                agent_epoch: row.status.agent_epoch,
                deleted_at: timestamp(now),
            };
            self.tombstones.insert(id, tombstone);
        } else {
            self.desired.remove(&id);
            self.reports.remove(&id);
        }
    }

    /// Deletes an instance's row.
    pub fn delete_instance(&mut self, id: InstanceId) {
        if let Some(row) = self.instances.remove(&id) {
            self.changed.insert(row.spec.environment_id);
        }
    }

    /// The instances that are wanted to run, of an environment that is wanted.
    pub fn wanted_instances(&self, id: EnvironmentId) -> impl Iterator<Item = &Instance> {
        let wanted = move |row: &&Instance| {
            row.spec.environment_id == id && row.spec.desired_state == InstanceDesiredState::Running && !row.spec.paused
        };
        self.instances.values().filter(wanted)
    }
}

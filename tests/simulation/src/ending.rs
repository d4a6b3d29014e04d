//! What has to hold in the end, once nothing goes wrong any more.
//!
//! Owns: telling what is still missing. Promises: every droplet that was ever made for the installation counts, whatever its tags say
//! now; and what belongs to others is all there.

use crate::{invariants::open_ports, world::World};
use firewall_reconciler::{Policy, rules};
use fleet::spelling::normalised;
use model::{DropletId, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, tags};
use std::collections::BTreeSet;

impl World {
    /// What is not yet as it has to be in the end; `None` when all is well.
    pub fn unsettled(&self, policy: &Policy) -> Option<String> {
        let foreign = self.cloud.droplets.values().find(|real| {
            let theirs = real.shown.tags.iter().any(|tag| tag == "toolplane:installation:other");
            theirs && !real.lives(self.now)
        });
        if let Some(real) = foreign {
            return Some(format!("droplet {} of another installation is gone", real.shown.id));
        }
        if let Some(id) = self.database.tombstones.keys().next() {
            return Some(format!("the tombstone of {} is still there", self.name(*id)));
        }
        self.environments.iter().find_map(|id| {
            let missing = match self.database.rows.get(id) {
                Some(row) if row.spec.desired_state == EnvironmentDesiredState::Active => self.wanted_but(policy, *id, row),
                Some(row) if row.status.phase != EnvironmentPhase::Deleted => {
                    Some(format!("its phase is {:?}", row.status.phase))
                }
                Some(_) | None => self.unwanted_but(*id),
            };
            missing.map(|missing| format!("{}: {missing}", self.name(*id)))
        })
    }

    /// Droplets that were made for an environment and are there.
    fn droplets_of(&self, id: EnvironmentId) -> Vec<u64> {
        let made = self.agents.values().filter(|agent| agent.environment == id);
        let lives = |droplet: &u64| self.cloud.droplets.get(droplet).is_some_and(|real| real.lives(self.now));
        made.map(|agent| agent.droplet).filter(lives).collect()
    }

    fn unwanted_but(&self, id: EnvironmentId) -> Option<String> {
        if let Some(droplet) = self.droplets_of(id).first() {
            return Some(format!("it is not wanted, and droplet {droplet} is there"));
        }
        let name = fleet::names::environment(&self.installation, id);
        if let Some((firewall, _)) = self.cloud.firewall(&name) {
            return Some(format!("it is not wanted, and {firewall} is there"));
        }
        let recorded = self.database.firewalls.get(&id);
        recorded.map(|recorded| format!("it is not wanted, and {recorded:?} is on record"))
    }

    fn wanted_but(&self, policy: &Policy, id: EnvironmentId, row: &model::Environment) -> Option<String> {
        let droplets = self.droplets_of(id);
        let [droplet] = droplets[..] else {
            return Some(format!("it is wanted, and its droplets are {droplets:?}"));
        };
        if row.status.droplet_id.map(|recorded| recorded.0) != Some(droplet) {
            return Some(format!(
                "droplet {droplet} is there, and {:?} is recorded",
                row.status.droplet_id
            ));
        }
        if row.status.phase != EnvironmentPhase::Active || row.status.observed_generation != row.generation {
            return Some(format!("its phase is {:?}: {:?}", row.status.phase, row.status.conditions));
        }
        if !row.status.conditions.holds("Reconciled") {
            return Some(format!("it is not reconciled: {:?}", row.status.conditions.get("Reconciled")));
        }
        let (real, agent) = (self.cloud.droplets.get(&droplet)?, self.agents.get(&droplet)?);
        if *real.shown.size_slug != *row.spec.size {
            return Some(format!("droplet {droplet} is of size {}", real.shown.size_slug));
        }
        let carries = |tag: &String| real.shown.tags.contains(tag);
        let missing = [
            tags::TOOLPLANE.to_owned(),
            tags::installation(&self.installation),
            tags::environment(id),
        ];
        if !missing.iter().all(carries) || real.shown.name != tags::droplet_name(id) {
            return Some(format!(
                "droplet {droplet} is {} with the tags {:?}",
                real.shown.name, real.shown.tags
            ));
        }
        let mut ports = BTreeSet::new();
        for instance in self.database.wanted_instances(id) {
            if !agent.serves(instance.id) {
                return Some(format!("tool {} does not run: {:?}", instance.id, instance.status.phase));
            }
            let set = self.database.desired.get(&id);
            let told = set.and_then(|set| set.instances.iter().find(|told| told.instance_id == instance.id));
            ports.extend(told.map(|told| told.port));
        }
        let open = open_ports(&self.cloud, self.now, droplet);
        if open != ports {
            return Some(format!(
                "ports {open:?} of droplet {droplet} are open, and tools run at {ports:?}"
            ));
        }
        let (whole, _) = rules::environment(&self.installation, id, DropletId(droplet), &ports, &policy.sources);
        let wall = self
            .cloud
            .firewall(&whole.name)
            .map(|(_, wall)| normalised(wall.spec.clone()));
        if wall.as_ref() != Some(&whole) {
            return Some(format!("its firewall is {wall:?}"));
        }
        let recorded = self.database.firewalls.get(&id);
        let settled =
            recorded.is_some_and(|recorded| recorded.id.is_some() && recorded.ports == ports && recorded.closing.is_empty());
        (!settled).then(|| format!("{recorded:?} is on record"))
    }
}

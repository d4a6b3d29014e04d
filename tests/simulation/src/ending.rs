//! What has to hold in the end, once nothing goes wrong any more.
//!
//! Owns: telling what is still missing. Promises: every droplet that was ever made for the installation counts, whatever its tags say
//! now; and what belongs to others is all there.

use crate::{agent::Agent, cloud::Real, invariants::open_ports, world::World};
use firewall_reconciler::{Policy, rules};
use fleet::spelling::normalised;
use model::{DropletId, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, tags};
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

    fn wanted_but(&self, policy: &Policy, id: EnvironmentId, row: &Environment) -> Option<String> {
        let droplets = self.droplets_of(id);
        let [droplet] = droplets[..] else {
            return Some(format!("it is wanted, and its droplets are {droplets:?}"));
        };
        let (real, agent) = (self.cloud.droplets.get(&droplet)?, self.agents.get(&droplet)?);
        let missing = status_but(row, droplet).or_else(|| self.droplet_but(id, row, real));
        if missing.is_some() {
            return missing;
        }
        match self.tools_but(id, agent) {
            Ok(ports) => self.firewall_but(policy, id, droplet, &ports),
            Err(missing) => Some(missing),
        }
    }

    fn droplet_but(&self, id: EnvironmentId, row: &Environment, real: &Real) -> Option<String> {
        let shown = &real.shown;
        if *shown.size_slug != *row.spec.size {
            return Some(format!("droplet {} is of size {}", shown.id, shown.size_slug));
        }
        let marks = [
            tags::TOOLPLANE.to_owned(),
            tags::installation(&self.installation),
            tags::environment(id),
        ];
        let whole = marks.iter().all(|tag| shown.tags.contains(tag)) && shown.name == tags::droplet_name(id);
        (!whole).then(|| format!("droplet {} is {} with the tags {:?}", shown.id, shown.name, shown.tags))
    }

    /// The ports of the tools, all of which run; or else what does not.
    fn tools_but(&self, id: EnvironmentId, agent: &Agent) -> Result<BTreeSet<u16>, String> {
        let mut ports = BTreeSet::new();
        for instance in self.database.wanted_instances(id) {
            if !agent.serves(instance.id) {
                return Err(format!("tool {} does not run: {:?}", instance.id, instance.status.phase));
            }
            let set = self.database.desired.get(&id);
            let told = set.and_then(|set| set.instances.iter().find(|told| told.instance_id == instance.id));
            ports.extend(told.map(|told| told.port));
        }
        Ok(ports)
    }

    fn firewall_but(&self, policy: &Policy, id: EnvironmentId, droplet: u64, ports: &BTreeSet<u16>) -> Option<String> {
        let open = open_ports(&self.cloud, self.now, droplet);
        if open != *ports {
            return Some(format!(
                "ports {open:?} of droplet {droplet} are open, and tools run at {ports:?}"
            ));
        }
        let (whole, _) = rules::environment(&self.installation, id, DropletId(droplet), ports, &policy.sources);
        let wall = self
            .cloud
            .firewall(&whole.name)
            .map(|(_, wall)| normalised(wall.spec.clone()));
        if wall.as_ref() != Some(&whole) {
            return Some(format!("its firewall is {wall:?}"));
        }
        let recorded = self.database.firewalls.get(&id);
        let settled =
            recorded.is_some_and(|recorded| recorded.id.is_some() && recorded.ports == *ports && recorded.closing.is_empty());
        (!settled).then(|| format!("{recorded:?} is on record"))
    }
}

fn status_but(row: &Environment, droplet: u64) -> Option<String> {
    let status = &row.status;
    if status.droplet_id != Some(DropletId(droplet)) {
        return Some(format!("droplet {droplet} is there, and {:?} is recorded", status.droplet_id));
    }
    if status.phase != EnvironmentPhase::Active || status.observed_generation != row.generation {
        return Some(format!("its phase is {:?}: {:?}", status.phase, status.conditions));
    }
    let settled = status.conditions.holds("Reconciled");
    (!settled).then(|| format!("it is not reconciled: {:?}", status.conditions.get("Reconciled")))
}

//! Everything outside the replicas: cloud, database, agents, and the true time.

use crate::{
    agent::Agent, cloud::Cloud, database::Database, dice::Dice, invariants::Invariants, moment::Millis, schedule::Faults,
    story::Story,
};
use model::{EnvironmentId, InstallationId};
use std::collections::BTreeMap;

/// See the module.
pub struct World {
    /// The true time, and the database's.
    pub now: Millis,
    /// All chance.
    pub dice: Dice,
    /// What goes wrong at present.
    pub faults: Faults,
    /// DigitalOcean.
    pub cloud: Cloud,
    /// Postgres.
    pub database: Database,
    /// By droplet.
    pub agents: BTreeMap<u64, Agent>,
    /// What happened.
    pub story: Story,
    /// What must not happen.
    pub invariants: Invariants,
    /// Whose resources these are.
    pub installation: InstallationId,
    /// Environments that the story is about, in the order in which they are named in it.
    pub environments: Vec<EnvironmentId>,
}

impl World {
    /// One more step of the story.
    pub fn tell(&mut self, who: &str, what: std::fmt::Arguments<'_>) {
        self.story.tell(self.now, who, what);
    }

    /// An environment's short name in the story.
    pub fn name(&self, id: EnvironmentId) -> String {
        match self.environments.iter().position(|known| *known == id) {
            Some(place) => format!("e{place}"),
            // The one key of the sweep.
            None => "fleet".to_owned(),
        }
    }

    /// Counts an effect, and looks whether a stale write was taken since.
    pub fn effect(&mut self) {
        self.invariants.effects += 1;
    }

    /// After a write to the database.
    pub fn written(&mut self) {
        if self.database.stale_writes > 0 {
            self.invariants.stale_write();
        }
    }
}

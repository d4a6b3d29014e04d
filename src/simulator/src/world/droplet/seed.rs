//! Droplets that have long been active, made at once.

use super::{Create, Droplet, Status};
use crate::{problem::Problem, seed::DropletSeed, world::World};
use std::time::Duration;
use tokio::time::Instant;

/// How old a seeded droplet is: older than any lag hides.
const AGE: Duration = Duration::from_hours(1);

impl World {
    /// Makes a droplet that is active, and gives its id.
    pub(crate) fn droplet_seed(&mut self, seed: DropletSeed) -> Result<u64, Problem> {
        let name = seed.name.clone();
        let create = Create::of(seed);
        let plan = self.plan(&create)?;
        create.check_rest()?;
        self.tags.extend(create.tags.iter().flatten().cloned());
        let id = self.droplet_id(&|_| true);
        let droplet = Droplet {
            status: Status::Active,
            addressed: true,
            created: Instant::now().checked_sub(AGE).unwrap_or_else(Instant::now),
            ..self.fresh(id, name, &create, &plan)
        };
        self.droplets.settle(droplet);
        for applied in self.firewalls_follow(id) {
            self.firewall_applied(applied);
        }
        Ok(id)
    }
}

//! Droplets and firewalls in bulk, for tests and benchmarks of size. They are there at once: nothing boots, nothing is journaled, and no
//! limit is asked.

use crate::{problem::Problem, simulator::Handle, world::firewall::FirewallRequest};
use serde_json::Value;

/// A droplet that has long been active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropletSeed {
    /// Its name.
    pub name: String,
    /// Its tags; they need not exist.
    pub tags: Vec<String>,
    /// Its region's slug.
    pub region: String,
    /// Its size's slug.
    pub size: String,
    /// Its image's slug.
    pub image: String,
}

impl DropletSeed {
    /// A small droplet in Frankfurt.
    pub fn new(name: impl Into<String>, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            tags: tags.into_iter().map(Into::into).collect(),
            region: "fra1".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: "ubuntu-24-04-x64".to_owned(),
        }
    }
}

/// Something that the API would not have taken either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seed is refused: {0}")]
pub struct Refused(String);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem.body["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Handle {
    /// Makes droplets, and gives their ids. Firewalls have reached them already.
    pub fn seed_droplets(&self, count: usize, seed: impl Fn(usize) -> DropletSeed) -> Result<Vec<u64>, Refused> {
        let mut world = self.cloud.world();
        (0..count).map(|number| Ok(world.droplet_seed(seed(number))?)).collect()
    }

    /// Makes firewalls, and gives their ids. A seed is the body of `POST /v2/firewalls`; its rules are in force already.
    pub fn seed_firewalls(&self, count: usize, seed: impl Fn(usize) -> Value) -> Result<Vec<String>, Refused> {
        let mut world = self.cloud.world();
        let mut make = |number| {
            let request: FirewallRequest = serde_json::from_value(seed(number)).map_err(|error| Refused(error.to_string()))?;
            Ok(world.firewall_seed(request)?)
        };
        (0..count).map(&mut make).collect()
    }
}

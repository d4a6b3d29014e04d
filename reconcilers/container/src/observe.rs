//! Looking at the engine.
//!
//! Owns: one list of an instance's containers with an inspection of each, its image and pull, the network, the probe; and the
//! memory that lets an idle pass ask nothing. Must not: decide. Promises: an engine that does not answer is `Unknown`, never
//! `Absent`; a remembered observation is used only while events are followed and nothing has happened to its key since.

use crate::{
    Config,
    board::Verdict,
    container::{Container, ContainerId, Lifecycle},
    desired::Wanted,
    engine::{Engine, EngineError, label_filters},
    image::Image,
    labels, network,
    probe::Prober,
    pulls::{Pull, describe},
    spec_hash,
};
use model::{DesiredInstance, InstanceId, desired::RunState};
use runtime::{Observation, Read};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many of a container's last lines go into the message about its exit.
const LINES: u32 = 5;

/// Everything that a decision is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The instance's containers on the engine. `Present` is never empty.
    pub containers: Observation<Vec<Container>>,
    /// Why the engine is unknown.
    pub trouble: Option<String>,
    /// The image; looked for only when a container is going to be created.
    pub image: Observation<Image>,
    /// The image's pull.
    pub pull: Option<Pull>,
    /// The droplet's network; looked for only when a container is going to be created.
    pub network: Observation<()>,
    /// What the last pass concluded.
    pub last: Verdict,
}

impl Observed {
    /// An engine that does not answer.
    pub(crate) fn unknown(last: Verdict, trouble: String) -> Self {
        Self {
            containers: Observation::Unknown,
            trouble: Some(trouble),
            image: Observation::Unknown,
            pull: None,
            network: Observation::Unknown,
            last,
        }
    }
}

/// Looks at one instance. `last` and `pull` come from the agent's own memory.
pub(crate) struct Look<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) config: &'a Config,
    pub(crate) cache: &'a Cache,
    pub(crate) prober: &'a Prober,
    pub(crate) last: Verdict,
}

impl Look<'_> {
    /// Never fails: what could not be read is unknown.
    pub(crate) async fn at(self, key: InstanceId, wanted: &Wanted, pull: Option<Pull>, read: Read) -> Observed {
        let last = self.last.clone();
        match self.engine_view(key, wanted, read).await {
            Ok((containers, image, network)) => Observed {
                containers: match containers {
                    none if none.is_empty() => Observation::Absent,
                    some => Observation::Present(some),
                },
                trouble: None,
                image,
                pull,
                network,
                last,
            },
            Err(error) => Observed::unknown(last, describe(&error)),
        }
    }

    async fn engine_view(
        &self,
        key: InstanceId,
        wanted: &Wanted,
        read: Read,
    ) -> Result<(Vec<Container>, Observation<Image>, Observation<()>), EngineError> {
        let mut containers = self.containers(key, read).await?;
        match wanted {
            Wanted::Nothing => Ok((containers, Observation::Unknown, Observation::Unknown)),
            Wanted::Instance(instance) if instance.run == RunState::Stopped => {
                Ok((containers, Observation::Unknown, Observation::Unknown))
            }
            Wanted::Instance(instance) => {
                self.probe(&mut containers, instance).await;
                if containers
                    .iter()
                    .any(|container| spec_hash::matches(&container.spec_hash, &instance.container))
                {
                    return Ok((containers, Observation::Unknown, Observation::Unknown));
                }
                let (image, network) = tokio::try_join!(self.image(&instance.container.image), self.network())?;
                Ok((containers, image, network))
            }
        }
    }

    async fn containers(&self, key: InstanceId, read: Read) -> Result<Vec<Container>, EngineError> {
        match read {
            Read::Cached => {
                if let Some(remembered) = self.cache.get(key) {
                    return Ok(remembered);
                }
            }
            Read::Authoritative => {}
        }
        let ticket = self.cache.ticket(key);
        let listed = self
            .engine
            .containers(label_filters(self.config.droplet_id, Some(key)))
            .await?;
        let mut containers = Vec::with_capacity(listed.len());
        for id in listed.into_iter().filter_map(|summary| summary.id).map(ContainerId) {
            containers.extend(self.container(id).await?.filter(|container| container.instance == key));
        }
        self.cache.store(ticket, &containers);
        Ok(containers)
    }

    /// `None` for one that went away since the list.
    async fn container(&self, id: ContainerId) -> Result<Option<Container>, EngineError> {
        let answer = self.engine.container(&id).await?;
        let Some(mut container) = answer.and_then(|answer| Container::read(self.config.droplet_id, answer)) else {
            return Ok(None);
        };
        if let Lifecycle::Exited(exit) = &mut container.lifecycle {
            exit.last_output = self.last_output(&id).await;
        }
        Ok(Some(container))
    }

    /// Without a log the exit is told without it.
    async fn last_output(&self, id: &ContainerId) -> String {
        let lines = self.engine.last_lines(id, LINES).await.unwrap_or_default();
        let text: String = lines.iter().map(ToString::to_string).collect();
        printable(&text)
    }

    async fn probe(&self, containers: &mut [Container], instance: &DesiredInstance) {
        self.prober.keep(instance.instance_id, containers);
        for container in containers {
            let listens = instance.container.container_port.is_some();
            container.readiness = self.prober.readiness(container, &instance.container.probe, listens).await;
        }
    }

    async fn image(&self, reference: &str) -> Result<Observation<Image>, EngineError> {
        let answer = self.engine.image(reference).await?;
        let image = answer.and_then(|answer| Image::read(reference, answer));
        Ok(image.map_or(Observation::Absent, Observation::Present))
    }

    async fn network(&self) -> Result<Observation<()>, EngineError> {
        let networks = self.engine.networks(self.config.droplet_id).await?;
        let name = labels::network_name(self.config.droplet_id);
        let ours = networks.iter().any(|found| network::is_ours(found, &name));
        Ok(if ours { Observation::Present(()) } else { Observation::Absent })
    }
}

/// The end of what a container wrote, fit for a message: lines joined, control characters left out, 400 characters at most.
fn printable(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let clean: Vec<char> = lines.join(" | ").chars().filter(|c| !c.is_control()).collect();
    clean[clean.len().saturating_sub(400)..].iter().collect()
}

/// The containers as they were last read, by instance. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    inner: Arc<Mutex<Remembered>>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// Whether events are followed.
    trusted: bool,
    /// Counts what invalidates, so that a read that was overtaken is not stored.
    clock: u64,
    invalidated: HashMap<InstanceId, u64>,
    all_invalidated: u64,
    containers: HashMap<InstanceId, Vec<Container>>,
}

/// Taken before a read, handed in with its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    key: InstanceId,
    clock: u64,
}

impl Cache {
    pub(crate) fn get(&self, key: InstanceId) -> Option<Vec<Container>> {
        let remembered = self.lock();
        if remembered.trusted {
            remembered.containers.get(&key).cloned()
        } else {
            None
        }
    }

    pub(crate) fn ticket(&self, key: InstanceId) -> Ticket {
        let clock = self.lock().clock;
        Ticket { key, clock }
    }

    /// Keeps a read unless something invalidated the key after the ticket was taken.
    pub(crate) fn store(&self, ticket: Ticket, containers: &[Container]) {
        let mut remembered = self.lock();
        let touched = remembered.invalidated.get(&ticket.key).copied().unwrap_or(0);
        if touched.max(remembered.all_invalidated) <= ticket.clock {
            remembered.containers.insert(ticket.key, containers.to_vec());
        }
    }

    /// Something happened to the key.
    pub(crate) fn invalidate(&self, key: InstanceId) {
        let mut remembered = self.lock();
        remembered.clock += 1;
        let clock = remembered.clock;
        remembered.invalidated.insert(key, clock);
        remembered.containers.remove(&key);
    }

    /// Nothing of the key is left.
    pub(crate) fn forget(&self, key: InstanceId) {
        let mut remembered = self.lock();
        remembered.invalidated.remove(&key);
        remembered.containers.remove(&key);
    }

    /// Events are not followed any more.
    pub(crate) fn distrust(&self) {
        self.clear(false);
    }

    /// Events are followed from here on; what was remembered before is not used.
    pub(crate) fn trust_anew(&self) {
        self.clear(true);
    }

    fn clear(&self, trusted: bool) {
        let mut remembered = self.lock();
        remembered.clock += 1;
        remembered.all_invalidated = remembered.clock;
        remembered.containers.clear();
        remembered.invalidated.clear();
        remembered.trusted = trusted;
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_was_overtaken_is_not_remembered() {
        let (cache, key, other) = (Cache::default(), InstanceId::random(), InstanceId::random());
        cache.store(cache.ticket(key), &[]);
        assert_eq!(cache.get(key), None, "nothing is believed before events are followed");
        cache.trust_anew();
        let ticket = cache.ticket(key);
        cache.invalidate(other);
        cache.store(ticket, &[]);
        assert_eq!(cache.get(key), Some(vec![]));
        let ticket = cache.ticket(key);
        cache.invalidate(key);
        cache.store(ticket, &[]);
        assert_eq!(cache.get(key), None);
        let ticket = cache.ticket(key);
        cache.trust_anew();
        cache.store(ticket, &[]);
        assert_eq!(cache.get(key), None);
        cache.store(cache.ticket(key), &[]);
        assert_eq!(cache.get(key), Some(vec![]));
        cache.distrust();
        assert_eq!(cache.get(key), None);
    }

    #[test]
    fn output_is_made_printable() {
        assert_eq!(printable("one\n\n\x1b[31mtwo\x07\r\n"), "one | [31mtwo");
        assert_eq!(printable(&"é".repeat(500)).chars().count(), 400);
    }
}

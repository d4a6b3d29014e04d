//! A model of one droplet's container engine: images, pulls, containers, and tools that take a while to be ready.
//!
//! Owns: what runs. Must not: decide anything. Promises: it is as strict as the engine is: a name belongs to one container, nothing
//! that runs is removed, and what is not there cannot be started.

use crate::{
    dice::Dice,
    moment::{Millis, seconds, timestamp},
};
use container_reconciler::{Action, Container, ContainerId, Exit, Image, Lifecycle, Pull, Readiness, Target, spec_hash};
use jiff::SignedDuration;
use model::{DesiredInstance, InstanceId};
use runtime::{Error, Observation};
use std::collections::{BTreeMap, BTreeSet};

/// A container with what the engine does not show.
#[derive(Clone, Debug)]
struct Real {
    shown: Container,
    started_at: Millis,
    ready_at: Millis,
    /// It was ready since it was started.
    was_ready: bool,
    /// Its probe fails until then.
    hangs_until: Millis,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    containers: Vec<Real>,
    images: BTreeSet<String>,
    pulls: BTreeMap<String, Millis>,
    network: bool,
    made: u64,
}

impl Engine {
    /// An instance's containers, as a pass sees them, probes included.
    pub fn containers(&mut self, now: Millis, id: InstanceId) -> Observation<Vec<Container>> {
        let mut found = Vec::new();
        for real in self.containers.iter_mut().filter(|real| real.shown.instance == id) {
            real.shown.readiness = real.probe(now);
            real.was_ready |= real.shown.readiness == Readiness::Ready;
            found.push(real.shown.clone());
        }
        if found.is_empty() {
            Observation::Absent
        } else {
            Observation::Present(found)
        }
    }

    /// The instances that have a container.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.containers.iter().map(|real| real.shown.instance)
    }

    /// The image, its pull and the network, as a pass that may create sees them.
    pub fn surroundings(&mut self, now: Millis, reference: &str) -> (Observation<Image>, Option<Pull>, Observation<()>) {
        if self.pulls.get(reference).is_some_and(|ends| *ends <= now) {
            self.pulls.remove(reference);
            self.images.insert(reference.to_owned());
        }
        let image = if self.images.contains(reference) {
            Observation::Present(image(reference))
        } else {
            Observation::Absent
        };
        let pull = self.pulls.contains_key(reference).then(|| Pull::Running {
            progress: "Downloading".to_owned(),
        });
        let network = if self.network {
            Observation::Present(())
        } else {
            Observation::Absent
        };
        (image, pull, network)
    }

    /// Carries one action out for an instance.
    pub fn carry_out(
        &mut self,
        now: Millis,
        dice: &mut Dice,
        id: InstanceId,
        wanted: Option<&DesiredInstance>,
        action: &Action,
    ) -> Result<(), Error> {
        match action {
            Action::PullImage { reference } => {
                let ends = now + dice.between(seconds(1), seconds(15));
                self.pulls.entry(reference.clone()).or_insert(ends);
            }
            Action::CreateNetwork => self.network = true,
            Action::CreateContainer { image, .. } => {
                let Some(instance) = wanted else {
                    return Err(Error::terminal("CreateFailed", "the instance is not in the desired set"));
                };
                if self.containers.iter().any(|real| real.shown.instance == id) || !self.network {
                    return Err(Error::retriable("CreateFailed", "the name is taken, or there is no network"));
                }
                self.create(now, instance, image);
            }
            Action::StartContainer(target) => {
                let ready_at = now + dice.between(seconds(1), seconds(6));
                let real = match target {
                    Target::Observed(id) => self.find(id),
                    Target::Created => self.containers.iter_mut().find(|real| real.shown.instance == id),
                };
                let real = real.ok_or_else(|| Error::retriable("StartFailed", "no such container"))?;
                real.start(now, ready_at);
            }
            Action::StopContainer { id, .. } => {
                if let Some(real) = self.find(id) {
                    real.end(now, 143);
                }
            }
            Action::UnpauseContainer { id } => {
                if let Some(real) = self.find(id) {
                    real.shown.lifecycle = Lifecycle::Running { since: timestamp(now) };
                }
            }
            Action::RemoveContainer { id } => return self.remove(id),
        }
        Ok(())
    }

    fn remove(&mut self, id: &ContainerId) -> Result<(), Error> {
        if self.find(id).is_some_and(|real| real.shown.is_up()) {
            return Err(Error::retriable("RemoveFailed", "it runs"));
        }
        self.containers.retain(|real| real.shown.id != *id);
        Ok(())
    }

    fn find(&mut self, id: &ContainerId) -> Option<&mut Real> {
        self.containers.iter_mut().find(|real| real.shown.id == *id)
    }

    fn create(&mut self, now: Millis, instance: &DesiredInstance, image: &Image) {
        self.made += 1;
        let port = 40_000 + u16::try_from(self.made % 20_000).unwrap_or(0);
        let shown = Container {
            id: ContainerId(format!("container-{}", self.made)),
            instance: instance.instance_id,
            generation: instance.generation,
            spec_hash: spec_hash::of(&instance.container),
            version: Some(instance.version.clone()),
            image_digest: Some(image.digest.clone()),
            grace_seconds: instance.container.stop_grace_seconds,
            created: timestamp(now),
            address: Some(([127, 0, 0, 1], port).into()),
            lifecycle: Lifecycle::Created,
            readiness: Readiness::Unprobed,
        };
        self.containers.push(Real {
            shown,
            started_at: now,
            ready_at: now,
            was_ready: false,
            hangs_until: Millis::MIN,
        });
    }

    /// Every process ends: the machine went down.
    pub fn power_lost(&mut self, now: Millis) {
        for real in self.containers.iter_mut().filter(|real| real.shown.is_up()) {
            real.end(now, 137);
        }
        self.pulls.clear();
    }

    /// One tool that runs crashes, or hangs for a while.
    pub fn misfortune(&mut self, now: Millis, dice: &mut Dice) -> bool {
        let up: Vec<usize> = (0..self.containers.len())
            .filter(|index| self.containers[*index].shown.is_up())
            .collect();
        let Some(index) = dice.pick(&up).copied() else { return false };
        if dice.permille(500) {
            self.containers[index].end(now, 1);
        } else {
            self.containers[index].hangs_until = now + dice.between(seconds(5), seconds(60));
        }
        true
    }
}

impl Real {
    fn start(&mut self, now: Millis, ready_at: Millis) {
        self.shown.lifecycle = Lifecycle::Running { since: timestamp(now) };
        (self.started_at, self.ready_at, self.was_ready) = (now, ready_at, false);
    }

    fn end(&mut self, now: Millis, code: i64) {
        let exit = Exit {
            code,
            out_of_memory: false,
            at: timestamp(now),
            ran_for: SignedDuration::from_millis(now - self.started_at),
            last_output: String::new(),
        };
        self.shown.lifecycle = Lifecycle::Exited(exit);
        self.shown.readiness = Readiness::Unprobed;
    }

    fn probe(&self, now: Millis) -> Readiness {
        let failing = || "connection refused".to_owned();
        match self.shown.lifecycle {
            Lifecycle::Running { .. } if now < self.hangs_until && self.was_ready => Readiness::Lost {
                failures: 3,
                message: failing(),
            },
            Lifecycle::Running { .. } if now >= self.ready_at => Readiness::Ready,
            Lifecycle::Running { .. } => Readiness::NotYet { message: failing() },
            Lifecycle::Created | Lifecycle::Paused | Lifecycle::Exited(_) | Lifecycle::Removing | Lifecycle::Broken => {
                Readiness::Unprobed
            }
        }
    }
}

fn image(reference: &str) -> Image {
    Image {
        id: format!("sha256:{reference}"),
        digest: format!("sha256:{reference}"),
        entrypoint: vec!["/tool".to_owned()],
        arguments: Vec::new(),
    }
}

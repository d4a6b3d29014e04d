//! The firewalls that there are, found by id, by name, and by what they concern.

use super::Firewall;
use crate::world::{droplet::Droplet, history::History};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use uuid::Uuid;

/// Something that a firewall may have to follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Concern {
    Droplet(u64),
    Tag(String),
}

/// All firewalls.
#[derive(Debug, Default)]
pub(crate) struct Firewalls {
    known: BTreeMap<Uuid, Firewall>,
    /// Deleted ones that are still in force somewhere.
    dissolving: BTreeMap<Uuid, Firewall>,
    names: HashMap<String, Uuid>,
    concerned: HashMap<Concern, BTreeSet<Uuid>>,
    history: History<Uuid, Firewall>,
}

impl Firewalls {
    pub(crate) fn get(&self, id: Uuid) -> Option<&Firewall> {
        self.known.get(&id)
    }

    /// By id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Firewall> {
        self.known.values()
    }

    pub(crate) fn named(&self, name: &str) -> Option<Uuid> {
        self.names.get(name).copied()
    }

    /// All that may be in force somewhere: the deleted ones too.
    pub(super) fn enforced(&self) -> impl Iterator<Item = &Firewall> {
        self.known.values().chain(self.dissolving.values())
    }

    /// All as they were a while ago, as far as their parts go.
    pub(crate) fn ago(&self, ago: Duration) -> Vec<&Firewall> {
        if ago.is_zero() {
            return self.known.values().collect();
        }
        self.history.ago(ago, self.known.iter().map(|(id, firewall)| (*id, firewall)))
    }

    /// A new firewall.
    pub(super) fn insert(&mut self, firewall: Firewall) {
        let id = firewall.id;
        self.history.record(id, None);
        self.names.insert(firewall.parts.name.clone(), id);
        self.known.insert(id, firewall);
        self.reindex(id);
    }

    /// Changes the parts of a firewall.
    pub(super) fn change<T>(&mut self, id: Uuid, change: impl FnOnce(&mut Firewall) -> T) -> Option<T> {
        let firewall = self.known.get_mut(&id)?;
        self.history.record(id, Some(firewall.portrait()));
        let name = firewall.parts.name.clone();
        let changed = change(firewall);
        if firewall.parts.name != name {
            self.names.remove(&name);
            self.names.insert(firewall.parts.name.clone(), id);
        }
        self.reindex(id);
        Some(changed)
    }

    /// Sets which droplets a firewall applies to.
    pub(super) fn retarget<T>(&mut self, id: Uuid, targets: BTreeSet<u64>, then: impl FnOnce(&mut Firewall) -> T) -> Option<T> {
        let firewall = self.known.get_mut(&id)?;
        firewall.targets = targets;
        let done = then(firewall);
        self.reindex(id);
        Some(done)
    }

    /// A droplet comes under a firewall, or leaves it. Whether it does.
    pub(super) fn follow<T>(&mut self, id: Uuid, droplet: u64, follow: impl FnOnce(&mut Firewall) -> Option<T>) -> Option<T> {
        let firewall = self.known.get_mut(&id)?;
        let followed = follow(firewall)?;
        if firewall.concerns.insert(Concern::Droplet(droplet)) {
            self.concerned.entry(Concern::Droplet(droplet)).or_default().insert(id);
        }
        Some(followed)
    }

    /// Takes a firewall out of what can be seen.
    pub(super) fn remove(&mut self, id: Uuid) -> Option<Firewall> {
        let mut firewall = self.known.remove(&id)?;
        self.history.record(id, Some(firewall.portrait()));
        self.names.remove(&firewall.parts.name);
        self.unindex(id, &std::mem::take(&mut firewall.concerns));
        Some(firewall)
    }

    /// Keeps a deleted firewall until the droplets have learned of its end.
    pub(super) fn dissolve(&mut self, firewall: Firewall) {
        self.dissolving.insert(firewall.id, firewall);
    }

    /// A change of a firewall has arrived where it is in force.
    pub(super) fn arrive(&mut self, id: Uuid, revision: u64) {
        if let Some(firewall) = self.known.get_mut(&id) {
            firewall.force.arrive(revision);
        } else if let Some(firewall) = self.dissolving.get_mut(&id) {
            firewall.force.arrive(revision);
            if !firewall.force.is_waiting() {
                self.dissolving.remove(&id);
            }
        }
    }

    /// The firewalls that may have to follow a change of a droplet.
    pub(super) fn candidates(&self, droplet: &Droplet) -> BTreeSet<Uuid> {
        let tags = droplet.tags.iter().cloned().map(Concern::Tag);
        let concerns = std::iter::once(Concern::Droplet(droplet.id)).chain(tags);
        concerns
            .filter_map(|concern| self.concerned.get(&concern))
            .flatten()
            .copied()
            .collect()
    }

    /// A droplet is no more.
    pub(crate) fn forget_droplet(&mut self, droplet: u64) {
        let concern = Concern::Droplet(droplet);
        for id in self.concerned.remove(&concern).unwrap_or_default() {
            if let Some(firewall) = self.known.get_mut(&id) {
                firewall.forget_droplet(droplet);
                firewall.concerns.remove(&concern);
            }
        }
        for firewall in self.dissolving.values_mut() {
            firewall.forget_droplet(droplet);
        }
    }

    /// A tag is no more.
    pub(crate) fn forget_tag(&mut self, tag: &str) {
        let concern = Concern::Tag(tag.to_owned());
        for id in self.concerned.remove(&concern).unwrap_or_default() {
            if let Some(firewall) = self.known.get_mut(&id) {
                self.history.record(id, Some(firewall.portrait()));
                firewall.forget_tag(tag);
                firewall.concerns.remove(&concern);
            }
        }
    }

    fn reindex(&mut self, id: Uuid) {
        let Some(firewall) = self.known.get_mut(&id) else {
            return;
        };
        let concerns = firewall.look_up_concerns();
        let before = std::mem::replace(&mut firewall.concerns, concerns.clone());
        self.unindex(id, &before.difference(&concerns).cloned().collect());
        for concern in concerns {
            self.concerned.entry(concern).or_default().insert(id);
        }
    }

    fn unindex(&mut self, id: Uuid, concerns: &BTreeSet<Concern>) {
        for concern in concerns {
            if let Some(ids) = self.concerned.get_mut(concern) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.concerned.remove(concern);
                }
            }
        }
    }
}

//! The droplets that live, found by id and by tag, and what they were like before.

use super::Droplet;
use crate::world::history::History;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    time::Duration,
};

/// All live droplets.
#[derive(Debug, Default)]
pub(crate) struct Droplets {
    known: BTreeMap<u64, Droplet>,
    tagged: HashMap<String, BTreeSet<u64>>,
    addresses: HashSet<Ipv4Addr>,
    history: History<u64, Droplet>,
}

impl Droplets {
    pub(crate) fn get(&self, id: u64) -> Option<&Droplet> {
        self.known.get(&id)
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.known.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// By id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Droplet> {
        self.known.values()
    }

    /// Those with a tag, by id.
    pub(crate) fn tagged(&self, tag: &str) -> impl Iterator<Item = &Droplet> {
        let ids = self.tagged.get(tag).into_iter().flatten();
        ids.filter_map(|id| self.known.get(id))
    }

    pub(crate) fn tagged_ids(&self, tag: &str) -> Vec<u64> {
        self.tagged.get(tag).into_iter().flatten().copied().collect()
    }

    pub(crate) fn is_taken(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }

    /// All as they were a while ago.
    pub(crate) fn ago(&self, ago: Duration) -> Vec<&Droplet> {
        if ago.is_zero() {
            return self.known.values().collect();
        }
        self.history.ago(ago, self.known.iter().map(|(id, droplet)| (*id, droplet)))
    }

    /// A new droplet.
    pub(crate) fn insert(&mut self, droplet: Droplet) {
        self.history.record(droplet.id, None);
        self.settle(droplet);
    }

    /// A droplet that has been there for longer than anybody remembers.
    pub(crate) fn settle(&mut self, droplet: Droplet) {
        index(&mut self.tagged, droplet.id, &droplet.tags);
        self.addresses.insert(droplet.address);
        self.known.insert(droplet.id, droplet);
    }

    /// Changes a droplet; `None` when there is none.
    pub(crate) fn change<T>(&mut self, id: u64, change: impl FnOnce(&mut Droplet) -> T) -> Option<T> {
        let droplet = self.known.get_mut(&id)?;
        let before = droplet.clone();
        let changed = change(droplet);
        if droplet.tags != before.tags {
            unindex(&mut self.tagged, id, &before.tags);
            index(&mut self.tagged, id, &droplet.tags);
        }
        self.history.record(id, Some(before));
        Some(changed)
    }

    /// A droplet's end.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Droplet> {
        let droplet = self.take(id)?;
        self.history.record(id, Some(droplet.clone()));
        Some(droplet)
    }

    /// There never was such a droplet.
    pub(crate) fn erase(&mut self, id: u64) -> Option<Droplet> {
        self.history.erase(id);
        self.take(id)
    }

    fn take(&mut self, id: u64) -> Option<Droplet> {
        let droplet = self.known.remove(&id)?;
        unindex(&mut self.tagged, id, &droplet.tags);
        self.addresses.remove(&droplet.address);
        Some(droplet)
    }
}

fn index(tagged: &mut HashMap<String, BTreeSet<u64>>, id: u64, tags: &[String]) {
    for tag in tags {
        tagged.entry(tag.clone()).or_default().insert(id);
    }
}

fn unindex(tagged: &mut HashMap<String, BTreeSet<u64>>, id: u64, tags: &[String]) {
    for tag in tags {
        if let Some(ids) = tagged.get_mut(tag) {
            ids.remove(&id);
            if ids.is_empty() {
                tagged.remove(tag);
            }
        }
    }
}

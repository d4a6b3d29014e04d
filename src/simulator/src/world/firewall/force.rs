//! What of a firewall is in force: which rules have reached which droplets, and what is still on its way.
//!
//! Promises: a change counts on a droplet only once it has arrived there; until then the rules from before it do.

use super::rule::Rule;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// The inbound rules that are in force on droplets, and the changes that are not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Force {
    /// Rises with each change.
    revision: u64,
    /// By droplet: what lets traffic in to it.
    reached: BTreeMap<u64, Arc<[Rule]>>,
    /// Oldest first.
    coming: VecDeque<Change>,
}

/// A change on its way to the droplets that it concerns.
#[derive(Clone, Debug)]
struct Change {
    revision: u64,
    inbound: Arc<[Rule]>,
    /// Droplet, and whether the firewall is being taken off it.
    droplets: Vec<(u64, bool)>,
}

impl Force {
    /// Sends a change on its way. Its revision is what [`Force::arrive`] is told when it is there.
    pub(super) fn send(&mut self, inbound: &[Rule], droplets: impl IntoIterator<Item = (u64, bool)>) -> u64 {
        self.revision += 1;
        self.coming.push_back(Change {
            revision: self.revision,
            inbound: Arc::from(inbound),
            droplets: droplets.into_iter().collect(),
        });
        self.revision
    }

    /// A change has arrived, and with it all that were sent before it.
    pub(super) fn arrive(&mut self, revision: u64) {
        while let Some(change) = self.coming.pop_front_if(|change| change.revision <= revision) {
            for (droplet, removing) in change.droplets {
                if removing {
                    self.reached.remove(&droplet);
                } else {
                    self.reached.insert(droplet, Arc::clone(&change.inbound));
                }
            }
        }
    }

    /// What is on its way: droplet, and whether the firewall is being taken off it.
    pub(super) fn pending(&self) -> BTreeMap<u64, bool> {
        let changes = self.coming.iter().flat_map(|change| &change.droplets);
        changes.copied().collect()
    }

    /// Whether anything is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.coming.is_empty()
    }

    /// The rules that are in force on a droplet; `None` while the firewall has not reached it.
    pub(super) fn on(&self, droplet: u64) -> Option<&[Rule]> {
        self.reached.get(&droplet).map(AsRef::as_ref)
    }

    /// The droplet is no more.
    pub(super) fn forget(&mut self, droplet: u64) {
        self.reached.remove(&droplet);
        for change in &mut self.coming {
            change.droplets.retain(|(known, _)| *known != droplet);
        }
    }
}

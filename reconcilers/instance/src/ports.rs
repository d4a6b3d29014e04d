//! The public ports of a droplet's tools. Owns: which instance has which. Must not: know why a port is wanted. Promises: an
//! instance keeps its port for as long as it is there, and no two instances ever share one.

use agent_api::TOOL_PORTS;
use model::InstanceId;
use std::collections::{BTreeMap, BTreeSet};

/// The ports of one droplet.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    of: BTreeMap<InstanceId, u16>,
    taken: BTreeSet<u16>,
}

impl Ports {
    /// Keeps a port that an instance had, unless it is out of range or somebody else's.
    pub(crate) fn keep(&mut self, instance: InstanceId, port: u16) {
        if TOOL_PORTS.contains(&port) && !self.of.contains_key(&instance) && self.taken.insert(port) {
            self.of.insert(instance, port);
        }
    }

    /// Gives a port to nobody who does not have it.
    pub(crate) fn reserve(&mut self, port: u16) {
        self.taken.insert(port);
    }

    /// The instance's port, the lowest free one if it has none; `None` when all are taken.
    pub(crate) fn assign(&mut self, instance: InstanceId) -> Option<u16> {
        if let Some(port) = self.of.get(&instance) {
            return Some(*port);
        }
        let port = TOOL_PORTS.into_iter().find(|port| !self.taken.contains(port))?;
        self.taken.insert(port);
        self.of.insert(instance, port);
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_and_the_lowest_free_one_is_next() {
        let [a, b, c] = [InstanceId::random(), InstanceId::random(), InstanceId::random()];
        let mut ports = Ports::default();
        ports.keep(a, 31_001);
        ports.keep(b, 31_001);
        ports.keep(c, 80);
        assert_eq!(ports.assign(a), Some(31_001));
        assert_eq!(ports.assign(b), Some(31_000));
        assert_eq!(ports.assign(c), Some(31_002));
        assert_eq!(ports.assign(c), Some(31_002));
    }

    #[test]
    fn a_reserved_port_is_nobody_s_but_its_owner_s() {
        let (owner, other) = (InstanceId::random(), InstanceId::random());
        let mut ports = Ports::default();
        ports.keep(owner, 31_000);
        ports.reserve(31_000);
        ports.reserve(31_001);
        assert_eq!((ports.assign(owner), ports.assign(other)), (Some(31_000), Some(31_002)));
    }

    #[test]
    fn a_full_range_has_no_port_left() {
        let mut ports = Ports::default();
        for _ in TOOL_PORTS {
            assert!(ports.assign(InstanceId::random()).is_some());
        }
        assert_eq!(ports.assign(InstanceId::random()), None);
    }
}

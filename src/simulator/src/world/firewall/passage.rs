//! Would a connection be let in: what the firewalls in force at this moment make of it.

use super::{Firewall, rule::Rule};
use crate::world::{World, droplet::Droplet};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// With a port.
    Tcp,
    /// With a port.
    Udp,
    /// Without one.
    Icmp,
}

/// A connection that somebody might try. Over HTTP the fields are the parameters of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// The droplet that it goes to.
    pub droplet: u64,
    /// The port that it goes to; of no meaning for ICMP.
    #[serde(default)]
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it comes from.
    pub from: IpAddr,
}

/// What the firewalls in force make of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Whether it gets through. A droplet that no firewall has reached yet is open to everything, as at DigitalOcean.
    pub let_in: bool,
    /// The firewall that lets it in; `None` when none does, or none has to.
    pub by: Option<String>,
    /// The names of all firewalls in force on the droplet.
    pub in_force: Vec<String>,
}

impl World {
    /// What becomes of a connection; `None` when there is no such droplet. Changes that are still on their way do not count.
    pub(crate) fn passage(&self, connection: &Connection) -> Option<Passage> {
        let droplet = self.droplets.get(connection.droplet)?;
        let known = self.firewalls.enforced();
        let in_force: Vec<(&Firewall, &[Rule])> = known
            .filter_map(|firewall| Some((firewall, firewall.force.on(droplet.id)?)))
            .collect();
        let by = in_force
            .iter()
            .find(|(_, rules)| rules.iter().any(|rule| self.lets_in(rule, connection)));
        Some(Passage {
            let_in: in_force.is_empty() || by.is_some(),
            by: by.map(|(firewall, _)| firewall.parts.name.clone()),
            in_force: in_force.iter().map(|(firewall, _)| firewall.parts.name.clone()).collect(),
        })
    }

    fn lets_in(&self, rule: &Rule, connection: &Connection) -> bool {
        let is_from = |droplet: &Droplet| {
            let from = connection.from;
            droplet.addressed && (from == IpAddr::V4(droplet.address) || from == IpAddr::V4(droplet.private_address()))
        };
        let tagged = |tag: &String| self.droplets.tagged(tag).any(is_from);
        rule.admits(connection.protocol, connection.port)
            && (rule.peers.contain(connection.from)
                || rule
                    .peers
                    .droplet_ids
                    .iter()
                    .any(|id| self.droplets.get(*id).is_some_and(is_from))
                || rule.peers.tags.iter().any(tagged))
    }
}

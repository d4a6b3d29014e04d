//! Whole rule sets: what the firewalls should be.
//!
//! Owns: what is let in and out. Must not: know whether a firewall exists. Promises: every set is in the one spelling that what is
//! read is brought into as well.

use digitalocean::{FirewallSpec, InboundRule, OutboundRule, Peers, Ports, Protocol};
use fleet::{names, spelling::normalised};
use ipnet::IpNet;
use model::{DropletId, EnvironmentId, InstallationId, tags};
use std::collections::BTreeSet;

/// The agent's port on every droplet.
pub const AGENT_PORT: u16 = 30_000;

/// The most rules that DigitalOcean takes in one firewall, in and out together.
pub const MOST_RULES: usize = 50;

/// The most addresses that it takes in one rule.
pub const MOST_SOURCES: usize = 1_000;

/// From where what is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The control plane: the agent's port, the tools' ports, ping.
    pub backend: Vec<IpNet>,
    /// People: SSH.
    pub admin: Vec<IpNet>,
}

/// The base firewall: on every droplet by the installation's tag. SSH from the administrators, the agent's port and ping from
/// the control plane, nothing else in; everything out. DigitalOcean's limit of ten droplets a firewall is one of those that are
/// named by id; how many carry a tag is not limited, and one tag is far from the limit of five.
pub fn base(installation: &InstallationId, sources: &Sources) -> FirewallSpec {
    let mut inbound_rules = vec![
        inbound(Protocol::Tcp, Ports::One(AGENT_PORT), &sources.backend),
        inbound(Protocol::Icmp, Ports::All, &sources.backend),
    ];
    // A rule without sources would be refused, and mean nothing.
    if !sources.admin.is_empty() {
        inbound_rules.push(inbound(Protocol::Tcp, Ports::One(22), &sources.admin));
    }
    let everywhere = Peers {
        addresses: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        ..Peers::default()
    };
    let outbound_rules = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].map(|protocol| OutboundRule {
        protocol,
        ports: Ports::All,
        destinations: everywhere.clone(),
    });
    normalised(FirewallSpec {
        name: names::base(installation),
        inbound_rules,
        outbound_rules: outbound_rules.to_vec(),
        droplet_ids: Vec::new(),
        tags: vec![tags::installation(installation)],
    })
}

/// An environment's firewall: the ports of its tools, from the control plane. Ping keeps it valid while there is no port, for a
/// firewall has at least one rule. Returns also the ports that did not fit: those stay closed.
pub fn environment(
    installation: &InstallationId,
    environment: EnvironmentId,
    droplet: DropletId,
    ports: &BTreeSet<u16>,
    sources: &Sources,
) -> (FirewallSpec, BTreeSet<u16>) {
    let ranges = ranges(ports);
    let room = MOST_RULES - 1;
    let unfit = ranges.iter().skip(room).flat_map(|(low, high)| *low..=*high).collect();
    let tools = ranges.iter().take(room).map(|(low, high)| {
        let ports = if low == high {
            Ports::One(*low)
        } else {
            Ports::Range(*low, *high)
        };
        inbound(Protocol::Tcp, ports, &sources.backend)
    });
    let ping = inbound(Protocol::Icmp, Ports::All, &sources.backend);
    let spec = FirewallSpec {
        name: names::environment(installation, environment),
        inbound_rules: tools.chain([ping]).collect(),
        outbound_rules: Vec::new(),
        droplet_ids: vec![droplet.0],
        tags: Vec::new(),
    };
    (normalised(spec), unfit)
}

fn inbound(protocol: Protocol, ports: Ports, from: &[IpNet]) -> InboundRule {
    InboundRule {
        protocol,
        ports,
        sources: Peers {
            addresses: from.iter().map(IpNet::to_string).collect(),
            ..Peers::default()
        },
    }
}

/// Neighbouring ports as one range each.
fn ranges(ports: &BTreeSet<u16>) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, high)) if *high + 1 == *port => *high = *port,
            Some(_) | None => ranges.push((*port, *port)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources {
            backend: vec!["10.0.0.1/32".parse().unwrap(), "192.0.2.0/24".parse().unwrap()],
            admin: Vec::new(),
        }
    }

    #[test]
    fn neighbouring_ports_are_one_rule() {
        let (spec, closed) = environment(
            &"demo".parse().unwrap(),
            EnvironmentId::random(),
            DropletId(7),
            &BTreeSet::from([31_000, 31_001, 31_002, 31_005]),
            &sources(),
        );
        let ports: Vec<String> = spec.inbound_rules.iter().map(|rule| rule.ports.to_string()).collect();
        assert_eq!(ports, ["31005", "31000-31002", "0"]);
        assert_eq!((spec.droplet_ids, closed.len()), (vec![7], 0));
    }

    #[test]
    fn what_does_not_fit_stays_closed_and_is_counted() {
        let ports: BTreeSet<u16> = (0..60).map(|n| 31_000 + 2 * n).collect();
        let (spec, closed) = environment(
            &"demo".parse().unwrap(),
            EnvironmentId::random(),
            DropletId(7),
            &ports,
            &sources(),
        );
        assert_eq!((spec.inbound_rules.len(), closed.len()), (50, 11));
    }

    #[test]
    fn what_comes_back_in_another_spelling_is_the_same() {
        let spec = base(&"demo".parse().unwrap(), &sources());
        let mut back = spec.clone();
        back.inbound_rules.reverse();
        back.inbound_rules.push(back.inbound_rules[0].clone());
        for rule in &mut back.inbound_rules {
            rule.sources.addresses = vec!["192.0.2.7/24".to_owned(), "10.0.0.1".to_owned()];
        }
        for rule in &mut back.outbound_rules {
            rule.ports = Ports::Range(1, 65_535);
        }
        assert_ne!(back, spec);
        assert_eq!(normalised(back), spec);
    }

    #[test]
    fn no_administrators_means_no_ssh() {
        let installation = "demo".parse().unwrap();
        let ssh = |spec: &FirewallSpec| spec.inbound_rules.iter().any(|rule| rule.ports == Ports::One(22));
        assert!(!ssh(&base(&installation, &sources())));
        let admin = vec!["198.51.100.0/24".parse().unwrap()];
        assert!(ssh(&base(&installation, &Sources { admin, ..sources() })));
    }
}

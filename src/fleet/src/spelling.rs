//! One spelling for every rule set that means the same.
//!
//! Owns: what is a difference between two firewalls and what is only another way to say the same. Promises: two sets that mean the
//! same are equal once normalised, so that a diff settles; normalising twice changes nothing.

use digitalocean::{FirewallSpec, Peers, Ports, Protocol};
use ipnet::IpNet;
use std::net::IpAddr;

/// The one spelling of a rule set: everything sorted and said once, addresses as networks.
pub fn normalised(mut spec: FirewallSpec) -> FirewallSpec {
    for rule in &mut spec.inbound_rules {
        settle(&mut rule.ports, rule.protocol, &mut rule.sources);
    }
    for rule in &mut spec.outbound_rules {
        settle(&mut rule.ports, rule.protocol, &mut rule.destinations);
    }
    in_order(&mut spec.inbound_rules);
    in_order(&mut spec.outbound_rules);
    in_order(&mut spec.droplet_ids);
    in_order(&mut spec.tags);
    spec
}

fn settle(ports: &mut Ports, protocol: Protocol, peers: &mut Peers) {
    // ICMP has no ports, whatever was sent and whatever comes back; a range of everything is everything.
    if protocol == Protocol::Icmp || matches!(ports, Ports::Range(0 | 1, u16::MAX)) {
        *ports = Ports::All;
    }
    for address in &mut peers.addresses {
        let network = address
            .parse::<IpNet>()
            .or_else(|_| address.parse::<IpAddr>().map(IpNet::from));
        if let Ok(network) = network {
            *address = network.trunc().to_string();
        }
    }
    in_order(&mut peers.addresses);
    in_order(&mut peers.droplet_ids);
    in_order(&mut peers.tags);
    in_order(&mut peers.load_balancer_uids);
    in_order(&mut peers.kubernetes_ids);
}

fn in_order<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

//! One rule of a firewall.

use super::passage::Protocol;
use crate::problem::Problem;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{net::IpAddr, ops::RangeInclusive};

const PEERS_LIMIT: usize = 1_000;

/// Which way a rule lets traffic through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    fn side(self) -> &'static str {
        match self {
            Self::Inbound => "sources",
            Self::Outbound => "destinations",
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    protocol: String,
    ports: String,
    pub(super) peers: Peers,
}

/// The other side of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Peers {
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) droplet_ids: Vec<u64>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    load_balancer_uids: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    kubernetes_ids: Vec<String>,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl Rule {
    pub(super) fn read(rule: &Value, direction: Direction) -> Result<Self, Problem> {
        let refused = |message: &str| Problem::unprocessable(message);
        let text = |field: &str| rule.get(field).and_then(Value::as_str);
        let protocol = text("protocol").map(str::to_ascii_lowercase).unwrap_or_default();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "icmp") {
            return Err(refused("invalid protocol, must be one of tcp, udp, icmp"));
        }
        let ports = match (protocol.as_str(), text("ports")) {
            ("icmp", _) | (_, Some("0" | "all")) => "0".to_owned(),
            (_, Some(ports)) if range(ports).is_some() => ports.to_owned(),
            (_, Some(_)) => return Err(refused("invalid ports")),
            (_, None) => return Err(refused("missing ports")),
        };
        let side = direction.side();
        let peers = Peers::deserialize(rule.get(side).unwrap_or(&Value::Null))
            .map_err(|_| refused(&format!("You specified an invalid type for one of the {side}.")))?;
        peers.check(side)?;
        Ok(Self { protocol, ports, peers })
    }

    /// Whether traffic of this kind is what the rule speaks of.
    pub(super) fn admits(&self, protocol: Protocol, port: u16) -> bool {
        let spoken = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        };
        self.protocol == spoken && (self.ports == "0" || range(&self.ports).is_some_and(|ports| ports.contains(&port)))
    }

    pub(super) fn view(&self, side: &str) -> Value {
        json!({"protocol": self.protocol, "ports": self.ports, side: self.peers})
    }
}

impl Peers {
    /// Whether an address is one of those that are named by address.
    pub(super) fn contain(&self, from: IpAddr) -> bool {
        self.addresses.iter().any(|text| match text.parse::<IpNet>() {
            Ok(net) => net.contains(&from),
            Err(_) => text.parse() == Ok(from),
        })
    }

    fn check(&self, side: &str) -> Result<(), Problem> {
        let lists = [
            self.addresses.len(),
            self.droplet_ids.len(),
            self.tags.len(),
            self.load_balancer_uids.len(),
            self.kubernetes_ids.len(),
        ];
        if lists.iter().all(|count| *count == 0) {
            return Err(Problem::unprocessable(&format!(
                "You must specify at least one of the {side}."
            )));
        }
        if lists.iter().any(|count| *count > PEERS_LIMIT) {
            return Err(Problem::unprocessable(&format!(
                "a list of {side} can have at most {PEERS_LIMIT} entries"
            )));
        }
        let is_address = |text: &String| text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
        if self.addresses.iter().all(is_address) {
            Ok(())
        } else {
            Err(Problem::unprocessable("invalid address"))
        }
    }
}

/// `8000` or `8000-9000`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (port(low)?, port(high)?),
        None => (port(text)?, port(text)?),
    };
    (low <= high).then_some(low..=high)
}

//! What a firewall lets through.

use crate::wire::nullable;
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, fmt, str::FromStr};

/// A protocol that firewalls know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP; its ports are always [`Ports::All`].
    Icmp,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The ports of a rule. On the wire a text: `0`, `443` or `8000-9000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Ports {
    /// All of them: `0` on the wire; `all` and the empty text are taken too.
    All,
    /// One.
    One(u16),
    /// From and to, both included.
    Range(u16, u16),
    /// A text that this client does not know.
    Unknown(String),
}

impl FromStr for Ports {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let range = || {
            text.split_once('-')
                .and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)))
        };
        Ok(match text {
            "" | "0" | "all" => Self::All,
            _ => match (text.parse(), range()) {
                (Ok(port), _) => Self::One(port),
                (_, Some((low, high))) if low == high => Self::One(low),
                (_, Some((low, high))) => Self::Range(low, high),
                _ => Self::Unknown(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("0"),
            Self::One(port) => write!(f, "{port}"),
            Self::Range(low, high) => write!(f, "{low}-{high}"),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

impl From<String> for Ports {
    fn from(text: String) -> Self {
        let Ok(ports) = text.parse();
        ports
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

/// The other side of a rule. All of its lists together name whom it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peers {
    /// Addresses and CIDRs, as text: DigitalOcean returns them as they were written.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Droplets.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub droplet_ids: Vec<u64>,
    /// All droplets with one of these tags.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Load balancers.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_uids: Vec<String>,
    /// Kubernetes clusters.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_ids: Vec<String>,
}

/// Something that is let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InboundRule {
    /// The protocol.
    pub protocol: Protocol,
    /// The droplet's ports.
    #[serde(default = "all")]
    pub ports: Ports,
    /// From where.
    #[serde(default, deserialize_with = "nullable")]
    pub sources: Peers,
}

/// Something that is let out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutboundRule {
    /// The protocol.
    pub protocol: Protocol,
    /// The other side's ports.
    #[serde(default = "all")]
    pub ports: Ports,
    /// To where.
    #[serde(default, deserialize_with = "nullable")]
    pub destinations: Peers,
}

fn all() -> Ports {
    Ports::All
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_meant() {
        for (text, ports) in [
            ("", Ports::All),
            ("0", Ports::All),
            ("all", Ports::All),
            ("443", Ports::One(443)),
            ("443-443", Ports::One(443)),
            ("8000-9000", Ports::Range(8000, 9000)),
            ("web", Ports::Unknown("web".to_owned())),
        ] {
            assert_eq!(Ports::from(text.to_owned()), ports);
        }
        assert_eq!(String::from(Ports::Range(8000, 9000)), "8000-9000");
        assert_eq!(String::from(Ports::All), "0");
    }
}

//! The bodies that firewalls are made and changed with. Clients send null for what they do not set, and leave out the ports of ICMP.

use super::{
    Parts,
    rule::{Direction, Rule},
};
use crate::problem::Problem;
use serde::Deserialize;
use serde_json::Value;

/// The body of a create and an update. What is left out is reset.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FirewallRequest {
    name: Option<String>,
    droplet_ids: Option<Vec<u64>>,
    tags: Option<Vec<String>>,
    #[serde(flatten)]
    rules: Rules,
}

/// The body of `/rules`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rules {
    inbound_rules: Option<Vec<Value>>,
    outbound_rules: Option<Vec<Value>>,
}

/// The body of `/droplets`.
#[derive(Debug, Deserialize)]
pub(crate) struct Droplets {
    pub(super) droplet_ids: Option<Vec<u64>>,
}

/// The body of `/tags`.
#[derive(Debug, Deserialize)]
pub(crate) struct Tags {
    pub(super) tags: Option<Vec<String>>,
}

impl FirewallRequest {
    pub(super) fn parts(self) -> Result<Parts, Problem> {
        let name = self.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Problem::unprocessable("missing name"))?;
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if name.len() < 2 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(inner) {
            return Err(Problem::unprocessable("invalid name"));
        }
        let (inbound, outbound) = self.rules.rules()?;
        Ok(Parts {
            name,
            inbound,
            outbound,
            droplet_ids: deduplicated(self.droplet_ids.unwrap_or_default()),
            tags: deduplicated(self.tags.unwrap_or_default()),
        })
    }
}

impl Rules {
    /// Inbound and outbound rules.
    pub(super) fn rules(self) -> Result<(Vec<Rule>, Vec<Rule>), Problem> {
        let read = |rules: Option<Vec<Value>>, direction: Direction| {
            let rules = rules.unwrap_or_default();
            rules
                .iter()
                .map(|rule| Rule::read(rule, direction))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok((
            read(self.inbound_rules, Direction::Inbound)?,
            read(self.outbound_rules, Direction::Outbound)?,
        ))
    }
}

fn deduplicated<T: PartialEq>(elements: Vec<T>) -> Vec<T> {
    let mut once = Vec::with_capacity(elements.len());
    for element in elements {
        if !once.contains(&element) {
            once.push(element);
        }
    }
    once
}

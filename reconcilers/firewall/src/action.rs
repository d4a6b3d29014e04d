//! What a plan can do about a firewall, one effect each, and why. Owns: their vocabulary. Must not: do it.

use crate::rules::MOST_RULES;
use digitalocean::FirewallSpec;
use model::{Cause, Explain, Explanation, Stamp};
use std::collections::BTreeSet;

/// One effect on an environment's firewall. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put on record that the firewall is about to be made, or these ports about to be opened.
    Announce {
        /// The agent's epoch of the droplet.
        epoch: i64,
        /// The stamp of the desired set by which they are opened; it has to be the current one still.
        told: Option<Stamp>,
        /// The ports; those on record before stay on record.
        ports: BTreeSet<u16>,
        /// Why.
        cause: Cause,
    },
    /// Ask DigitalOcean for something.
    Cloud(CloudAction),
    /// Put on record what was seen in force: exactly these ports may be open.
    Settle {
        /// The firewall's id; `None` when it was seen not to be there.
        id: Option<String>,
        /// The agent's epoch of the droplet.
        epoch: i64,
        /// The ports.
        ports: BTreeSet<u16>,
        /// Why.
        cause: Cause,
    },
    /// Take the firewall off the record: it was seen to be gone.
    Forget {
        /// Why.
        cause: Cause,
    },
}

/// One request. Names are unique in an account, and an update replaces everything, so each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudAction {
    /// Read it anew: what is remembered is too old for something under way.
    Look {
        /// What is under way.
        cause: Cause,
    },
    /// Make a tag that the firewall applies by.
    EnsureTag {
        /// Its name.
        tag: String,
        /// Why.
        cause: Cause,
    },
    /// Make the firewall.
    Create {
        /// What it should be.
        spec: FirewallSpec,
        /// How many ports it has no room for.
        unfit: usize,
        /// Why.
        cause: Cause,
    },
    /// Replace everything that it is.
    Update {
        /// Which.
        id: String,
        /// What it should be.
        spec: FirewallSpec,
        /// How many ports it has no room for.
        unfit: usize,
        /// Why.
        cause: Cause,
    },
    /// Take it away.
    Delete {
        /// Which.
        id: String,
        /// Why.
        cause: Cause,
    },
}

impl Action {
    /// The reason of the event that tells of it; `None` for what only looks.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Announce { ports, .. } if ports.is_empty() => Some("FirewallAnnounced"),
            Self::Announce { .. } => Some("PortsAnnounced"),
            Self::Cloud(action) => action.reason(),
            Self::Settle { .. } => Some("PortsSettled"),
            Self::Forget { .. } => Some("FirewallForgotten"),
        }
    }
}

impl CloudAction {
    /// The reason of the event that tells of it; `None` for what only looks.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Look { .. } => None,
            Self::EnsureTag { .. } => Some("TagEnsured"),
            Self::Create { .. } => Some("FirewallCreated"),
            Self::Update { .. } => Some("FirewallUpdated"),
            Self::Delete { .. } => Some("FirewallDeleted"),
        }
    }
}

impl Explain for Action {
    fn explain(&self) -> Explanation {
        let (action, message, cause) = match self {
            Self::Cloud(action) => return action.explain(),
            Self::Announce { ports, cause, .. } if ports.is_empty() => (
                "Announce",
                "the firewall is put on record before it is made".to_owned(),
                cause,
            ),
            Self::Announce { ports, cause, .. } => {
                ("AnnouncePorts", format!("{} may be open from here on", listed(ports)), cause)
            }
            Self::Settle { ports, cause, .. } => ("SettlePorts", format!("open is exactly {}", listed(ports)), cause),
            Self::Forget { cause } => ("ForgetFirewall", "the firewall is gone, and off the record".to_owned(), cause),
        };
        Explanation {
            action,
            object: "firewall on record".to_owned(),
            message,
            cause: cause.clone(),
        }
    }

    fn only_reads(&self) -> bool {
        self.reason().is_none()
    }
}

impl Explain for CloudAction {
    fn explain(&self) -> Explanation {
        let (action, object, message, cause) = match self {
            Self::Look { cause } => ("Look", "firewall".to_owned(), "the firewall is read again".to_owned(), cause),
            Self::EnsureTag { tag, cause } => ("EnsureTag", format!("tag {tag}"), format!("tag {tag} is made"), cause),
            Self::Create { spec, unfit, cause } => (
                "CreateFirewall",
                format!("firewall {}", spec.name),
                format!("firewall {} is created{}", spec.name, left_out(*unfit)),
                cause,
            ),
            Self::Update { id, spec, unfit, cause } => {
                let rules = match spec.inbound_rules.len() + spec.outbound_rules.len() {
                    1 => "1 rule".to_owned(),
                    many => format!("{many} rules"),
                };
                let message = format!("firewall {} is set to {rules}{}", spec.name, left_out(*unfit));
                ("UpdateFirewall", format!("firewall {id}"), message, cause)
            }
            Self::Delete { id, cause } => (
                "DeleteFirewall",
                format!("firewall {id}"),
                format!("firewall {id} is deleted"),
                cause,
            ),
        };
        Explanation {
            action,
            object,
            message,
            cause: cause.clone(),
        }
    }

    fn only_reads(&self) -> bool {
        self.reason().is_none()
    }
}

/// Ports for people.
fn listed(ports: &BTreeSet<u16>) -> String {
    let noun = match ports.len() {
        0 => return "no port".to_owned(),
        1 => "port",
        2.. => "ports",
    };
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{noun} {}", ports.join(", "))
}

/// Says which ports a firewall has no room for.
fn left_out(unfit: usize) -> String {
    if unfit == 0 {
        return String::new();
    }
    format!("; {unfit} ports do not fit into its {MOST_RULES} rules and stay closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One action of each kind. Its place here is the proof that none is left out.
    fn place(action: &Action) -> usize {
        match action {
            Action::Announce { ports, .. } => usize::from(!ports.is_empty()),
            Action::Cloud(action) => match action {
                CloudAction::Look { .. } => 2,
                CloudAction::EnsureTag { .. } => 3,
                CloudAction::Create { .. } => 4,
                CloudAction::Update { .. } => 5,
                CloudAction::Delete { .. } => 6,
            },
            Action::Settle { .. } => 7,
            Action::Forget { .. } => 8,
        }
    }

    #[test]
    fn every_action_that_changes_something_has_an_event_and_every_action_a_cause() {
        let cause = || Cause::observation("the firewall was edited by somebody else");
        let announce = |ports: &[u16]| Action::Announce {
            epoch: 1,
            told: None,
            ports: ports.iter().copied().collect(),
            cause: cause(),
        };
        let (id, spec, unfit) = ("fw".to_owned(), FirewallSpec::default(), 0);
        let cloud = [
            CloudAction::Look { cause: cause() },
            CloudAction::EnsureTag {
                tag: "toolplane".to_owned(),
                cause: cause(),
            },
            CloudAction::Create {
                spec: spec.clone(),
                unfit,
                cause: cause(),
            },
            CloudAction::Update {
                id: id.clone(),
                spec,
                unfit,
                cause: cause(),
            },
            CloudAction::Delete { id, cause: cause() },
        ];
        let settle = Action::Settle {
            id: None,
            epoch: 1,
            ports: BTreeSet::new(),
            cause: cause(),
        };
        let mut actions = vec![announce(&[]), announce(&[31_000])];
        actions.extend(cloud.map(Action::Cloud));
        actions.extend([settle, Action::Forget { cause: cause() }]);
        assert_eq!(actions.iter().map(place).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
        for action in &actions {
            assert_eq!(action.explain().cause, cause(), "{action:?}");
            assert_eq!(action.reason().is_none(), action.only_reads(), "{action:?}");
        }
        let looks = actions.iter().filter(|action| action.only_reads()).count();
        assert_eq!(looks, 1);
    }
}

//! What must never happen, whatever goes wrong, and what must hold in the end.
//!
//! Owns: the judgement. Must not: trust a core's word: it looks at what arrived at the models. Promises: the first violation is kept,
//! as a sentence.

use crate::{
    agent::{Agent, Stopped},
    cloud::{Cloud, lets_in},
    moment::{Millis, seconds},
    schedule::LONGEST_LAG,
    wire::Arrival,
};
use digitalocean::FirewallSpec;
use model::{EnvironmentId, InstallationId, IntentId, tags};
use std::collections::{BTreeMap, BTreeSet};

/// For how long nobody need know of a droplet whose create arrived late: DigitalOcean may hide it, and a pass that has just listed
/// has some requests to make until it creates.
const LATE_IS_HIDDEN: Millis = LONGEST_LAG + seconds(30);

/// See the module.
#[derive(Debug, Default)]
pub struct Invariants {
    violation: Option<String>,
    /// Intents that a droplet was made for.
    made: BTreeSet<IntentId>,
    /// Those of them whose create arrived late, and when.
    late: BTreeMap<IntentId, Millis>,
    /// Ports of droplets that an update opened that arrived late.
    opened_late: BTreeSet<(u64, u16)>,
    /// Effects that change something outside or announce it: what the last passes of a story must not have.
    pub effects: u64,
    /// Creates that arrived while another droplet was still there, ports that were opened for a tool that was stopped meanwhile, and
    /// what others did before they could see one or the other: because the process that sent them had been stopped in the middle
    /// of it.
    pub excused: u64,
}

impl Invariants {
    /// Notes that something that must not happen has happened.
    pub fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The first thing that must not happen and did.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// A create is about to have its effect. `agents` are those of all droplets that were ever made for us, whatever their tags say now.
    pub fn creating(
        &mut self,
        now: Millis,
        cloud: &Cloud,
        agents: &BTreeMap<u64, Agent>,
        (id, intent): (EnvironmentId, IntentId),
        arrival: &Arrival,
    ) {
        if !self.made.insert(intent) {
            self.violated(format!("two droplets are made for intent {intent}"));
        }
        if arrival.late {
            self.late.insert(intent, now);
        }
        let made = agents.values().filter(|agent| agent.environment == id);
        let lives = |agent: &&Agent| cloud.droplets.get(&agent.droplet).is_some_and(|real| real.lives(now));
        let (unseen, others): (Vec<&Agent>, Vec<&Agent>) = made.filter(lives).partition(|agent| {
            let arrived = self.late.get(&agent.intent);
            arrived.is_some_and(|arrived| now < arrived + LATE_IS_HIDDEN)
        });
        // Nothing can call a request back that a stopped process had begun to send, and nobody waits for it any more. What is one
        // too many is removed again.
        if !others.is_empty() && !arrival.late {
            let others: Vec<u64> = others.iter().map(|agent| agent.droplet).collect();
            return self.violated(format!("a droplet is made for environment {id} while {others:?} is there"));
        }
        if !(unseen.is_empty() && others.is_empty()) {
            self.excused += 1;
        }
    }

    /// A delete is about to have its effect. `checked`: the droplets that the process that sends it has seen our tags on.
    pub fn deleting(&mut self, cloud: &Cloud, installation: &InstallationId, droplet: u64, checked: &BTreeSet<u64>) {
        if !checked.contains(&droplet) {
            self.violated(format!("droplet {droplet} is deleted, and its tags were not seen to be ours"));
        }
        self.touching(cloud, installation, droplet);
    }

    /// Something is about to be done to a droplet.
    pub fn touching(&mut self, cloud: &Cloud, installation: &InstallationId, droplet: u64) {
        let Some(real) = cloud.droplets.get(&droplet) else { return };
        let carried = real.shown.tags.iter().map(String::as_str);
        let ours = tags::installation(installation);
        let foreign = carried
            .clone()
            .any(|tag| tag.starts_with("toolplane:installation:") && tag != ours);
        if foreign {
            self.violated(format!("droplet {droplet} is another installation's, and was touched"));
        }
    }

    /// A firewall of this name is about to be changed.
    pub fn touching_firewall(&mut self, installation: &InstallationId, name: &str) {
        if fleet::names::owner(installation, name).is_none() {
            self.violated(format!("firewall {name} is none of ours, and was touched"));
        }
    }

    /// A firewall was changed to this: no port may be open whose tool has not been ready on the droplet.
    pub fn opened(
        &mut self,
        (cloud, now): (&Cloud, Millis),
        agent: &Agent,
        before: &BTreeSet<u16>,
        spec: &FirewallSpec,
        arrival: &Arrival,
    ) {
        let open = open_ports(cloud, now, agent.droplet);
        if arrival.late {
            let opened = open.difference(before).map(|port| (agent.droplet, *port));
            self.opened_late.extend(opened);
        } else {
            // What this leaves out closes soon, and what it opens is on record.
            let droplet = agent.droplet;
            let lingers = |port: u16| open.contains(&port) && !lets_in(spec, port);
            self.opened_late.retain(|(on, port)| *on != droplet || lingers(*port));
        }
        let Some(port) = open.difference(before).find(|port| !agent.served.contains(port)) else {
            return;
        };
        // Like a create, an update that a stopped process had begun to send cannot be called back. The next pass closes it again.
        if arrival.late {
            self.excused += 1;
            return;
        }
        let droplet = agent.droplet;
        self.violated(format!(
            "port {port} of droplet {droplet} is opened before its tool was ready"
        ));
    }

    /// A tool is about to be stopped because that is wanted. `excused`: its port's closing was waited for until the deadline.
    pub fn stopping(&mut self, cloud: &Cloud, now: Millis, droplet: u64, stopped: Stopped, excused: bool) {
        let Stopped { instance, port } = stopped;
        if excused || !cloud.lets_in(now, droplet, port) {
            return;
        }
        if self.opened_late.contains(&(droplet, port)) {
            self.excused += 1;
            return;
        }
        self.violated(format!(
            "tool {instance} is stopped while port {port} of droplet {droplet} is open"
        ));
    }

    /// A report was kept.
    pub fn heard(&mut self, id: EnvironmentId, before: Option<Millis>, made_at: Millis) {
        if before.is_some_and(|before| before >= made_at) {
            self.violated(format!("a heartbeat of environment {id} replaced a later one"));
        }
    }

    /// A write came with a lease that is not held, and was taken.
    pub fn stale_write(&mut self) {
        self.violated("a write was taken under an epoch that is over".to_owned());
    }
}

/// The ports of a droplet that connections are let in to.
pub fn open_ports(cloud: &Cloud, now: Millis, droplet: u64) -> BTreeSet<u16> {
    (31_000..31_016).filter(|port| cloud.lets_in(now, droplet, *port)).collect()
}

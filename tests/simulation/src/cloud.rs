//! A model of DigitalOcean: droplets and firewalls, with what it hides, delays and loses.
//!
//! Owns: what really is there, beside what lists and reads show of it. Must not: know the control plane. Promises: what is new is
//! hidden, and what is gone is shown, for no longer than the lag; an established droplet is never missing from a `GET`; ids never
//! come twice.

use crate::{
    dice::Dice,
    moment::{Millis, seconds, timestamp},
    reconcilers::shown,
};
use digitalocean::{
    Droplet, DropletStatus, Firewall, FirewallSpec, Image, NetworkKind, NetworkV4, Networks, Ports, Protocol, Region,
};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A droplet with everything that DigitalOcean may hide.
#[derive(Clone, Debug)]
pub struct Real {
    /// As it is shown, once it is.
    pub shown: Droplet,
    /// Lists show it from then on.
    listed_from: Millis,
    /// `GET` knows it from then on.
    known_from: Millis,
    /// It becomes active then.
    active_at: Millis,
    /// It has its address then.
    address_at: Millis,
    /// It is busy until then.
    locked_until: Millis,
    /// It goes then: its delete was accepted, it was destroyed, or it never came to life.
    pub gone_at: Option<Millis>,
    /// Lists show it for so long after it went.
    farewell: Millis,
    /// The power is off from then on.
    pub off_from: Option<Millis>,
}

/// A firewall.
#[derive(Clone, Debug)]
pub struct Wall {
    /// What it is.
    pub spec: FirewallSpec,
    /// What it was, as long as that may be in force somewhere.
    before: Vec<FirewallSpec>,
    /// What it is is in force everywhere from then on.
    settles_at: Millis,
}

/// What can be ordered of a droplet's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Switch it on.
    On,
    /// Pull the plug.
    Off,
    /// Ask the operating system, which may not listen.
    Shutdown,
}

/// Why DigitalOcean did not do what was asked. In no case is there an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    NotFound,
    /// Busy with another event.
    Pending,
    /// No capacity, or the limit of droplets is reached.
    Capacity,
    /// The name is taken.
    Duplicate,
    /// The droplet is in no state for this.
    State,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cloud {
    /// By id, those that are gone too.
    pub droplets: BTreeMap<u64, Real>,
    /// By id.
    pub firewalls: BTreeMap<String, Wall>,
    /// When actions that are followed end.
    pub actions: BTreeMap<u64, Millis>,
    made: u64,
    /// The longest lag.
    pub lag: Millis,
    /// Until then every droplet is denied, in lists and by id.
    pub dark_until: Millis,
}

impl Real {
    /// Whether it is there: created, and not gone.
    pub fn lives(&self, now: Millis) -> bool {
        self.gone_at.is_none_or(|gone| now < gone)
    }

    /// Whether its machine runs.
    pub fn runs(&self, now: Millis) -> bool {
        self.lives(now) && !self.is_off(now) && now >= self.active_at
    }

    /// Whether its power is off.
    pub fn is_off(&self, now: Millis) -> bool {
        self.off_from.is_some_and(|from| now >= from)
    }

    /// As an answer that shows it says.
    fn answer(&self, now: Millis) -> Droplet {
        let status = if now < self.active_at {
            DropletStatus::New
        } else if self.is_off(now) {
            DropletStatus::Off
        } else {
            DropletStatus::Active
        };
        let mut shown = self.shown.clone();
        shown.status = status;
        shown.locked = now < self.locked_until.max(self.active_at);
        if now < self.address_at {
            shown.networks.v4.clear();
        }
        shown
    }

    /// Its address, once it has one.
    pub fn address(&self, now: Millis) -> Option<Ipv4Addr> {
        (now >= self.address_at).then(|| self.shown.public_ipv4()).flatten()
    }

    /// Whether it is busy with an event.
    pub fn is_busy(&self, now: Millis) -> bool {
        now < self.locked_until.max(self.active_at)
    }
}

impl Cloud {
    /// Nothing in it.
    pub fn new(lag: Millis) -> Self {
        Self { lag, ..Self::default() }
    }

    /// Makes a droplet. `vanishes`: it never comes to life.
    pub fn create(
        &mut self,
        now: Millis,
        dice: &mut Dice,
        name: String,
        tags: Vec<String>,
        size: &str,
        vanishes: bool,
    ) -> Droplet {
        self.made += 1;
        let id = 1000 + self.made;
        let octet = u8::try_from(self.made % 250).unwrap_or(0);
        let address = Ipv4Addr::new(203, 0, 113, octet);
        let shown = fresh(id, now, address, name, tags, size);
        let active_at = now + dice.between(seconds(5), seconds(40));
        let real = Real {
            shown,
            listed_from: now + dice.between(0, self.lag),
            known_from: now + dice.between(0, self.lag),
            active_at,
            address_at: active_at + dice.between(0, seconds(10)),
            locked_until: now,
            gone_at: vanishes.then(|| now + dice.between(0, seconds(30))),
            farewell: dice.between(0, self.lag),
            off_from: None,
        };
        let answer = real.answer(now);
        self.droplets.insert(id, real);
        answer
    }

    /// What a list by a tag shows.
    pub fn list(&self, now: Millis, tag: &str) -> Vec<Droplet> {
        let shown = |real: &&Real| {
            let gone_from_lists = real.gone_at.is_some_and(|gone| now >= gone + real.farewell);
            now >= self.dark_until
                && now >= real.listed_from
                && !gone_from_lists
                && real.shown.tags.iter().any(|carried| carried == tag)
        };
        self.droplets.values().filter(shown).map(|real| real.answer(now)).collect()
    }

    /// What a `GET` shows.
    pub fn get(&self, now: Millis, id: u64) -> Result<Droplet, Refusal> {
        let real = self
            .droplets
            .get(&id)
            .filter(|real| real.lives(now) && now >= real.known_from && now >= self.dark_until);
        real.map(|real| real.answer(now)).ok_or(Refusal::NotFound)
    }

    /// Accepts a delete; the droplet lives on for a while.
    pub fn delete(&mut self, now: Millis, dice: &mut Dice, id: u64) -> Result<(), Refusal> {
        let lag = self.lag;
        let real = self.droplets.get_mut(&id).filter(|real| real.lives(now));
        let real = real.ok_or(Refusal::NotFound)?;
        if real.is_busy(now) && dice.permille(300) {
            return Err(Refusal::Pending);
        }
        let leaves = now + dice.between(0, lag.max(seconds(2)));
        real.gone_at = Some(real.gone_at.map_or(leaves, |gone| gone.min(leaves)));
        Ok(())
    }

    /// The droplet to act upon, when it is there and not busy.
    pub fn actable(&mut self, now: Millis, id: u64) -> Result<&mut Real, Refusal> {
        let real = self.droplets.get_mut(&id).filter(|real| real.lives(now));
        let real = real.ok_or(Refusal::NotFound)?;
        if real.is_busy(now) { Err(Refusal::Pending) } else { Ok(real) }
    }

    /// Orders something of a droplet's power.
    pub fn power(&mut self, now: Millis, dice: &mut Dice, id: u64, power: Power) -> Result<(), Refusal> {
        let real = self.actable(now, id)?;
        let takes = dice.between(seconds(1), seconds(6));
        match power {
            Power::On => real.off_from = None,
            Power::Off => real.off_from = Some(now),
            Power::Shutdown if dice.permille(250) => {}
            Power::Shutdown => real.off_from = Some(real.off_from.unwrap_or(now + takes)),
        }
        real.locked_until = now + takes;
        Ok(())
    }

    /// Gives a droplet that is off another size; returns the action to follow.
    pub fn resize(&mut self, now: Millis, id: u64, size: &str, with_disk: bool) -> Result<u64, Refusal> {
        let real = self.actable(now, id)?;
        if !real.is_off(now) {
            return Err(Refusal::State);
        }
        size.clone_into(&mut real.shown.size_slug);
        if with_disk {
            real.shown.disk = real.shown.disk.max(disk(size));
        }
        real.locked_until = now + seconds(20);
        let ends = real.locked_until;
        self.made += 1;
        self.actions.insert(self.made, ends);
        Ok(self.made)
    }

    /// Destroys a droplet at once, as somebody in the console would.
    pub fn destroy(&mut self, now: Millis, id: u64) {
        if let Some(real) = self.droplets.get_mut(&id).filter(|real| real.lives(now)) {
            real.gone_at = Some(now);
        }
    }

    /// The firewall of a name.
    pub fn firewall(&self, name: &str) -> Option<(&String, &Wall)> {
        self.firewalls.iter().find(|(_, wall)| wall.spec.name == name)
    }

    /// What a `GET` of a firewall shows.
    pub fn firewall_get(&self, now: Millis, id: &str) -> Option<Firewall> {
        self.firewalls.get(id).map(|wall| self.answer(now, id, wall))
    }

    /// What a list of all firewalls shows.
    pub fn firewall_list(&self, now: Millis) -> Vec<Firewall> {
        self.firewalls.iter().map(|(id, wall)| self.answer(now, id, wall)).collect()
    }

    /// The firewalls of a droplet, if that is there.
    pub fn firewalls_of(&self, now: Millis, droplet: u64) -> Result<Vec<Firewall>, Refusal> {
        self.get(now, droplet)?;
        let applying = self
            .firewalls
            .iter()
            .filter(|(_, wall)| wall.spec.droplet_ids.contains(&droplet));
        Ok(applying.map(|(id, wall)| self.answer(now, id, wall)).collect())
    }

    /// Droplets that are gone are gone from firewalls too.
    fn answer(&self, now: Millis, id: &str, wall: &Wall) -> Firewall {
        let mut spec = wall.spec.clone();
        spec.droplet_ids
            .retain(|droplet| self.droplets.get(droplet).is_some_and(|real| real.lives(now)));
        shown(id, &spec, now >= wall.settles_at)
    }

    fn takes(&self, now: Millis, spec: &FirewallSpec) -> bool {
        let lives = |droplet: &u64| self.droplets.get(droplet).is_some_and(|real| real.lives(now));
        spec.droplet_ids.iter().all(lives)
    }

    /// Makes a firewall. Names are unique, and droplets have to be there.
    pub fn firewall_create(&mut self, now: Millis, dice: &mut Dice, spec: FirewallSpec) -> Result<String, Refusal> {
        if self.firewall(&spec.name).is_some() {
            return Err(Refusal::Duplicate);
        }
        if !self.takes(now, &spec) {
            return Err(Refusal::State);
        }
        self.made += 1;
        let id = format!("firewall-{}", self.made);
        let wall = Wall {
            spec,
            before: Vec::new(),
            settles_at: now + dice.between(0, seconds(4)),
        };
        self.firewalls.insert(id.clone(), wall);
        Ok(id)
    }

    /// Replaces all that a firewall is. Until that is in force everywhere, what was may be in force too. Returns whether it is.
    pub fn firewall_update(&mut self, now: Millis, dice: &mut Dice, id: &str, spec: FirewallSpec) -> Result<bool, Refusal> {
        if !self.takes(now, &spec) {
            return Err(Refusal::State);
        }
        let wall = self.firewalls.get_mut(id).ok_or(Refusal::NotFound)?;
        if now >= wall.settles_at {
            wall.before.clear();
        }
        let before = std::mem::replace(&mut wall.spec, spec);
        wall.before.push(before);
        wall.settles_at = now + dice.between(0, seconds(4));
        Ok(now >= wall.settles_at)
    }

    /// Whether a firewall may let connections to this port of a droplet in.
    pub fn lets_in(&self, now: Millis, droplet: u64, port: u16) -> bool {
        let in_force = self.firewalls.values().flat_map(|wall| {
            let before = wall.before.iter().filter(|_| now < wall.settles_at);
            before.chain([&wall.spec])
        });
        in_force
            .filter(|spec| spec.droplet_ids.contains(&droplet))
            .any(|spec| lets_in(spec, port))
    }
}

/// Whether a firewall lets connections to this port in, where it applies and is in force.
pub fn lets_in(spec: &FirewallSpec, port: u16) -> bool {
    let opens = |ports: &Ports| match ports {
        Ports::All => true,
        Ports::One(one) => *one == port,
        Ports::Range(low, high) => (*low..=*high).contains(&port),
        Ports::Unknown(_) => false,
    };
    let mut rules = spec.inbound_rules.iter();
    rules.any(|rule| rule.protocol == Protocol::Tcp && opens(&rule.ports))
}

/// The disk that comes with a size, in GiB.
fn disk(size: &str) -> u64 {
    match size {
        "s-1vcpu-1gb" => 25,
        "s-1vcpu-2gb" => 50,
        _ => 80,
    }
}

/// A droplet that was just made, as it is shown once it has its address.
fn fresh(id: u64, now: Millis, address: Ipv4Addr, name: String, tags: Vec<String>, size: &str) -> Droplet {
    let public = NetworkV4 {
        ip_address: address,
        kind: NetworkKind::Public,
    };
    Droplet {
        id,
        name,
        status: DropletStatus::New,
        locked: false,
        memory: 1024,
        vcpus: 1,
        disk: disk(size),
        created_at: timestamp(now),
        image: Image {
            id: 1,
            slug: Some("ubuntu-22-04-x64".to_owned()),
            name: String::new(),
            distribution: String::new(),
            regions: Vec::new(),
            min_disk_size: None,
            status: "available".to_owned(),
        },
        size_slug: size.to_owned(),
        networks: Networks { v4: vec![public] },
        region: Region {
            slug: "nyc3".to_owned(),
            name: String::new(),
            available: true,
            sizes: Vec::new(),
            features: Vec::new(),
        },
        tags,
        vpc_uuid: None,
    }
}

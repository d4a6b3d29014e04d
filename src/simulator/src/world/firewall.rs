//! Firewalls: what one must look like, to which droplets it applies, and when it is in force.
//!
//! A change counts as applied when the [`Applied`] that it led to is reported back; until then the rules from before it are in force.

mod force;
mod passage;
mod request;
mod rule;
mod store;

pub use passage::{Connection, Passage, Protocol};
pub(crate) use request::{Droplets, FirewallRequest, Rules, Tags};
pub(crate) use store::Firewalls;

use super::{World, droplet::Droplet, now};
use crate::{page::Paging, problem::Problem};
use force::Force;
use jiff::Timestamp;
use rule::Rule;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use store::Concern;
use uuid::Uuid;

const DROPLETS_LIMIT: usize = 10;
const TAGS_LIMIT: usize = 5;
const RULES_LIMIT: usize = 50;

/// A firewall.
#[derive(Clone, Debug)]
pub(crate) struct Firewall {
    id: Uuid,
    created_at: Timestamp,
    parts: Parts,
    /// The droplets that it applies to, or is about to.
    targets: BTreeSet<u64>,
    /// What of it is in force, and what is on its way.
    force: Force,
    /// What it is found by when a droplet or a tag changes.
    concerns: BTreeSet<Concern>,
}

/// What a request can set.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parts {
    name: String,
    inbound: Vec<Rule>,
    outbound: Vec<Rule>,
    droplet_ids: Vec<u64>,
    tags: Vec<String>,
}

/// A change that is to be reported back with [`World::firewall_applied`] once it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) firewall: Uuid,
    revision: u64,
}

impl Firewall {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.parts.name
    }

    pub(crate) fn tags(&self) -> &[String] {
        &self.parts.tags
    }

    /// What lists show of it later on: its parts. How far they were in force then is not remembered.
    fn portrait(&self) -> Self {
        Self {
            id: self.id,
            created_at: self.created_at,
            parts: self.parts.clone(),
            targets: BTreeSet::new(),
            force: Force::default(),
            concerns: BTreeSet::new(),
        }
    }

    /// Everything whose change it may have to follow.
    fn look_up_concerns(&self) -> BTreeSet<Concern> {
        let peers = || self.parts.inbound.iter().chain(&self.parts.outbound).map(|rule| &rule.peers);
        let droplets = self.parts.droplet_ids.iter().chain(&self.targets);
        let droplets = droplets.chain(peers().flat_map(|peers| &peers.droplet_ids));
        let tags = self.parts.tags.iter().chain(peers().flat_map(|peers| &peers.tags));
        let droplets = droplets.copied().map(Concern::Droplet);
        droplets.chain(tags.cloned().map(Concern::Tag)).collect()
    }

    pub(crate) fn applies_to(&self, droplet: &Droplet) -> bool {
        self.parts.droplet_ids.contains(&droplet.id) || self.parts.tags.iter().any(|tag| droplet.has_tag(tag))
    }

    pub(crate) fn forget_droplet(&mut self, id: u64) {
        self.parts.droplet_ids.retain(|known| *known != id);
        self.targets.remove(&id);
        self.force.forget(id);
        for rule in self.parts.inbound.iter_mut().chain(&mut self.parts.outbound) {
            rule.peers.droplet_ids.retain(|known| *known != id);
        }
    }

    pub(crate) fn forget_tag(&mut self, tag: &str) {
        self.parts.tags.retain(|known| known != tag);
        for rule in self.parts.inbound.iter_mut().chain(&mut self.parts.outbound) {
            rule.peers.tags.retain(|known| known != tag);
        }
    }

    pub(crate) fn view(&self) -> Value {
        let pending = self.force.pending();
        let pending: Vec<Value> = pending
            .iter()
            .map(|(id, removing)| json!({"droplet_id": id, "removing": removing, "status": "waiting"}))
            .collect();
        let rules = |rules: &[Rule], side: &str| rules.iter().map(|rule| rule.view(side)).collect::<Vec<_>>();
        json!({
            "id": self.id,
            "name": self.parts.name,
            "status": if self.force.is_waiting() { "waiting" } else { "succeeded" },
            "inbound_rules": rules(&self.parts.inbound, "sources"),
            "outbound_rules": rules(&self.parts.outbound, "destinations"),
            "created_at": self.created_at,
            "droplet_ids": self.parts.droplet_ids,
            "tags": self.parts.tags,
            "pending_changes": pending,
        })
    }

    /// A change that concerns these droplets has begun.
    fn touch(&mut self, pending: impl IntoIterator<Item = (u64, bool)>) -> Applied {
        Applied {
            firewall: self.id,
            revision: self.force.send(&self.parts.inbound, pending),
        }
    }
}

impl World {
    pub(crate) fn firewall(&self, id: &str) -> Result<&Firewall, Problem> {
        let id: Option<Uuid> = id.parse().ok();
        id.and_then(|id| self.firewalls.get(id)).ok_or_else(Problem::not_found)
    }

    /// `GET /v2/firewalls`: as it was a list lag ago, or as long ago as a fault says.
    pub(crate) fn firewall_list(&self, paging: &Paging, stale: Option<Duration>) -> Value {
        let lag = stale.unwrap_or_else(|| self.settings.get().firewall_list_lag());
        paging.answer("firewalls", self.firewalls.ago(lag), Firewall::view)
    }

    pub(crate) fn firewall_create(&mut self, request: FirewallRequest) -> Result<(Value, Applied), Problem> {
        let parts = self.firewall_check(request.parts()?, None)?;
        let firewall = Firewall {
            id: Uuid::new_v4(),
            created_at: now(),
            parts,
            targets: BTreeSet::new(),
            force: Force::default(),
            concerns: BTreeSet::new(),
        };
        let id = firewall.id;
        self.firewalls.insert(firewall);
        self.firewall_changed(id)
    }

    /// Makes a firewall that is in force already, and gives its id.
    pub(crate) fn firewall_seed(&mut self, request: FirewallRequest) -> Result<String, Problem> {
        let (_, applied) = self.firewall_create(request)?;
        self.firewall_applied(applied);
        Ok(applied.firewall.to_string())
    }

    pub(crate) fn firewall_update(&mut self, id: &str, request: FirewallRequest) -> Result<(Value, Applied), Problem> {
        let id = self.firewall(id)?.id;
        let parts = request.parts()?;
        self.firewall_replace(id, parts)
    }

    /// Nobody sees it any more, but what is in force of it stays so until the droplets have learned of it.
    pub(crate) fn firewall_delete(&mut self, id: &str) -> Result<Applied, Problem> {
        let id = self.firewall(id)?.id;
        let mut firewall = self.firewalls.remove(id).ok_or_else(Problem::not_found)?;
        let targets = std::mem::take(&mut firewall.targets);
        let applied = firewall.touch(targets.into_iter().map(|droplet| (droplet, true)));
        self.firewalls.dissolve(firewall);
        Ok(applied)
    }

    pub(crate) fn firewall_droplets_add(&mut self, id: &str, change: Droplets) -> Result<(Value, Applied), Problem> {
        let (id, mut parts) = self.firewall_parts(id)?;
        for droplet in change.droplet_ids.unwrap_or_default() {
            if !parts.droplet_ids.contains(&droplet) {
                parts.droplet_ids.push(droplet);
            }
        }
        self.firewall_replace(id, parts)
    }

    pub(crate) fn firewall_droplets_remove(&mut self, id: &str, change: Droplets) -> Result<(Value, Applied), Problem> {
        let (id, mut parts) = self.firewall_parts(id)?;
        let leaving = change.droplet_ids.unwrap_or_default();
        parts.droplet_ids.retain(|droplet| !leaving.contains(droplet));
        self.firewall_replace(id, parts)
    }

    pub(crate) fn firewall_tags_add(&mut self, id: &str, change: Tags) -> Result<(Value, Applied), Problem> {
        let (id, mut parts) = self.firewall_parts(id)?;
        for tag in change.tags.unwrap_or_default() {
            if !parts.tags.contains(&tag) {
                parts.tags.push(tag);
            }
        }
        self.firewall_replace(id, parts)
    }

    pub(crate) fn firewall_tags_remove(&mut self, id: &str, change: Tags) -> Result<(Value, Applied), Problem> {
        let (id, mut parts) = self.firewall_parts(id)?;
        let leaving = change.tags.unwrap_or_default();
        parts.tags.retain(|tag| !leaving.contains(tag));
        self.firewall_replace(id, parts)
    }

    pub(crate) fn firewall_rules_add(&mut self, id: &str, change: Rules) -> Result<(Value, Applied), Problem> {
        let (id, mut parts) = self.firewall_parts(id)?;
        let (inbound, outbound) = change.rules()?;
        let fresh =
            |known: &[Rule], new: Vec<Rule>| -> Vec<Rule> { new.into_iter().filter(|rule| !known.contains(rule)).collect() };
        let (inbound, outbound) = (fresh(&parts.inbound, inbound), fresh(&parts.outbound, outbound));
        parts.inbound.extend(inbound);
        parts.outbound.extend(outbound);
        self.firewall_replace(id, parts)
    }

    pub(crate) fn firewall_rules_remove(&mut self, id: &str, change: Rules) -> Result<(Value, Applied), Problem> {
        let (id, mut parts) = self.firewall_parts(id)?;
        let (inbound, outbound) = change.rules()?;
        parts.inbound.retain(|rule| !inbound.contains(rule));
        parts.outbound.retain(|rule| !outbound.contains(rule));
        self.firewall_replace(id, parts)
    }

    /// A change is in force everywhere.
    pub(crate) fn firewall_applied(&mut self, applied: Applied) {
        self.firewalls.arrive(applied.firewall, applied.revision);
    }

    /// A droplet's tags changed: firewalls take it in or let it go.
    pub(crate) fn firewalls_follow(&mut self, id: u64) -> Vec<Applied> {
        let Some(droplet) = self.droplets.get(id) else {
            return Vec::new();
        };
        let follow = |firewall: &mut Firewall| {
            let applies = firewall.applies_to(droplet);
            let changes = if applies {
                firewall.targets.insert(id)
            } else {
                firewall.targets.remove(&id)
            };
            changes.then(|| firewall.touch([(id, !applies)]))
        };
        let candidates = self.firewalls.candidates(droplet).into_iter();
        candidates
            .filter_map(|firewall| self.firewalls.follow(firewall, id, follow))
            .collect()
    }

    fn firewall_parts(&self, id: &str) -> Result<(Uuid, Parts), Problem> {
        let firewall = self.firewall(id)?;
        Ok((firewall.id, firewall.parts.clone()))
    }

    fn firewall_replace(&mut self, id: Uuid, parts: Parts) -> Result<(Value, Applied), Problem> {
        let parts = self.firewall_check(parts, Some(id))?;
        let changed = self.firewalls.change(id, |firewall| firewall.parts = parts);
        changed.ok_or_else(Problem::not_found)?;
        self.firewall_changed(id)
    }

    /// A firewall's parts changed: every droplet that it applied to or applies to has to learn of it.
    fn firewall_changed(&mut self, id: Uuid) -> Result<(Value, Applied), Problem> {
        let firewall = self.firewalls.get(id).ok_or_else(Problem::not_found)?;
        let tagged = firewall.parts.tags.iter().flat_map(|tag| self.droplets.tagged(tag));
        let named = firewall.parts.droplet_ids.iter().filter_map(|id| self.droplets.get(*id));
        let targets: BTreeSet<u64> = tagged.chain(named).map(|droplet| droplet.id).collect();
        let leaving: Vec<_> = firewall.targets.difference(&targets).map(|id| (*id, true)).collect();
        let pending: Vec<_> = targets.iter().map(|id| (*id, false)).chain(leaving).collect();
        let touched = self.firewalls.retarget(id, targets, |firewall| {
            let applied = firewall.touch(pending);
            (json!({"firewall": firewall.view()}), applied)
        });
        touched.ok_or_else(Problem::not_found)
    }

    /// The rules about firewalls that need to know the account.
    fn firewall_check(&self, parts: Parts, replaced: Option<Uuid>) -> Result<Parts, Problem> {
        let refused = |message: String| Err(Problem::unprocessable(&message));
        let namesake = self.firewalls.named(&parts.name);
        if namesake.is_some() && namesake != replaced {
            return Err(Problem::conflict("duplicate name"));
        }
        if parts.inbound.is_empty() && parts.outbound.is_empty() {
            return refused("a firewall must have at least one rule".to_owned());
        }
        for (what, count, limit) in [
            ("droplets", parts.droplet_ids.len(), DROPLETS_LIMIT),
            ("tags", parts.tags.len(), TAGS_LIMIT),
            ("rules", parts.inbound.len() + parts.outbound.len(), RULES_LIMIT),
        ] {
            if count > limit {
                return refused(format!("a firewall can have at most {limit} {what}"));
            }
        }
        let peers = || parts.inbound.iter().chain(&parts.outbound).map(|rule| &rule.peers);
        let tags = parts.tags.iter().chain(peers().flat_map(|peers| &peers.tags));
        if let Some(tag) = tags.into_iter().find(|tag| !self.tags.contains(*tag)) {
            return refused(format!("tag {tag} does not exist"));
        }
        let droplets = parts.droplet_ids.iter().chain(peers().flat_map(|peers| &peers.droplet_ids));
        if let Some(id) = droplets.into_iter().find(|id| !self.droplets.contains(**id)) {
            return refused(format!("droplet_ids: droplet {id} does not exist"));
        }
        Ok(parts)
    }
}

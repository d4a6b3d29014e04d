//! Droplets: what a create must look like, what is shown of them and when, how they go.

mod create;
mod seed;
mod store;

pub(crate) use create::{Create, Created, check_name};
pub(crate) use store::Droplets;

use super::{World, catalog::Image, firewall::Applied};
use crate::{page::Paging, problem::Problem};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// Where a droplet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    New,
    Active,
    Off,
}

/// A droplet.
#[derive(Clone, Debug)]
pub(crate) struct Droplet {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) size: String,
    pub(crate) memory: u64,
    pub(crate) vcpus: u32,
    pub(crate) disk: u64,
    pub(crate) image: Arc<Image>,
    pub(crate) region: String,
    pub(crate) tags: Vec<String>,
    pub(crate) status: Status,
    pub(crate) created_at: Timestamp,
    pub(crate) created: Instant,
    pub(crate) features: Vec<String>,
    pub(crate) user_data: Option<Arc<str>>,
    pub(crate) vpc: Uuid,
    pub(crate) address: Ipv4Addr,
    /// It has its addresses once it is active, or a while later.
    pub(crate) addressed: bool,
    /// What faults have made of its create.
    pub(crate) fate: Fate,
    pub(crate) snapshot_ids: Vec<u64>,
    /// The action that is being carried out; others are refused.
    pub(crate) event: Option<u64>,
    /// Its delete was taken.
    pub(crate) destroying: bool,
    /// `None` is the default project.
    pub(crate) project: Option<Uuid>,
}

/// What faults make of a create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// It comes to nothing, this long after the answer.
    pub(crate) vanish: Option<Duration>,
    /// For how long its GET answers 404, beyond what the settings say.
    pub(crate) hidden: Duration,
    /// How long it is active before it has its addresses; the settings say when absent.
    pub(crate) addressless: Option<Duration>,
}

/// The loopback address of a droplet: one of its own, and never in 127.0.0.0/24 or 127.0.x.y at all.
///
/// Sixteen million consecutive ids have different ones.
pub(crate) fn address_of(id: u64) -> Ipv4Addr {
    let octet = |digit: u64| u8::try_from(digit % 254 + 1).unwrap_or(1);
    Ipv4Addr::new(127, octet(id / 254 / 254), octet(id / 254), octet(id))
}

impl Droplet {
    pub(crate) fn has_tag(&self, name: &str) -> bool {
        self.tags.iter().any(|tag| tag == name)
    }

    /// Whether a GET finds it, where the settings hide new droplets for a while.
    fn is_visible(&self, hidden: Duration) -> bool {
        let hidden = hidden.max(self.fate.hidden);
        hidden.is_zero() || self.created.elapsed() >= hidden
    }

    /// Its address in the VPC.
    pub(crate) fn private_address(&self) -> Ipv4Addr {
        let [_, a, b, c] = self.address.octets();
        Ipv4Addr::new(10, a, b, c)
    }

    fn networks(&self) -> Value {
        if !self.addressed {
            return json!({"v4": [], "v6": []});
        }
        let [_, a, b, _] = self.address.octets();
        let mut networks = json!({
            "v4": [
                {"ip_address": self.private_address(), "netmask": "255.255.240.0", "gateway": format!("10.{a}.0.1"), "type": "private"},
                {"ip_address": self.address, "netmask": "255.255.255.0", "gateway": format!("127.{a}.{b}.1"), "type": "public"},
            ],
            "v6": [],
        });
        if self.features.iter().any(|feature| feature == "ipv6") {
            let address = format!("2001:db8::{:x}:{:x}", self.id >> 16 & 0xffff, self.id & 0xffff);
            networks["v6"] = json!([{"ip_address": address, "netmask": 64, "gateway": "2001:db8::1", "type": "public"}]);
        }
        networks
    }
}

impl World {
    /// A droplet that can be seen by its id.
    pub(crate) fn droplet(&self, id: u64) -> Result<&Droplet, Problem> {
        let hidden = self.settings.get().hide_after_create();
        let visible = |droplet: &&Droplet| droplet.is_visible(hidden);
        self.droplets.get(id).filter(visible).ok_or_else(Problem::not_found)
    }

    /// `GET /v2/droplets`: as it was a list lag ago, or as long ago as a fault says.
    pub(crate) fn droplet_list(&self, paging: &Paging, stale: Option<Duration>) -> Result<Value, Problem> {
        let (tag, name, kind) = (
            paging.parameter("tag_name"),
            paging.parameter("name"),
            paging.parameter("type"),
        );
        if tag.is_some() && (name.is_some() || kind.is_some()) {
            return Err(Problem::unprocessable("tag_name cannot be combined with name or type"));
        }
        let settings = self.settings.get();
        let (lag, hidden) = (stale.unwrap_or_else(|| settings.list_lag()), settings.hide_after_create());
        let all = match &tag {
            Some(tag) if lag.is_zero() => self.droplets.tagged(tag).collect(),
            Some(_) | None => self.droplets.ago(lag),
        };
        let wanted = move |droplet: &&Droplet| {
            tag.as_deref().is_none_or(|tag| droplet.has_tag(tag))
                && name.as_deref().is_none_or(|name| droplet.name.eq_ignore_ascii_case(name))
                && kind.as_deref().is_none_or(|kind| kind == "droplets")
                && droplet.is_visible(hidden)
        };
        let listed = all.into_iter().filter(wanted);
        Ok(paging.answer("droplets", listed, |droplet| self.droplet_view(droplet)))
    }

    /// What the API shows of a droplet.
    pub(crate) fn droplet_view(&self, droplet: &Droplet) -> Value {
        json!({
            "id": droplet.id,
            "name": droplet.name,
            "memory": droplet.memory,
            "vcpus": droplet.vcpus,
            "disk": droplet.disk,
            "disk_info": [{"type": "local", "size": {"amount": droplet.disk, "unit": "gib"}}],
            "locked": droplet.destroying || (droplet.event.is_some() && droplet.status != Status::New),
            "status": droplet.status,
            "kernel": null,
            "created_at": droplet.created_at,
            "features": droplet.features,
            "backup_ids": [],
            "next_backup_window": null,
            "snapshot_ids": droplet.snapshot_ids,
            "image": droplet.image,
            "volume_ids": [],
            "size": self.catalog.size(&droplet.size),
            "size_slug": droplet.size,
            "networks": droplet.networks(),
            "region": self.catalog.region(&droplet.region),
            "tags": droplet.tags,
            "vpc_uuid": droplet.vpc,
        })
    }

    /// Takes a delete. Whether it is the first one.
    pub(crate) fn droplet_delete(&mut self, id: u64) -> Result<bool, Problem> {
        self.droplet(id)?;
        let was = self
            .droplets
            .change(id, |droplet| std::mem::replace(&mut droplet.destroying, true));
        was.map(|destroying| !destroying).ok_or_else(Problem::not_found)
    }

    /// Takes the delete of every droplet with a tag.
    pub(crate) fn droplet_delete_tagged(&mut self, tag: &str) -> Result<Vec<u64>, Problem> {
        if !self.tags.contains(tag) {
            return Err(Problem::not_found());
        }
        let living = self.droplets.tagged(tag).filter(|droplet| !droplet.destroying);
        let ids: Vec<u64> = living.map(|droplet| droplet.id).collect();
        for id in &ids {
            self.droplets.change(*id, |droplet| droplet.destroying = true);
        }
        Ok(ids)
    }

    /// The machine runs, and its create has ended. Nothing happens when it was deleted in the meantime.
    pub(crate) fn droplet_active(&mut self, id: u64) -> Option<Droplet> {
        let lives = |droplet: &&Droplet| droplet.status == Status::New && !droplet.destroying && droplet.fate.vanish.is_none();
        self.droplets.get(id).filter(lives)?;
        let addressless = self.settings.get().addressless();
        let active = self.droplets.change(id, |droplet| {
            droplet.status = Status::Active;
            droplet.addressed = droplet.fate.addressless.unwrap_or(addressless).is_zero();
            droplet.clone()
        })?;
        if let Some(event) = active.event {
            self.action_end(event, true);
        }
        Some(active)
    }

    /// A droplet that has been active for a while has its addresses.
    pub(crate) fn droplet_addressed(&mut self, id: u64) {
        self.droplets.change(id, |droplet| droplet.addressed = true);
    }

    /// The machine is no more. What pointed at it forgets it, and what was being done to it has failed.
    pub(crate) fn droplet_gone(&mut self, id: u64) {
        let Some(droplet) = self.droplets.remove(id) else { return };
        if let Some(event) = droplet.event {
            self.action_end(event, false);
        }
        self.firewalls.forget_droplet(id);
    }

    /// A create comes to nothing: as if there had never been a droplet. Its action goes on until somebody ends it.
    pub(crate) fn droplet_vanish(&mut self, id: u64) -> bool {
        self.firewalls.forget_droplet(id);
        self.droplets.erase(id).is_some()
    }

    /// The live droplets that share a tag with this prefix with another one: tag and ids.
    pub(crate) fn twins(&self, prefix: &str, of: u64) -> Vec<(String, Vec<u64>)> {
        let Some(droplet) = self.droplets.get(of) else {
            return Vec::new();
        };
        let watched = droplet.tags.iter().filter(|tag| tag.starts_with(prefix));
        let sharing = |tag: &String| (tag.clone(), self.droplets.tagged_ids(tag));
        watched.map(sharing).filter(|(_, ids)| ids.len() > 1).collect()
    }

    /// Firewalls follow a droplet's tags.
    pub(crate) fn droplet_tags_changed(&mut self, ids: &[u64]) -> Vec<Applied> {
        ids.iter().flat_map(|id| self.firewalls_follow(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn addresses_are_loopback_their_own_and_never_127_0() {
        let addresses: HashSet<Ipv4Addr> = (386_000_000..386_100_000).map(address_of).collect();
        assert_eq!(addresses.len(), 100_000);
        assert!(
            addresses
                .iter()
                .all(|address| address.is_loopback() && address.octets()[1] != 0)
        );
    }
}

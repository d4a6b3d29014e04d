//! A model of Postgres with the rules of `schema`: the same compare-and-set, the same fencing, the same triggers, one statement at a
//! time. `schema`'s own tests and the crash tests run the real one.
//!
//! Owns: the rows. Must not: know who asks, beyond the fence that is shown. Promises: each method does what its counterpart does, and
//! nothing else:
//!
//! | here | `schema` |
//! |---|---|
//! | [`Database::lease_hold`], [`Database::lease_release`] | `lease_hold`, `lease_release` |
//! | [`Database::fleet_sweep_get`], [`Database::fleet_publish`], [`Database::fleet_load`], ... | the same |
//! | `Database::held` | `Database::fenced`, and the `with fence as` of single statements |
//! | [`Database::record`] | `record_get`, the view `toolplane.environment_records` |
//! | [`Database::environment_status_write`], [`Database::instance_status_write`] | the same |
//! | [`Database::intent_announce`], [`Database::intent_droplet`], [`Database::intent_resolve`], [`Database::intent_standing`] | the same |
//! | [`Database::intent_enrol`] | `intent_for_enrolment` and `intent_enrol` |
//! | [`Database::desired_set_store`] | `desired_set_store` |
//! | [`Database::heartbeat_record`] | `heartbeat_record` (`agents/heartbeat_record.sql`) |
//! | [`Database::tombstone_finish`], [`Database::tombstone_droplet_gone`] | the same |
//! | [`Database::firewall_announce`], [`Database::firewall_settle`], [`Database::firewall_close`], ... | the same |
//! | [`Database::specify`], [`Database::specify_instance`] | users' updates, the triggers `c_generation` |
//! | [`Database::request_status`] | the trigger `a_status_guard` |
//! | [`Database::delete_row`] | `delete`, the trigger `leave_tombstone` |

mod firewalls;
mod fleet;
mod heartbeats;
mod intents;
mod leases;
mod users;

pub use fleet::Published;
pub use heartbeats::{Heartbeat, ReportRow};
pub use intents::IntentRow;
pub use leases::{Lease, Renewed};

use crate::moment::{Millis, timestamp};
use model::{
    CatalogEntry, CatalogId, DesiredSet, DropletId, Environment, EnvironmentId, EnvironmentRecord, EnvironmentStatus, Instance,
    InstanceId, InstanceStatus, RecordedFirewall, Stamp, Tombstone, Tools, record::Subject,
};
use schema::Fence;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Why a write was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The lease is not held any more.
    Fenced,
    /// An intent is open already.
    IntentOpen,
    /// No such intent, or it is resolved.
    NoIntent,
    /// A compare-and-set found something else.
    Stale,
}

/// A guard that a test has taken away; see the module `sabotage`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // one switch for each guard
pub struct Loose {
    /// Any fence is taken.
    pub any_epoch: bool,
    /// Heartbeats are taken in any order.
    pub replays: bool,
    /// Open intents are forgotten.
    pub intents: bool,
    /// Tools change behind open ports.
    pub ports: bool,
    /// Whatever was read is taken for current.
    pub records: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Database {
    pub(crate) rows: BTreeMap<EnvironmentId, Environment>,
    pub(crate) tombstones: BTreeMap<EnvironmentId, Tombstone>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) intents: BTreeMap<EnvironmentId, Vec<IntentRow>>,
    pub(crate) desired: BTreeMap<EnvironmentId, DesiredSet>,
    pub(crate) reports: BTreeMap<EnvironmentId, ReportRow>,
    pub(crate) firewalls: BTreeMap<EnvironmentId, RecordedFirewall>,
    /// Ports whose closing was waited for until the deadline.
    pub(crate) left_open: BTreeSet<(EnvironmentId, u16)>,
    pub(crate) leases: BTreeMap<u16, Lease>,
    /// When they started, and until when they are counted.
    pub(crate) replicas: BTreeMap<Uuid, (Millis, Millis)>,
    /// Droplets and firewalls.
    pub(crate) fleet: (Published, Published),
    /// A sweep was stored since somebody last asked.
    pub(crate) swept: bool,
    pub(crate) catalog: CatalogEntry,
    /// What was changed since somebody last asked: what triggers notify of.
    pub(crate) changed: BTreeSet<EnvironmentId>,
    /// Writes that came with a fence that was not held, and were refused.
    pub(crate) refused: u64,
    /// Writes that came with a fence that was not held, and were taken all the same.
    pub(crate) stale_writes: u64,
    pub(crate) loose: Loose,
}

impl Database {
    /// Nothing in it but a catalog of one tool in two versions.
    pub fn new(shards: impl IntoIterator<Item = u16>, loose: Loose) -> Self {
        Self {
            rows: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            instances: BTreeMap::new(),
            intents: BTreeMap::new(),
            desired: BTreeMap::new(),
            reports: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            left_open: BTreeSet::new(),
            leases: shards.into_iter().map(|shard| (shard, Lease::default())).collect(),
            replicas: BTreeMap::new(),
            fleet: Default::default(),
            swept: false,
            catalog: catalog(),
            changed: BTreeSet::new(),
            refused: 0,
            stale_writes: 0,
            loose,
        }
    }

    /// Whether a fence proves a lease that is held now, by this clock.
    pub(crate) fn held(&mut self, fence: &Fence, now: Millis) -> Result<(), Denied> {
        let lease = self.leases.get(&fence.shard);
        let holds = |lease: &Lease| lease.holder == Some(fence.holder) && lease.epoch == fence.epoch && lease.expires_at > now;
        if lease.is_some_and(holds) {
            return Ok(());
        }
        if self.loose.any_epoch {
            self.stale_writes += 1;
            return Ok(());
        }
        self.refused += 1;
        Err(Denied::Fenced)
    }

    pub(crate) fn fenced(&mut self, fence: &Fence, id: EnvironmentId, now: Millis) -> Result<(), Denied> {
        if id.shard() != fence.shard {
            return Err(Denied::Fenced);
        }
        self.held(fence, now)
    }

    /// One record.
    pub fn record(&self, id: EnvironmentId) -> Option<EnvironmentRecord> {
        let subject = match (self.rows.get(&id), self.tombstones.get(&id)) {
            (Some(row), _) => Subject::Row(row.clone()),
            (None, Some(tombstone)) => Subject::Tombstone(tombstone.clone()),
            (None, None) => return None,
        };
        let latest = self.intents.get(&id).and_then(|intents| intents.last());
        let intent = latest.map(|row| row.intent.clone());
        let intent = intent.filter(|intent| !(self.loose.intents && intent.outcome.is_none()));
        let tools = Tools {
            instances: self
                .instances
                .values()
                .filter(|row| row.spec.environment_id == id)
                .cloned()
                .collect(),
            desired: self.desired.get(&id).cloned(),
            report: self.reports.get(&id).map(|row| row.received.clone()),
        };
        let empty = tools.instances.is_empty() && tools.desired.is_none() && tools.report.is_none();
        Some(EnvironmentRecord {
            subject,
            intent: intent.map(Box::new),
            tools: (!empty).then(|| Box::new(tools)),
            firewall: self.firewalls.get(&id).cloned().map(Box::new),
        })
    }

    /// Every environment that there is something of.
    pub fn keys(&self) -> BTreeSet<EnvironmentId> {
        self.rows.keys().chain(self.tombstones.keys()).copied().collect()
    }

    /// Writes a status that was found for this generation.
    pub fn environment_status_write(
        &mut self,
        now: Millis,
        fence: &Fence,
        id: EnvironmentId,
        generation: i64,
        status: EnvironmentStatus,
    ) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        let row = self.rows.get_mut(&id).filter(|row| row.generation == generation);
        let row = row.ok_or(Denied::Stale)?;
        // Only an announcement raises the epoch.
        let agent_epoch = row.status.agent_epoch;
        row.status = EnvironmentStatus { agent_epoch, ..status };
        row.updated_at = timestamp(now);
        self.changed.insert(id);
        Ok(())
    }

    /// Writes the statuses of instances of one environment. Those that have moved on are left out.
    pub fn instance_status_write(
        &mut self,
        now: Millis,
        fence: &Fence,
        statuses: Vec<(InstanceId, i64, InstanceStatus)>,
    ) -> Result<(), Denied> {
        self.held(fence, now)?;
        for (id, generation, status) in statuses {
            let row = self.instances.get_mut(&id).filter(|row| row.generation == generation);
            if let Some(row) = row.filter(|row| row.spec.environment_id.shard() == fence.shard) {
                row.status = status;
                self.changed.insert(row.spec.environment_id);
            }
        }
        Ok(())
    }

    /// Stores a set in place of the one with the expected stamp.
    pub fn desired_set_store(
        &mut self,
        now: Millis,
        fence: &Fence,
        id: EnvironmentId,
        expected: Option<Stamp>,
        set: DesiredSet,
        left_open: &BTreeSet<u16>,
    ) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        let stored = self.desired.get(&id).map(|stored| stored.stamp);
        let there = self.rows.contains_key(&id) || self.tombstones.contains_key(&id);
        if stored != expected || stored.is_some_and(|stored| stored >= set.stamp) || !there {
            return Err(Denied::Stale);
        }
        if !self.loose.ports && stored.is_some() && self.changes_behind_open_port(id, &set, left_open) {
            return Err(Denied::Stale);
        }
        self.left_open.extend(left_open.iter().map(|port| (id, *port)));
        self.desired.insert(id, set);
        self.changed.insert(id);
        Ok(())
    }

    /// Removes a tombstone with what was kept for it, unless its firewall is still on record. Intents stay.
    pub fn tombstone_finish(&mut self, now: Millis, fence: &Fence, id: EnvironmentId) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        if !self.firewalls.contains_key(&id) && self.tombstones.remove(&id).is_some() {
            self.desired.remove(&id);
            self.reports.remove(&id);
            self.changed.insert(id);
        }
        Ok(())
    }

    /// Records that a deleted row's droplet was seen to be gone.
    pub fn tombstone_droplet_gone(&mut self, now: Millis, fence: &Fence, id: EnvironmentId) -> Result<(), Denied> {
        self.fenced(fence, id, now)?;
        let gone: Option<DropletId> = self.tombstones.get_mut(&id).and_then(|tombstone| tombstone.droplet_id.take());
        if gone.is_some() {
            self.changed.insert(id);
        }
        Ok(())
    }
}

fn catalog() -> CatalogEntry {
    use model::{catalog, container::ContainerDefaults};
    CatalogEntry {
        id: CatalogId(Uuid::from_u128(1)),
        tool_name: "Echo".to_owned(),
        description: None,
        packaging_type: catalog::PackagingType::DockerImage,
        package_identifier: "acme/echo".to_owned(),
        version_info: catalog::VersionInfo {
            available_versions: vec!["1".to_owned(), "2".to_owned()],
            default_version: "1".to_owned(),
            version_details: BTreeMap::new(),
        },
        default_config_template: ContainerDefaults {
            container_port: Some(8080),
            ..ContainerDefaults::default()
        },
        required_secrets_schema: Vec::new(),
        resource_requirements: serde_json::Value::Null,
        status: catalog::CatalogStatus::Available,
    }
}

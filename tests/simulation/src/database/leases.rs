//! `leases` and `replicas`: which replica works on which shard, by the database's clock.

use super::Database;
use crate::moment::Millis;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// One shard's row.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// The replica.
    pub holder: Option<Uuid>,
    /// Rises with each change of the holder.
    pub epoch: i64,
    /// Good until then.
    pub expires_at: Millis,
}

/// What a renewal came to.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// What is held, with epochs.
    pub epochs: BTreeMap<u16, i64>,
    /// How many shards the replica should hold.
    pub share: usize,
}

impl Database {
    /// Announces a replica, renews what it holds, and acquires what is free or expired up to its share.
    pub fn lease_hold(&mut self, now: Millis, holder: Uuid, ttl: Millis) -> Renewed {
        let started = self.replicas.get(&holder).map_or(now, |(started, _)| *started);
        self.replicas.retain(|_, (_, expires)| *expires > now);
        self.replicas.insert(holder, (started, now + ttl));
        let older = self
            .replicas
            .iter()
            .filter(|(id, (other, _))| (*other, **id) < (started, holder))
            .count();
        let (shards, replicas) = (self.leases.len(), self.replicas.len());
        let share = shards / replicas + usize::from(older < shards % replicas);
        let mut epochs = BTreeMap::new();
        for (shard, lease) in &mut self.leases {
            if lease.holder == Some(holder) && lease.expires_at > now {
                lease.expires_at = now + ttl;
                epochs.insert(*shard, lease.epoch);
            }
        }
        for (shard, lease) in &mut self.leases {
            if epochs.len() < share && lease.expires_at <= now {
                *lease = Lease {
                    holder: Some(holder),
                    epoch: lease.epoch + 1,
                    expires_at: now + ttl,
                };
                epochs.insert(*shard, lease.epoch);
            }
        }
        Renewed { epochs, share }
    }

    /// Gives some of what this holder holds back.
    pub fn lease_release(&mut self, holder: Uuid, shards: &BTreeSet<u16>) {
        let given_back = |(shard, lease): &(&u16, &mut Lease)| shards.contains(*shard) && lease.holder == Some(holder);
        for (_, lease) in self.leases.iter_mut().filter(given_back) {
            lease.holder = None;
            lease.expires_at = Millis::MIN;
        }
    }
}

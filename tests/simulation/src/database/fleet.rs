//! `fleet_sweeps` and `fleet_resources`: what the last sweep saw, for all replicas.

use super::{Database, Denied};
use crate::moment::{Millis, seconds, timestamp};
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentDesiredState, EnvironmentId, EnvironmentPhase};
use schema::{Fence, FleetKind, FleetPublication, FleetRow, FleetSweep, SWEEPING_SHARD, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// What is published of one kind.
#[derive(Clone, Debug, Default)]
pub struct Published {
    number: i64,
    began_at: Option<Timestamp>,
    withheld: Option<(Timestamp, String)>,
    confirmed_at: Option<Timestamp>,
    rows: BTreeMap<String, FleetRow>,
}

impl Database {
    fn published(&self, kind: FleetKind) -> &Published {
        match kind {
            FleetKind::Droplets => &self.fleet.0,
            FleetKind::Firewalls => &self.fleet.1,
        }
    }

    fn publishing(&mut self, kind: FleetKind) -> &mut Published {
        match kind {
            FleetKind::Droplets => &mut self.fleet.0,
            FleetKind::Firewalls => &mut self.fleet.1,
        }
    }

    /// The last sweep of a kind.
    pub fn fleet_sweep_get(&self, now: Millis, kind: FleetKind) -> FleetSweep {
        let published = self.published(kind);
        FleetSweep {
            number: published.number,
            age: published.began_at.map(|began| timestamp(now).duration_since(began)),
            withheld: published.withheld.clone(),
            confirmed_at: published.confirmed_at,
            failure: None,
            now: timestamp(now),
        }
    }

    /// Everything that is known of a kind, also what went.
    pub fn fleet_list(&self, kind: FleetKind) -> Vec<FleetRow> {
        self.published(kind).rows.values().cloned().collect()
    }

    /// All that there is of these shards: a whole load, always.
    pub fn fleet_load(&self, kind: FleetKind, shards: &[u16]) -> Vec<FleetRow> {
        let rows = self.published(kind).rows.values();
        let there = rows.filter(|row| matches!(row.standing, Standing::Seen | Standing::Missing));
        let own = there.filter(|row| row.environment_id.is_none_or(|id| shards.contains(&id.shard())));
        own.cloned().collect()
    }

    /// Stores a sweep, fenced by the lease of the sweeping shard.
    pub fn fleet_publish(&mut self, now: Millis, fence: &Fence, kind: FleetKind, sweep: FleetPublication) -> Result<(), Denied> {
        if fence.shard != SWEEPING_SHARD {
            return Err(Denied::Fenced);
        }
        self.held(fence, now)?;
        let published = self.publishing(kind);
        published.number += 1;
        published.began_at = sweep.began_at.or(published.began_at);
        published.withheld = sweep.withheld;
        published
            .rows
            .extend(sweep.rows.into_iter().map(|row| (row.key.clone(), row)));
        // What went an hour ago is forgotten.
        let kept = timestamp(now - seconds(3600));
        published
            .rows
            .retain(|_, row| row.since > kept || matches!(row.standing, Standing::Seen | Standing::Missing));
        self.swept = true;
        Ok(())
    }

    /// Says that what is missing now is confirmed to be gone.
    pub fn fleet_confirm(&mut self, now: Millis, fence: &Fence, kind: FleetKind) -> Result<(), Denied> {
        self.held(fence, now)?;
        self.publishing(kind).confirmed_at = Some(timestamp(now));
        Ok(())
    }

    /// How long ago the youngest thing began that changes the fleet.
    pub fn fleet_stir(&self, now: Millis) -> Option<SignedDuration> {
        let intents = self.intents.values().flatten().filter(|row| row.intent.outcome.is_none());
        let announced = intents.map(|row| row.intent.announced_at);
        let deleted = self.tombstones.values().map(|tombstone| tombstone.deleted_at);
        let going = self.rows.values().filter(|row| {
            matches!(
                row.status.phase,
                EnvironmentPhase::PendingDeletion | EnvironmentPhase::Deleting | EnvironmentPhase::ErrorDeletion
            )
        });
        let began = announced.chain(deleted).chain(going.map(|row| row.updated_at)).max()?;
        Some(timestamp(now).duration_since(began).max(SignedDuration::ZERO))
    }

    /// Which of these environments want a droplet.
    pub fn environment_wanted(&self, ids: &[EnvironmentId]) -> BTreeSet<EnvironmentId> {
        let wanted = |id: &&EnvironmentId| {
            let row = self.rows.get(id);
            row.is_some_and(|row| row.spec.desired_state == EnvironmentDesiredState::Active)
        };
        ids.iter().filter(wanted).copied().collect()
    }
}

//! Statuses as one statement takes them: an array for each column, which costs less to read than an object for each row.

use super::Found;
use crate::{
    Fence,
    codec::{Spelled, Time, bigint},
};
use jiff_sqlx::ToSqlx;
use model::environment::EnvironmentPhase;
use sqlx::types::Uuid;
use std::{collections::HashMap, net::IpAddr};

/// The columns, and the leases that their rows count under.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Of each lease, as are the next two.
    pub(super) shards: Vec<i16>,
    pub(super) holders: Vec<Uuid>,
    pub(super) epochs: Vec<i64>,
    /// Of each status, as are all that follow: which of the leases it was found under, counted from one.
    pub(super) fences: Vec<i64>,
    pub(super) ids: Vec<Uuid>,
    pub(super) generations: Vec<i64>,
    pub(super) phases: Vec<Spelled<EnvironmentPhase>>,
    pub(super) droplet_ids: Vec<Option<i64>>,
    pub(super) ip_addresses: Vec<Option<IpAddr>>,
    pub(super) droplets_created_at: Vec<Option<Time>>,
    pub(super) error_messages: Vec<Option<String>>,
    pub(super) observed_generations: Vec<i64>,
    pub(super) conditions: Vec<String>,
    pub(super) observed_at: Vec<Option<Time>>,
}

impl Columns {
    pub(super) fn of(found: Vec<Found>) -> Self {
        let (mut columns, mut fences) = (Self::default(), HashMap::new());
        for one in found {
            let fence = *fences.entry(one.fence).or_insert_with(|| columns.fence(&one.fence));
            columns.fences.push(fence);
            columns.status(one);
        }
        columns
    }

    /// The lease's number.
    fn fence(&mut self, fence: &Fence) -> i64 {
        self.shards.push(fence.sql_shard());
        self.holders.push(fence.holder);
        self.epochs.push(fence.epoch);
        i64::try_from(self.shards.len()).unwrap_or(i64::MAX)
    }

    fn status(&mut self, found: Found) {
        let status = found.status;
        self.ids.push(found.id.0);
        self.generations.push(found.generation);
        self.phases.push(Spelled(status.phase));
        self.droplet_ids.push(status.droplet_id.map(bigint));
        self.ip_addresses.push(status.ip_address);
        self.droplets_created_at.push(status.droplet_created_at.map(ToSqlx::to_sqlx));
        self.error_messages.push(status.error_message);
        self.observed_generations.push(status.observed_generation);
        self.conditions.push(found.conditions);
        self.observed_at.push(status.observed_at.map(ToSqlx::to_sqlx));
    }
}

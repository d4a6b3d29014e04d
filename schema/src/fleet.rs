//! `fleet_sweeps` and `fleet_resources`: what DigitalOcean has, as the last sweep left it, for all replicas.
//!
//! Owns: storing what one replica swept, and giving every other one what changed since it last asked. Must not: know what a
//! droplet or a firewall is: what was seen of it is JSON here. Promises: a sweep is stored whole or not at all, and only by who
//! holds shard [`SWEEPING_SHARD`]; what is loaded is of one moment; times are the database's.

use crate::{
    Database, Error, Fence,
    codec::{Spelled, Time},
    watch,
};
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use model::EnvironmentId;
use serde::{Deserialize, Serialize};
use sqlx::{
    PgConnection,
    types::{Json, Uuid},
};
use std::collections::HashSet;

/// The shard whose holder sweeps for all.
pub const SWEEPING_SHARD: u16 = 0;

/// What is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FleetKind {
    /// Droplets; the key is the id.
    Droplets,
    /// Firewalls; the key is the name.
    Firewalls,
}

impl FleetKind {
    /// As it is spelled in the database, in metrics, and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Droplets => "droplets",
            Self::Firewalls => "firewalls",
        }
    }
}

/// How something stands to the last list.
///
/// ```text
/// (new) --> seen <--> missing   the list is not believed
///            |  ^        |
///            |  +--------+----- back in the list
///            v           v
///          removed      gone    both are forgotten after a while
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In the list.
    Seen,
    /// Not in the list, which is not believed: nothing may follow.
    Missing,
    /// Not there any more, and believed.
    Gone,
    /// Not there any more, as was wanted.
    Removed,
}

/// One droplet or firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRow {
    /// A droplet's id, or a firewall's name.
    pub key: String,
    /// Whose; `None` for what the installation has once.
    pub environment_id: Option<EnvironmentId>,
    /// What decisions need to know of it.
    pub seen: serde_json::Value,
    /// How it stands.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
}

/// The last sweep of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSweep {
    /// Rises with each sweep.
    pub number: i64,
    /// For how long its list has been read, now; `None` before the first whole one.
    pub age: Option<SignedDuration>,
    /// Since when and why what is missing is not believed to be gone.
    pub withheld: Option<(Timestamp, String)>,
    /// What was missing then is confirmed to be gone; `None` while nobody ever confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// Why what the installation has once is not as it should be, if somebody tried to make it so.
    pub failure: Option<String>,
    /// The database's clock.
    pub now: Timestamp,
}

/// What a replica loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetLoad {
    /// The sweep that the rows are of.
    pub sweep: FleetSweep,
    /// Whether the rows are all that there are, rather than what changed and all else of the same environments.
    pub whole: bool,
    /// The rows; of a whole load only those that are seen or missing.
    pub rows: Vec<FleetRow>,
}

/// A sweep to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPublication {
    /// When the list's first page was asked for, by the database's clock; `None` when the list was no whole one.
    pub began_at: Option<Timestamp>,
    /// How many the list had.
    pub listed: usize,
    /// Since when and why what is missing is not believed to be gone.
    pub withheld: Option<(Timestamp, String)>,
    /// What stands differently than before.
    pub rows: Vec<FleetRow>,
}

/// For how long what went is kept, so that replicas that were away for a moment learn of it without reading everything.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

impl Database {
    /// The last sweep of a kind.
    pub async fn fleet_sweep_get(&self, kind: FleetKind) -> Result<FleetSweep, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(sweep(&mut connection, kind).await?.0)
    }

    /// Everything that is known of a kind, also what went.
    pub async fn fleet_list(&self, kind: FleetKind) -> Result<Vec<FleetRow>, Error> {
        let rows = sqlx::query_as!(
            Row,
            r#"select key, environment_id, seen, standing as "standing: Spelled<_>", since as "since: Time"
            from fleet_resources where kind = $1"#,
            kind.as_str(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(FleetRow::from).collect())
    }

    /// What changed in these shards after the sweep of this number, with all else that the same environments have; everything
    /// when there is no number, or one of too long ago.
    pub async fn fleet_load(&self, kind: FleetKind, after: Option<i64>, shards: &[u16]) -> Result<FleetLoad, Error> {
        let shards: Vec<i16> = shards.iter().filter_map(|shard| i16::try_from(*shard).ok()).collect();
        // The sweep and its rows have to be of one moment.
        let mut reading = self
            .pool
            .begin_with("begin transaction isolation level repeatable read read only")
            .await?;
        let (sweep, forgotten) = sweep(&mut reading, kind).await?;
        let (whole, rows) = match after.filter(|after| *after >= forgotten) {
            Some(after) => (false, changed_rows(&mut reading, kind, after, &shards).await?),
            None => (true, whole_rows(&mut reading, kind, &shards).await?),
        };
        reading.commit().await?;
        Ok(FleetLoad { sweep, whole, rows })
    }

    /// Stores a sweep, and returns its number. Fenced by the lease of [`SWEEPING_SHARD`]. Without differences it writes one row.
    pub async fn fleet_publish(&self, fence: &Fence, kind: FleetKind, sweep: &FleetPublication) -> Result<i64, Error> {
        if fence.shard != SWEEPING_SHARD {
            return Err(fence.error());
        }
        let mut transaction = self.fenced("fleet_publish", fence).await?;
        let (since, reason) = sweep.withheld.clone().unzip();
        let number = sqlx::query_scalar!(
            "update fleet_sweeps
            set number = number + 1, finished_at = clock_timestamp(), began_at = coalesce($2, began_at), listed = $3,
                withheld_since = $4, withheld_reason = $5
            where kind = $1
            returning number",
            kind.as_str(),
            sweep.began_at.map(time) as _,
            i32::try_from(sweep.listed).unwrap_or(i32::MAX),
            since.map(time) as _,
            reason,
        )
        .fetch_one(&mut *transaction)
        .await?;
        if !sweep.rows.is_empty() {
            store(&mut transaction, kind, number, &sweep.rows).await?;
            forget(&mut transaction, kind).await?;
        }
        transaction.commit().await?;
        Ok(number)
    }

    /// Says that what is missing now is confirmed to be gone. Fenced like a sweep.
    pub async fn fleet_confirm(&self, fence: &Fence, kind: FleetKind) -> Result<(), Error> {
        let mut transaction = self.fenced("fleet_confirm", fence).await?;
        sqlx::query!(
            "update fleet_sweeps set confirmed_at = clock_timestamp() where kind = $1",
            kind.as_str(),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Says why what the installation has once of a kind is not as it should be, or that it is. Fenced like a sweep.
    pub async fn fleet_failure(&self, fence: &Fence, kind: FleetKind, failure: Option<&str>) -> Result<(), Error> {
        let mut transaction = self.fenced("fleet_failure", fence).await?;
        sqlx::query!(
            "update fleet_sweeps set failure = $2 where kind = $1 and failure is distinct from $2",
            kind.as_str(),
            failure,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// How long ago the youngest thing began that changes the fleet: an open intent, a droplet that is going. `None` while
    /// nothing is under way.
    pub async fn fleet_stir(&self) -> Result<Option<SignedDuration>, Error> {
        let began = sqlx::query_scalar!(
            r#"select extract(epoch from clock_timestamp() - greatest(
                (select max(announced_at) from provisioning_intents where resolved_at is null),
                (select max(deleted_at) from environment_tombstones),
                (
                    select max(updated_at) from account_tool_environments
                    where status in ('pending_deletion', 'deleting', 'error_deletion')
                )
            ))::float8 as "age""#,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(began.map(|seconds| SignedDuration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(SignedDuration::MAX)))
    }

    /// Which of these environments want a droplet.
    pub async fn environment_wanted(&self, ids: &[EnvironmentId]) -> Result<HashSet<EnvironmentId>, Error> {
        let keys: Vec<_> = ids.iter().map(|id| id.0).collect();
        let wanted = sqlx::query_scalar!(
            "select id from account_tool_environments where id = any ($1) and desired_state = 'active'",
            &keys,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(wanted.into_iter().map(EnvironmentId).collect())
    }

    /// An item for each sweep that is stored, and one when that begins. A lost connection ends it with an error.
    pub fn fleet_changes(&self) -> impl Stream<Item = Result<(), Error>> + Send + 'static {
        watch::listen(self).filter_map(async |heard| match heard {
            Ok(watch::Heard::Listening | watch::Heard::Fleet) => Some(Ok(())),
            Ok(watch::Heard::Environment(_) | watch::Heard::Catalog(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

struct Row {
    key: String,
    environment_id: Option<Uuid>,
    seen: serde_json::Value,
    standing: Spelled<Standing>,
    since: Time,
}

impl From<Row> for FleetRow {
    fn from(row: Row) -> Self {
        Self {
            key: row.key,
            environment_id: row.environment_id.map(EnvironmentId),
            seen: row.seen,
            standing: row.standing.0,
            since: row.since.to_jiff(),
        }
    }
}

fn time(at: Timestamp) -> Time {
    at.into()
}

/// The last sweep, and up to which one what went is forgotten.
async fn sweep(connection: &mut PgConnection, kind: FleetKind) -> Result<(FleetSweep, i64), Error> {
    let row = sqlx::query!(
        r#"select number, forgotten, extract(epoch from clock_timestamp() - began_at)::float8 as age,
            withheld_since as "withheld_since: Time", withheld_reason,
            case when isfinite(confirmed_at) then confirmed_at end as "confirmed_at: Time",
            failure, clock_timestamp() as "now!: Time"
        from fleet_sweeps where kind = $1"#,
        kind.as_str(),
    )
    .fetch_one(connection)
    .await?;
    let age = row
        .age
        .map(|seconds| SignedDuration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(SignedDuration::MAX));
    let sweep = FleetSweep {
        number: row.number,
        age,
        withheld: row.withheld_since.map(Time::to_jiff).zip(row.withheld_reason),
        confirmed_at: row.confirmed_at.map(Time::to_jiff),
        failure: row.failure,
        now: row.now.to_jiff(),
    };
    Ok((sweep, row.forgotten))
}

/// What there is in these shards, and what the installation has once.
async fn whole_rows(connection: &mut PgConnection, kind: FleetKind, shards: &[i16]) -> Result<Vec<FleetRow>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select key, environment_id, seen, standing as "standing: Spelled<_>", since as "since: Time"
        from fleet_resources
        where kind = $1 and (shard = any ($2) or environment_id is null) and standing in ('seen', 'missing')"#,
        kind.as_str(),
        shards,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(FleetRow::from).collect())
}

/// What changed in these shards, with all else that the same environments have, and of what the installation has once.
async fn changed_rows(
    connection: &mut PgConnection,
    kind: FleetKind,
    after: i64,
    shards: &[i16],
) -> Result<Vec<FleetRow>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"with changed as (
            select key, environment_id from fleet_resources
            where kind = $1 and changed > $2 and (shard = any ($3) or environment_id is null)
        )
        select key as "key!", environment_id, seen as "seen!", standing as "standing!: Spelled<_>", since as "since!: Time"
        from fleet_resources
        where kind = $1 and environment_id in (select changed.environment_id from changed)
        union all
        select key, environment_id, seen, standing, since
        from fleet_resources
        where kind = $1 and environment_id is null and key in (select changed.key from changed)"#,
        kind.as_str(),
        after,
        shards,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(FleetRow::from).collect())
}

/// Stores what stands differently than before.
async fn store(connection: &mut PgConnection, kind: FleetKind, number: i64, rows: &[FleetRow]) -> Result<(), Error> {
    sqlx::query!(
        "insert into fleet_resources (kind, key, environment_id, seen, standing, since, changed)
        select $1, key, environment_id, seen, standing, since, $2
        from jsonb_to_recordset($3)
            as changed (key text, environment_id uuid, seen jsonb, standing text, since timestamptz)
        on conflict (kind, key) do update
        set environment_id = excluded.environment_id, seen = excluded.seen, standing = excluded.standing,
            since = excluded.since, changed = excluded.changed",
        kind.as_str(),
        number,
        Json(rows) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what went long ago.
async fn forget(connection: &mut PgConnection, kind: FleetKind) -> Result<(), Error> {
    sqlx::query!(
        "with forgotten as (
            delete from fleet_resources
            where kind = $1 and standing in ('gone', 'removed') and since < clock_timestamp() - make_interval(secs => $2)
            returning changed
        )
        update fleet_sweeps set forgotten = (select max(changed) from forgotten)
        where kind = $1 and exists (select from forgotten)",
        kind.as_str(),
        KEPT.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

//! Writing what was observed of environments.
//!
//! Owns: how statuses of many passes share statements. Promises: each status counts only under its own lease and for its own
//! generation, whoever it is written with; one that comes alone is written at once; the failure of one is nobody else's.
//!
//! ```text
//! passes --> the queue --(a turn is free: whoever has it takes those that wait)--> one statement --> each pass its answer
//!                                                                                  not in its answer --> written alone
//! ```
//!
//! Nothing waits for others to come: while statements are under way, those that come after gather by themselves. A statement for many
//! does not wait for a row that somebody else has locked, since it may have locked one that the other waits for: it gives up within
//! moments, and one that passes over such rows takes its place. Looking for them from the start would cost each row a second lock.
//! What is written alone does wait, and keeps nobody else from a turn.

mod columns;

use crate::{Database, Error, Fence, Written};
use columns::Columns;
use model::{Conditions, EnvironmentId, EnvironmentStatus};
use sqlx::types::Json;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, oneshot};

/// How many statements are under way at once: while the database works on one, the next is on its way.
const TURNS: usize = 2;

/// The most statuses in one statement: when all passes bring one, each turn gets its share.
const MOST: usize = 256;

/// A status, and what it was found under.
#[derive(Debug)]
struct Found {
    fence: Fence,
    id: EnvironmentId,
    generation: i64,
    /// Without its conditions.
    status: EnvironmentStatus,
    /// As JSON.
    conditions: String,
}

/// A status that waits to be written, and who waits for it.
#[derive(Debug)]
struct Waiting {
    found: Found,
    /// Dropped unused, it says that the status has to be written alone.
    written: oneshot::Sender<Written>,
}

/// Where statuses gather.
#[derive(Debug)]
pub(crate) struct StatusQueue {
    waiting: Mutex<VecDeque<Waiting>>,
    /// One is had by whoever writes.
    turns: Semaphore,
}

impl Found {
    fn new(fence: &Fence, id: EnvironmentId, generation: i64, status: &EnvironmentStatus) -> Result<Self, Error> {
        let conditions = serde_json::to_string(&status.conditions).map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(Self {
            fence: *fence,
            id,
            generation,
            status: EnvironmentStatus {
                conditions: Conditions::default(),
                error_message: status.error_message.clone(),
                ..*status
            },
            conditions,
        })
    }
}

impl Default for StatusQueue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turns: Semaphore::new(TURNS),
        }
    }
}

impl StatusQueue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next to be written together, those who still wait for it only.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|one| !one.written.is_closed());
        let most = waiting.len().min(MOST);
        waiting.drain(..most).collect()
    }
}

/// Writes [`Columns`], and tells the places of those that are written, as one row: a row for each would cost both sides as much as
/// the checks do. Each lease is locked once, however many statuses were found under it.
macro_rules! write_columns {
    ($free:literal, $from:literal, $new:expr) => {
        sqlx::query_scalar!(
            r#"with held as materialized (
                select fence.number
                from unnest($1::smallint[], $2::uuid[], $3::bigint[]) with ordinality as fence (shard, holder, epoch, number)
                join leases using (shard, holder, epoch)
                where leases.expires_at > clock_timestamp()
                for key share of leases skip locked
            ), new as (
                select *
                from unnest(
                    $4::bigint[], $5::uuid[], $6::bigint[], $7::text[], $8::bigint[], $9::inet[], $10::timestamptz[], $11::text[],
                    $12::bigint[], $13::text[], $14::timestamptz[]
                ) with ordinality as new (
                    fence, id, generation, status, do_droplet_id, ip_address, do_created_at, error_message, observed_generation,
                    conditions, observed_at, place
                )
                where fence = any (array(select number from held))
            )"# + $free
                + r#", written as (
                update account_tool_environments as environment
                set status = new.status::account_environment_status_enum, do_droplet_id = new.do_droplet_id,
                    ip_address = new.ip_address, do_created_at = new.do_created_at, error_message = new.error_message,
                    observed_generation = new.observed_generation, conditions = new.conditions::jsonb,
                    observed_at = new.observed_at
                "# + $from
                + r#" environment.id = new.id and environment.generation = new.generation
                returning new.place
            )
            select array_agg(place) as places from written"#,
            &$new.shards,
            &$new.holders,
            &$new.epochs,
            &$new.fences,
            &$new.ids,
            &$new.generations,
            &$new.phases as _,
            &$new.droplet_ids as _,
            &$new.ip_addresses as _,
            &$new.droplets_created_at as _,
            &$new.error_messages as _,
            &$new.observed_generations,
            &$new.conditions,
            &$new.observed_at as _,
        )
    };
}

/// Whether a lock was waited for in vain: `lock_not_available`.
fn is_locked(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

impl Database {
    /// Writes a status that was found for this generation of the specification. `agent_epoch` is not written: only
    /// [`Database::intent_announce`] raises it. Of two for one environment at the same time, either may be the last: passes of one
    /// key follow each other.
    pub async fn environment_status_write(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        generation: i64,
        status: &EnvironmentStatus,
    ) -> Result<Written, Error> {
        fence.covers(id)?;
        let (written, mut answer) = oneshot::channel();
        let found = Found::new(fence, id, generation, status)?;
        self.statuses.lock().push_back(Waiting { found, written });
        let answer = loop {
            let turn = tokio::select! {
                biased;
                answer = &mut answer => break answer,
                turn = self.statuses.turns.acquire() => turn,
            };
            // Passes that the last statement has set free are about to bring more.
            tokio::task::yield_now().await;
            let taken = self.statuses.take();
            // None, when the answer came together with the turn.
            if !taken.is_empty() {
                self.statuses_write(taken).await;
            }
            drop(turn);
        };
        match answer {
            Ok(written) => Ok(written),
            Err(_) => self.status_write_alone(fence, id, generation, status).await,
        }
    }

    /// Writes these together, and tells those whose status is written. The others have it written alone, which tells why it was not.
    async fn statuses_write(&self, waiting: Vec<Waiting>) {
        let (found, written): (Vec<Found>, Vec<_>) = waiting.into_iter().map(|waiting| (waiting.found, waiting.written)).unzip();
        let new = Columns::of(found);
        let statement = write_columns!(
            "",
            "from new where (select set_config('lock_timeout', '10ms', true)) is not null and",
            new
        );
        let mut places = self.write("environment_status_write", statement.fetch_one(&self.pool)).await;
        if places.as_ref().is_err_and(is_locked) {
            let statement = write_columns!(
                ", free as materialized (
                    select new.*
                    from new join account_tool_environments as environment using (id, generation)
                    for no key update of environment skip locked
                )",
                "from free as new where",
                new
            );
            places = self.write("environment_status_write", statement.fetch_one(&self.pool)).await;
        }
        match places {
            Ok(places) => {
                let mut written: Vec<_> = written.into_iter().map(Some).collect();
                for place in places.unwrap_or_default() {
                    let written = usize::try_from(place - 1)
                        .ok()
                        .and_then(|place| written.get_mut(place)?.take());
                    // Whoever waited may have stopped waiting.
                    let _ = written.map(|written| written.send(Written::Done));
                }
            }
            Err(error) => {
                tracing::debug!(%error, statuses = written.len(), "statuses were not written together; each is written alone");
            }
        }
    }

    async fn status_write_alone(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        generation: i64,
        status: &EnvironmentStatus,
    ) -> Result<Written, Error> {
        let statement = sqlx::query!(
            r#"with fence as materialized (
                select from leases
                where shard = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp()
                for key share
            ), written as (
                update account_tool_environments as environment
                set status = new.status, do_droplet_id = new.do_droplet_id, ip_address = new.ip_address,
                    do_created_at = new.do_created_at, error_message = new.error_message,
                    observed_generation = new.observed_generation, conditions = new.conditions, observed_at = new.observed_at
                from jsonb_to_record($6) as new (
                    status account_environment_status_enum, do_droplet_id bigint, ip_address inet, do_created_at timestamptz,
                    error_message text, observed_generation bigint, conditions jsonb, observed_at timestamptz
                )
                where environment.id = $4 and environment.generation = $5 and exists (select from fence)
                returning 1
            )
            select exists (select from fence) as "held!", (select count(*) from written) as "written!""#,
            fence.sql_shard(),
            fence.holder,
            fence.epoch,
            id.0,
            generation,
            Json(status) as _,
        )
        .fetch_one(&self.pool);
        let outcome = self.write("environment_status_write", statement).await?;
        if outcome.held {
            Ok(Written::from_count(outcome.written))
        } else {
            Err(self.refused(fence).await)
        }
    }
}

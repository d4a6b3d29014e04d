//! Writing what was observed of environments.
//!
//! Owns: how statuses of many passes share statements. Promises: each status counts only under its own lease and for its own
//! generation, whoever it is written with; one that comes alone is written at once; the failure of one is nobody else's.
//!
//! ```text
//! passes --> waiting --(a turn is free: whoever gets it takes all that wait)--> one statement --> each pass its answer
//!                                                                              not in its answer --> written alone
//! ```
//!
//! Nothing waits for others to come: while statements are under way, those that come after them gather by themselves. A statement for
//! many never waits for a row that somebody else has locked, since it may have locked one that the other waits for; it passes it over.

use crate::{Database, Error, Fence, Written};
use model::{EnvironmentId, EnvironmentStatus};
use serde::Serialize;
use sqlx::types::{Json, Uuid};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, oneshot};

/// How many statements are under way at once: while the database works on one, the next is on its way.
const TURNS: usize = 2;

/// The most statuses in one statement.
const MOST: usize = 256;

/// A status, and what it was found under.
#[derive(Clone, Debug, Serialize)]
struct Found {
    shard: u16,
    holder: Uuid,
    epoch: i64,
    id: EnvironmentId,
    generation: i64,
    #[serde(flatten)]
    status: EnvironmentStatus,
}

/// A status that waits to be written, and who waits for it.
#[derive(Debug)]
struct Waiting {
    found: Found,
    /// Dropped unused, it says that the status has to be written alone.
    written: oneshot::Sender<Written>,
}

/// Those that wait.
#[derive(Debug)]
pub(crate) struct StatusQueue {
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Semaphore,
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

    /// The next to be written together, those who still wait for it only. Of two of one environment, the second stays for the next time.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|waiting| !waiting.written.is_closed());
        let (mut seen, mut taken, mut left) = (HashSet::new(), Vec::new(), VecDeque::new());
        for one in waiting.drain(..) {
            if taken.len() < MOST && seen.insert(one.found.id) {
                taken.push(one);
            } else {
                left.push_back(one);
            }
        }
        *waiting = left;
        taken
    }
}

impl Database {
    /// Writes a status that was found for this generation of the specification. `agent_epoch` is not written: only
    /// [`Database::intent_announce`] raises it.
    pub async fn environment_status_write(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        generation: i64,
        status: &EnvironmentStatus,
    ) -> Result<Written, Error> {
        fence.covers(id)?;
        let (written, mut answer) = oneshot::channel();
        let found = Found {
            shard: fence.shard,
            holder: fence.holder,
            epoch: fence.epoch,
            id,
            generation,
            status: status.clone(),
        };
        self.statuses.lock().push_back(Waiting { found, written });
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut answer => return self.answered(answer.ok(), fence, id, generation, status).await,
                turn = self.statuses.turns.acquire() => turn,
            };
            let taken = self.statuses.take();
            match &taken[..] {
                // Somebody else has it under way.
                [] => {
                    drop(turn);
                    let answer = (&mut answer).await;
                    return self.answered(answer.ok(), fence, id, generation, status).await;
                }
                [only] if only.found.id == id => return self.status_write_alone(fence, id, generation, status).await,
                _ => self.statuses_write(taken).await,
            }
        }
    }

    async fn answered(
        &self,
        answer: Option<Written>,
        fence: &Fence,
        id: EnvironmentId,
        generation: i64,
        status: &EnvironmentStatus,
    ) -> Result<Written, Error> {
        match answer {
            Some(written) => Ok(written),
            None => self.status_write_alone(fence, id, generation, status).await,
        }
    }

    /// Writes these together, and tells those whose status is written. The others have it written alone, which tells why it was not.
    async fn statuses_write(&self, waiting: Vec<Waiting>) {
        let found: Vec<&Found> = waiting.iter().map(|waiting| &waiting.found).collect();
        let statement = sqlx::query_scalar!(
            r#"with new as materialized (
                select * from jsonb_to_recordset($1) as new (
                    shard smallint, holder uuid, epoch bigint, id uuid, generation bigint,
                    status account_environment_status_enum, do_droplet_id bigint, ip_address inet, do_created_at timestamptz,
                    error_message text, observed_generation bigint, conditions jsonb, observed_at timestamptz
                )
            ), fence as materialized (
                select shard, holder, epoch from leases
                where (shard, holder, epoch) in (select shard, holder, epoch from new) and expires_at > clock_timestamp()
                for key share skip locked
            ), free as materialized (
                select environment.id
                from new
                join fence using (shard, holder, epoch)
                join account_tool_environments as environment using (id, generation)
                for no key update of environment skip locked
            )
            update account_tool_environments as environment
            set status = new.status, do_droplet_id = new.do_droplet_id, ip_address = new.ip_address,
                do_created_at = new.do_created_at, error_message = new.error_message,
                observed_generation = new.observed_generation, conditions = new.conditions, observed_at = new.observed_at
            from free join new using (id)
            where environment.id = free.id and environment.generation = new.generation
            returning environment.id"#,
            Json(found) as _,
        )
        .fetch_all(&self.pool);
        match self.write("environment_status_write", statement).await {
            Ok(ids) => {
                let ids: HashSet<Uuid> = ids.into_iter().collect();
                for Waiting { found, written } in waiting {
                    if ids.contains(&found.id.0) {
                        // Whoever waited may have stopped waiting.
                        let _ = written.send(Written::Done);
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, statuses = waiting.len(), "statuses were not written together; each is written alone");
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

//! `request_budget` and `request_grants`: the requests to DigitalOcean that replicas may send, in blocks. Judged by the database's clock.
//!
//! A block counts in full until its replica settles it: then what was sent counts, from that moment on. One whose replica never does
//! counts until every request of it must have arrived, and as long as any other from then on.

use crate::{Database, Error};
use std::time::Duration;
use uuid::Uuid;

/// What a replica asks for. Lists are by priority, the first to go first.
#[derive(Clone, Debug)]
pub struct RequestAsk {
    /// How many requests wait.
    pub wanted: Vec<i32>,
    /// How many may count against the minute, those of this ask included.
    pub minute_ceilings: Vec<i32>,
    /// How many may count against the hour.
    pub hour_ceilings: Vec<i32>,
    /// For how long what is granted may be sent.
    pub lasts: Duration,
    /// How long a request may be under way after that.
    pub under_way: Duration,
    /// For how long a request counts.
    pub lengths: RequestLengths,
}

/// For how long a request counts.
#[derive(Clone, Copy, Debug)]
pub struct RequestLengths {
    /// Against the limit of the minute.
    pub minute: Duration,
    /// Against the limit of the hour.
    pub hour: Duration,
}

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestGrant {
    /// So many.
    Block {
        /// Names it when it is settled.
        id: i64,
        /// How many.
        requests: u32,
    },
    /// None; it makes sense to ask again after this.
    Later(Duration),
}

impl Database {
    /// Grants a replica a block of what is left. Of any number of replicas that ask at once, one is answered after the other.
    pub async fn requests_take(&self, replica: Uuid, ask: &RequestAsk) -> Result<RequestGrant, Error> {
        let statement = sqlx::query!(
            r#"select grant_id, granted as "granted!", extract(epoch from again_in)::float8 as again_in
            from toolplane.requests_take(
                $1, $2, $3, $4, make_interval(secs => $5), make_interval(secs => $6), make_interval(secs => $7),
                make_interval(secs => $8)
            )"#,
            replica,
            &ask.wanted,
            &ask.minute_ceilings,
            &ask.hour_ceilings,
            ask.lengths.minute.as_secs_f64(),
            ask.lengths.hour.as_secs_f64(),
            ask.lasts.as_secs_f64(),
            ask.under_way.as_secs_f64(),
        )
        .fetch_one(&self.pool);
        let row = self.write("requests_take", statement).await?;
        Ok(match (row.grant_id, u32::try_from(row.granted)) {
            (Some(id), Ok(requests)) if requests > 0 => RequestGrant::Block { id, requests },
            _ => {
                let after = row.again_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                RequestGrant::Later(after.unwrap_or(ask.lasts))
            }
        })
    }

    /// For how long nothing is granted below each of these ceilings, of the minute and of the hour, as things stand. Takes nothing.
    pub async fn requests_wait(&self, minute_ceilings: &[i32], hour_ceilings: &[i32]) -> Result<Vec<Duration>, Error> {
        let waits = sqlx::query_scalar!(
            r#"select extract(epoch from greatest(
                    budget.blocked_until, toolplane.requests_free_at(asked.minute, asked.hour, clock.now), clock.now
                ) - clock.now)::float8 as "wait!"
            from request_budget as budget, (select clock_timestamp() as now) as clock,
                unnest($1::integer[], $2::integer[]) with ordinality as asked (minute, hour, priority)
            order by asked.priority"#,
            minute_ceilings,
            hour_ceilings,
        )
        .fetch_all(&self.pool)
        .await?;
        let waits = waits
            .into_iter()
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
        Ok(waits.collect())
    }

    /// Tells of blocks how many of each were sent, now that all of these are answered; the others are free again. Blocks that ran
    /// out long ago are forgotten.
    pub async fn requests_settle(&self, sent: &[(i64, u32)], lengths: RequestLengths) -> Result<(), Error> {
        let (blocks, sent): (Vec<i64>, Vec<i32>) = sent
            .iter()
            .map(|(block, sent)| (*block, i32::try_from(*sent).unwrap_or(i32::MAX)))
            .unzip();
        let statement = sqlx::query!(
            "with told as (
                select id, sent from unnest($1::bigint[], $2::integer[]) as told (id, sent)
            ), unused as (
                delete from request_grants using told where request_grants.id = told.id and told.sent = 0
            )
            update request_grants
            set requests = told.sent, settled = true, minute_until = clock_timestamp() + make_interval(secs => $3),
                hour_until = clock_timestamp() + make_interval(secs => $4)
            from told
            where request_grants.id = told.id and told.sent > 0",
            &blocks,
            &sent,
            lengths.minute.as_secs_f64(),
            lengths.hour.as_secs_f64(),
        )
        .execute(&self.pool);
        self.write("requests_settle", statement).await?;
        Ok(())
    }

    /// Grants nobody anything for this long.
    pub async fn requests_block(&self, wait: Duration) -> Result<(), Error> {
        let statement = sqlx::query!(
            "update request_budget set blocked_until = greatest(blocked_until, clock_timestamp() + make_interval(secs => $1))",
            wait.as_secs_f64(),
        )
        .execute(&self.pool);
        self.write("requests_block", statement).await?;
        Ok(())
    }
}

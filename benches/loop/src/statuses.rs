//! Writing back what was observed: 10,000 statuses that changed, as controllers write them, beside the same change as plain
//! `update`s in batches, without any check: no lease, no generation, no row passed over that somebody else has locked.
//!
//! Both sides have the statuses in memory when the clock starts, and send every column of them over connections of the same driver
//! to the same table with the same triggers. The plain side has the size of batch and the number of connections at which it is
//! fastest: of 250, 500 and 1,000 rows over one or two connections, 500 over two.

use crate::{
    database::{Databases, FEW, connect, psql},
    figures::{Bar, Figure, Pair},
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use jiff_sqlx::ToSqlx;
use model::Environment;
use schema::{Database, LeaseConfig, LeaseKeeper, Role, Written};
use sqlx::{
    Executor,
    postgres::{PgPool, PgPoolOptions},
};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PAIRS: usize = 9;
/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of one plain `update`.
const BATCH: usize = 500;
/// Plain `update`s at once.
const CONNECTIONS: u32 = 2;

/// What becomes of the status: a condition that speaks of the moment, and when it was seen.
const MESSAGE: &str = "Seen again";
const OBSERVED_AT: &str = "2126-01-02T00:00:00Z";

/// Rows a second, ours to the plain ones.
pub(crate) async fn write_back(databases: &Databases) -> Result<Vec<Figure>> {
    let mut pairs = Vec::new();
    for number in 1..=PAIRS {
        let url = databases.copy(FEW, &format!("status_{number}")).await?;
        let ours = ours(&url).await?;
        let url = databases.copy(FEW, &format!("status_plain_{number}")).await?;
        let peers = plain(&url).await?;
        println!("write-back of {FEW} statuses, pair {number}: ours {ours:.0} a second, plain {peers:.0} a second");
        pairs.push(Pair { ours, peers });
    }
    let figure = Figure::of_pairs("status-write-back", pairs, Bar::AtLeast(0.8));
    Ok(vec![figure.in_unit("x-plain-update")])
}

async fn ours(url: &str) -> Result<f64> {
    let database = connect(url, Some(Role::Controller)).await?;
    let lease = LeaseConfig {
        ttl: Duration::from_secs(15),
        name: "bench".to_owned(),
    };
    let (leases, shutdown) = (LeaseKeeper::new(database.clone(), lease), CancellationToken::new());
    let mut owned = leases.watch();
    let holding = tokio::spawn(leases.clone().run(shutdown.clone()));
    let all = |shards: &Arc<[u16]>| shards.len() == usize::from(model::ids::SHARDS);
    tokio::time::timeout(PATIENCE, owned.wait_for(all)).await??;

    let rows = database.environment_list().await?;
    let rows: Vec<Environment> = rows.into_iter().map(changed).collect::<Result<_>>()?;
    let began = Instant::now();
    stream::iter(&rows)
        .map(|row| write(&database, &leases, row))
        .buffer_unordered(runtime::Config::default().concurrency.get())
        .try_collect::<()>()
        .await?;
    let took = began.elapsed();
    shutdown.cancel();
    holding.await?;
    database.close().await;
    check(url).await?;
    Ok(f64::from(FEW) / took.as_secs_f64())
}

async fn write(database: &Database, leases: &LeaseKeeper, row: &Environment) -> Result<()> {
    let fence = leases.fence(row.id.shard()).context("every shard is held")?;
    let written = database
        .environment_status_write(&fence, row.id, row.generation, &row.status)
        .await?;
    ensure!(written == Written::Done, "{} moved on", row.id);
    Ok(())
}

fn changed(mut row: Environment) -> Result<Environment> {
    let told = row.status.conditions.0.get_mut(3).context("there are four conditions")?;
    MESSAGE.clone_into(&mut told.message);
    row.status.observed_at = Some(OBSERVED_AT.parse()?);
    Ok(row)
}

/// One `update`, as arrays.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    phases: Vec<String>,
    droplet_ids: Vec<Option<i64>>,
    ip_addresses: Vec<Option<IpAddr>>,
    droplets_created_at: Vec<Option<jiff_sqlx::Timestamp>>,
    error_messages: Vec<Option<String>>,
    observed_generations: Vec<i64>,
    conditions: Vec<String>,
    observed_at: Vec<Option<jiff_sqlx::Timestamp>>,
}

impl Batch {
    fn of(rows: &[Environment]) -> Result<Self> {
        let mut batch = Self::default();
        for Environment { id, status, .. } in rows {
            batch.ids.push(id.0);
            let phase = serde_json::to_string(&status.phase)?;
            batch.phases.push(phase.trim_matches('"').to_owned());
            batch
                .droplet_ids
                .push(status.droplet_id.map(|id| id.0.try_into()).transpose()?);
            batch.ip_addresses.push(status.ip_address);
            batch.droplets_created_at.push(status.droplet_created_at.map(ToSqlx::to_sqlx));
            batch.error_messages.push(status.error_message.clone());
            batch.observed_generations.push(status.observed_generation);
            batch.conditions.push(serde_json::to_string(&status.conditions)?);
            batch.observed_at.push(status.observed_at.map(ToSqlx::to_sqlx));
        }
        Ok(batch)
    }

    async fn write(&self, pool: &PgPool) -> Result<()> {
        let written = sqlx::query(
            "update account_tool_environments as environment
            set status = new.status::account_environment_status_enum, do_droplet_id = new.do_droplet_id,
                ip_address = new.ip_address, do_created_at = new.do_created_at, error_message = new.error_message,
                observed_generation = new.observed_generation, conditions = new.conditions::jsonb, observed_at = new.observed_at
            from unnest(
                $1::uuid[], $2::text[], $3::bigint[], $4::inet[], $5::timestamptz[], $6::text[], $7::bigint[], $8::text[],
                $9::timestamptz[]
            ) as new (
                id, status, do_droplet_id, ip_address, do_created_at, error_message, observed_generation, conditions, observed_at
            )
            where environment.id = new.id",
        )
        .bind(&self.ids)
        .bind(&self.phases)
        .bind(&self.droplet_ids)
        .bind(&self.ip_addresses)
        .bind(&self.droplets_created_at)
        .bind(&self.error_messages)
        .bind(&self.observed_generations)
        .bind(&self.conditions)
        .bind(&self.observed_at)
        .execute(pool)
        .await?;
        ensure!(written.rows_affected() == self.ids.len() as u64, "every row is there");
        Ok(())
    }
}

/// Each `update` commits by itself.
async fn plain(url: &str) -> Result<f64> {
    let database = connect(url, Some(Role::Controller)).await?;
    let rows = database.environment_list().await?;
    let rows: Vec<Environment> = rows.into_iter().map(changed).collect::<Result<_>>()?;
    database.close().await;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            let set_up = sqlx::raw_sql("set jit = off; set role toolplane_controller");
            Box::pin(async move { connection.execute(set_up).await.map(drop) })
        })
        .connect(url)
        .await?;
    let began = Instant::now();
    stream::iter(rows.chunks(BATCH))
        .map(async |rows| Batch::of(rows)?.write(&pool).await)
        .buffer_unordered(usize::try_from(CONNECTIONS)?)
        .try_collect::<()>()
        .await?;
    let took = began.elapsed();
    pool.close().await;
    check(url).await?;
    Ok(f64::from(FEW) / took.as_secs_f64())
}

/// Every row says what it was made to say.
async fn check(url: &str) -> Result<()> {
    let sql = format!(
        "select count(*) from account_tool_environments
        where conditions -> 3 ->> 'message' = '{MESSAGE}' and observed_at = '{OBSERVED_AT}';\n"
    );
    let count: u32 = psql(url, &sql).await?.trim().parse()?;
    ensure!(count == FEW, "{count} statuses were written");
    Ok(())
}

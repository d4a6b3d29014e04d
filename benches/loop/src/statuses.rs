//! Writing back what was observed: 10,000 statuses that changed, as controllers write them, beside the same change as plain
//! `update`s in batches, without any check.
//!
//! Both sides run through the same triggers and take the same values; the plain side takes them from a table in the database, so
//! that it neither sends nor decodes anything.

use crate::{
    database::{Databases, FEW, connect, psql},
    figures::{Bar, Figure, Pair},
};
use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use model::Environment;
use schema::{Database, LeaseConfig, LeaseKeeper, Role, Written};
use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const PAIRS: usize = 9;
/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of one plain `update`.
const BATCH: u32 = 1_000;

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

/// The values stand in a table of the database before the clock starts; each `update` commits by itself.
async fn plain(url: &str) -> Result<f64> {
    let batches = FEW / BATCH;
    let mut sql = format!(
        "set jit = off;
        create table staged as select id, status, do_droplet_id, ip_address, do_created_at, error_message, observed_generation,
            jsonb_set(conditions, '{{3,message}}', '\"{MESSAGE}\"') as conditions, timestamptz '{OBSERVED_AT}' as observed_at,
            row_number() over (order by id) % {batches} as batch
        from account_tool_environments;
        create index on staged (batch);
        grant select on staged to toolplane_controller;
        vacuum (analyze) staged;
        set role toolplane_controller;
        select extract(epoch from clock_timestamp());\n"
    );
    for batch in 0..batches {
        write!(
            sql,
            "update account_tool_environments as environment
            set status = new.status, do_droplet_id = new.do_droplet_id, ip_address = new.ip_address,
                do_created_at = new.do_created_at, error_message = new.error_message,
                observed_generation = new.observed_generation, conditions = new.conditions, observed_at = new.observed_at
            from staged as new where new.batch = {batch} and environment.id = new.id;\n"
        )?;
    }
    sql.push_str("select extract(epoch from clock_timestamp());\n");
    let told = psql(url, &sql).await?;
    let times: Vec<f64> = told.lines().map(str::parse).collect::<Result<_, _>>()?;
    let [began, ended] = times[..] else {
        bail!("two times are told, not {told:?}");
    };
    check(url).await?;
    Ok(f64::from(FEW) / (ended - began))
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

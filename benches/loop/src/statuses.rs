//! Writing back what was observed: 10,000 statuses that changed, as controllers write them, beside the same change as plain
//! `update`s in batches, without any check: no lease, no generation, no row passed over that somebody else has locked.
//!
//! Both sides have the statuses in memory when the clock starts, and send every column of them over connections of the same driver
//! to the same table with the same triggers. The plain side (`schema/examples/plain_status_update.rs`, since only `schema` speaks SQL)
//! has the size of batch and the number of connections at which it is fastest: 500 rows over two.

use crate::{
    database::{Databases, FEW, connect, psql},
    figures::{Bar, Figure, Pair},
    programs::{build, root},
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use model::Environment;
use schema::{Database, LeaseConfig, LeaseKeeper, Role, Written};
use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{process::Command, time::timeout};
use tokio_util::sync::CancellationToken;

const PAIRS: usize = 9;
/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// The plain side, an example of `schema`.
const PLAIN: &str = "plain_status_update";

/// What becomes of the status: a condition that speaks of the moment, and when it was seen.
const MESSAGE: &str = "Seen again";
const OBSERVED_AT: &str = "2126-01-02T00:00:00Z";

/// Rows a second, ours to the plain ones.
pub(crate) async fn write_back(databases: &Databases) -> Result<Vec<Figure>> {
    let example = ["--package", "schema", "--example", PLAIN];
    let program = build(&root(), &example, &format!("examples/{PLAIN}")).await?;
    let mut pairs = Vec::new();
    for number in 1..=PAIRS {
        let url = databases.copy(FEW, &format!("status_{number}")).await?;
        let ours = ours(&url).await?;
        let url = databases.copy(FEW, &format!("status_plain_{number}")).await?;
        let peers = plain(&program, &url).await?;
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
    timeout(PATIENCE, owned.wait_for(all)).await??;

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
    told.message = MESSAGE.into();
    row.status.observed_at = Some(OBSERVED_AT.parse()?);
    Ok(row)
}

/// Rows a second of the program that stands on the other side.
async fn plain(program: &Path, url: &str) -> Result<f64> {
    let mut command = Command::new(program);
    command
        .args([url, MESSAGE, OBSERVED_AT])
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await??;
    ensure!(output.status.success(), "{} left with {}", program.display(), output.status);
    check(url).await?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
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

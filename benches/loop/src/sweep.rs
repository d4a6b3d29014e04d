//! What it costs to see that nothing changed: 10,000 droplets and 10,000 firewalls, swept by replicas that share the work, beside a
//! client that asks for each of them.
//!
//! Owns: the fleet, in the simulator, and counting requests where they arrive. Promises: what is counted is one sweep that found
//! everything as the one before did, and everything that was written for it.

use crate::{
    database::{connect, psql},
    figures::{Bar, Figure},
};
use anyhow::{Context, Result, ensure};
use cluster::{Cluster, Options};
use digitalocean::Client;
use fleet::{Firewalls, Fleet, Limits, Sweeps, names};
use futures::{StreamExt, TryStreamExt, stream};
use model::{EnvironmentId, InstallationId, tags};
use schema::{LeaseConfig, LeaseKeeper, Role};
use serde_json::json;
use simulator::{DropletSeed, Handle, Simulator};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Droplets, and firewalls.
const COUNT: usize = 10_000;
const REPLICAS: usize = 3;
/// Long enough for one sweep to be over before the next begins.
const EVERY: Duration = Duration::from_secs(30);
/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_mins(3);

/// Sweeps an unchanged fleet, then asks for each of it.
pub(crate) async fn sweep() -> Result<Vec<Figure>> {
    let cluster = Cluster::start(Options::default()).await?;
    let url = cluster.create_database("sweep").await?;
    let database = connect(&url, None).await?;
    database.migrate().await?;
    database.close().await;
    let folder = tempfile::tempdir()?;
    let simulator = Simulator::start(simulator::Config::new("token".into(), folder.path())).await?;
    let (droplets, firewalls) = seed(&simulator)?;

    let shutdown = CancellationToken::new();
    for number in 0..REPLICAS {
        tokio::spawn(replica(number, &url, &simulator).await?.run(shutdown.clone()));
    }
    until_swept(&url, 1).await?;
    let written = "select count(*), max(changed), md5(string_agg(xmin::text, ',' order by kind, key)) from fleet_resources;\n";
    let (before, reads) = (psql(&url, written).await?, simulator.reads());
    until_swept(&url, 2).await?;
    shutdown.cancel();
    let requests = simulator.reads() - reads;
    ensure!(
        psql(&url, written).await? == before,
        "a sweep that found nothing new wrote rows of the fleet"
    );
    ensure!(simulator.counts().changes.is_empty(), "a sweep changed something");
    let took = psql(
        &url,
        "select extract(epoch from max(finished_at - began_at))::numeric(9, 1) from fleet_sweeps;\n",
    );
    println!(
        "sweep: {requests} requests and no write but a row a kind, by {REPLICAS} replicas together; {} s",
        took.await?.trim()
    );

    let asking = Instant::now();
    let asked = ask_for_each(&simulator, &droplets, &firewalls).await?;
    println!(
        "  beside a client that GETs each: {asked} requests; {:.1} s",
        asking.elapsed().as_secs_f64()
    );
    simulator.shutdown().await;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    Ok(vec![Figure::of("sweep", requests as f64, "requests", Bar::AtMost(100.0))])
}

/// A fleet that has been there for long.
fn seed(simulator: &Handle) -> Result<(Vec<u64>, Vec<String>)> {
    // The client without a budget is to be measured, not the limits.
    simulator.configure(|settings| (settings.minute_ms, settings.hour_ms) = (1, 1));
    let ids: Vec<EnvironmentId> = (0..COUNT).map(|_| EnvironmentId::random()).collect();
    let droplets = simulator.seed_droplets(COUNT, |number| {
        let id = ids[number];
        let tags = [
            tags::TOOLPLANE.to_owned(),
            tags::installation(&installation()),
            tags::environment(id),
        ];
        DropletSeed::new(tags::droplet_name(id), tags)
    })?;
    let firewalls = simulator.seed_firewalls(COUNT, |number| {
        json!({
            "name": names::environment(&installation(), ids[number]),
            "inbound_rules": [{"protocol": "tcp", "ports": "31000", "sources": {"addresses": ["192.0.2.0/24"]}}],
            "outbound_rules": [],
            "droplet_ids": [droplets[number]],
            "tags": [],
        })
    })?;
    Ok((droplets, firewalls))
}

async fn replica(number: usize, url: &str, simulator: &Handle) -> Result<Sweeps> {
    let database = connect(url, Some(Role::Controller)).await?;
    let lease = LeaseConfig {
        ttl: Duration::from_secs(15),
        name: format!("bench {number}"),
    };
    let leases = LeaseKeeper::new(database.clone(), lease);
    tokio::spawn(leases.clone().run(CancellationToken::new()));
    Ok(Sweeps {
        database,
        leases,
        client: Client::new(digitalocean::Config::new(simulator.base_url().clone(), "token".into()))?,
        fleet: Fleet::new(),
        firewalls: Firewalls::new(installation()),
        config: fleet::Config {
            installation: installation(),
            every: EVERY,
            limits: Limits::default(),
        },
    })
}

fn installation() -> InstallationId {
    "bench".parse().expect("a good name")
}

/// Waits until both kinds were swept so many times.
async fn until_swept(url: &str, times: i64) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let swept: i64 = psql(url, "select min(number) from fleet_sweeps;\n").await?.trim().parse()?;
        if swept >= times {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not swept {times} times");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a client does that knows no lists. Returns how many requests arrived.
async fn ask_for_each(simulator: &Handle, droplets: &[u64], firewalls: &[String]) -> Result<u64> {
    let (before, http) = (simulator.reads(), reqwest::Client::new());
    let droplets = droplets.iter().map(|id| format!("v2/droplets/{id}"));
    let paths = droplets.chain(firewalls.iter().map(|id| format!("v2/firewalls/{id}")));
    stream::iter(paths)
        .map(|path| {
            let (http, url) = (http.clone(), simulator.base_url().join(&path));
            async move {
                let answer = http.get(url?).bearer_auth("token").send().await?;
                answer.error_for_status().context("GET")?.bytes().await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    Ok(simulator.reads() - before)
}

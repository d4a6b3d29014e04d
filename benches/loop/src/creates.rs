//! A crowd that comes at once: 1,000 environments in one transaction, made by a whole replica of the control plane within the limits
//! of one token, in compressed time.
//!
//! An environment takes two requests that nothing can spare: its droplet's POST, since user data differ, and its firewall's, since
//! ports do. So 1,000 of them take 2,000, and everything beside these (lists that see what came of them, the base firewall, tags) is
//! overhead. At 250 a minute they need eight minutes, and that is what is compared with. (The limit is a sliding minute, and lets the
//! first 250 go at once; whoever held nothing back for deletes, trusted both clocks to the millisecond and never looked at what it made
//! could be through in seven.) The limit of the hour, 5,000, is kept too. An environment counts once its row names its droplet and its firewall is on record as seen in force: both were
//! made, and seen afterwards.
//!
//! Owns: the wiring and the clock. Promises: the limits are the real ones, judged by the simulator by its own clock, a fraction of the
//! time long; the budget, the sweeps, the windows of decisions and the backoff are as much shorter, and so is what the simulated cloud
//! takes. What is not compressed makes the figure worse than in the world, where it takes a smaller part of a minute: requests,
//! statements and passes take as long as they take, and so do leases and the shortest pauses between two looks.

use crate::{
    database::{connect, psql},
    figures::{Bar, Figure},
};
use agent_api::MasterKey;
use anyhow::{Result, ensure};
use api::AgentBinary;
use cluster::{Cluster, Options};
use control_plane::{Connections, Listeners, Replica, ReplicaConfig};
use digitalocean::{Budget, BudgetConfig};
use effects::Effects;
use firewall_reconciler::Sources;
use jiff::SignedDuration;
use simulator::{Counts, Handle, Simulator};
use std::{
    collections::HashMap,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

const COUNT: u32 = 1_000;
/// Requests in a minute, by the limit.
const A_MINUTE: u32 = 250;
/// How many times as fast time passes.
const FACTOR: u32 = 6;
const MINUTE: Duration = Duration::from_secs(60 / FACTOR as u64);
/// What an environment takes at least: a droplet and a firewall.
const EACH: u32 = 2;
/// What the limit needs for so many requests.
const NEEDED: Duration = Duration::from_secs(MINUTE.as_secs() * (COUNT * EACH / A_MINUTE) as u64);
/// Whoever takes so much longer than needed has fallen short, and is not waited for.
const PATIENCE: Duration = Duration::from_secs(2 * NEEDED.as_secs());

/// Creates them, and tells how long that took beside what the limit needs.
pub(crate) async fn creates() -> Result<Vec<Figure>> {
    let cluster = Cluster::start(Options::default()).await?;
    let url = cluster.create_database("creates").await?;
    let database = connect(&url, None).await?;
    database.migrate().await?;
    database.close().await;
    let folder = tempfile::tempdir()?;
    let simulator = simulator(folder.path()).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let config = replica(&url, &simulator, &listener, folder.path()).await?;
    let listeners = Listeners {
        api: listener,
        operators: None,
    };
    let replica = Replica::start(config, listeners).await?;
    // What a start costs is of the minute before.
    tokio::time::sleep(MINUTE + MINUTE / 10).await;

    let before = simulator.counts();
    let began = Instant::now();
    psql(&url, &insert()).await?;
    let (created, minutes) = until_created(&url, &simulator, began).await?;
    let took = began.elapsed();
    let after = simulator.counts();
    replica.stop().await?;
    simulator.shutdown().await;
    tell(created, took, &before, &after);
    println!("  requests in each minute: {minutes:?}");
    let limits = after.limits;
    ensure!(limits.by_minute + limits.by_hour == 0, "the limit was hit: {limits:?}");
    ensure!(after.twins == 0, "an environment had two droplets: {:?}", after.changes);
    let ratio = took.as_secs_f64() / NEEDED.as_secs_f64();
    Ok(vec![Figure::of("creates-1000", ratio, "x-limit", Bar::AtMost(1.15))])
}

/// How long it took, and what was spent on it.
fn tell(created: u32, took: Duration, before: &Counts, after: &Counts) {
    let least = if created < COUNT { ", given up" } else { "" };
    println!(
        "creates: {created} of {COUNT} environments in {:.1} s{least}, beside {:.1} s that {} requests need at {A_MINUTE} in any {} s",
        took.as_secs_f64(),
        NEEDED.as_secs_f64(),
        COUNT * EACH,
        MINUTE.as_secs(),
    );
    println!("  the busiest minute had {} requests; in all:", after.limits.busiest_minute);
    let known = before.changes.iter().chain(&before.reads).collect::<HashMap<_, _>>();
    for (endpoint, count) in after.changes.iter().chain(&after.reads) {
        let spent = count - known.get(endpoint).copied().unwrap_or(&0);
        if spent > 0 {
            println!("  {spent:>6} {endpoint}");
        }
    }
}

async fn simulator(folder: &Path) -> Result<Handle> {
    let mut config = simulator::Config::new("token".into(), folder.join("simulator"));
    let settings = &mut config.settings;
    settings.boot_agents = false;
    // 30 s in the world.
    settings.boot_ms = 30_000 / u64::from(FACTOR);
    settings.droplet_limit = 2 * COUNT;
    settings.requests_per_minute = A_MINUTE;
    settings.minute_ms /= u64::from(FACTOR);
    settings.hour_ms /= u64::from(FACTOR);
    Ok(Simulator::start(config).await?)
}

/// A replica as `toolplane serve` makes it by default, its durations compressed.
async fn replica(url: &str, simulator: &Handle, listener: &TcpListener, folder: &Path) -> Result<ReplicaConfig> {
    // Droplets run nothing, so nobody downloads it.
    let binary = folder.join("dtma");
    std::fs::write(&binary, "no agent")?;
    let budget = Budget::new(BudgetConfig::default().compressed(FACTOR));
    let (policy, backoff) = (environment_reconciler::Policy::default(), runtime::Backoff::default());
    let compressed = |duration: SignedDuration| duration / i32::try_from(FACTOR).unwrap_or(1);
    Ok(ReplicaConfig {
        name: "bench".to_owned(),
        database_url: url.to_owned().into(),
        connections: Connections::default(),
        digitalocean: digitalocean::Config {
            budget,
            ..digitalocean::Config::new(simulator.base_url().clone(), "token".into())
        },
        master_key: MasterKey::generate()?,
        installation: "bench".parse()?,
        agent_binary: AgentBinary::open(binary).await?,
        public_url: format!("https://{}", listener.local_addr()?).parse()?,
        plain_http: false,
        sources: Sources {
            backend: vec!["127.0.0.0/8".parse()?],
            admin: Vec::new(),
        },
        ssh_keys: Vec::new(),
        project: None,
        resync: Duration::from_mins(5) / FACTOR,
        lease: Duration::from_secs(15),
        fleet_sweep: Duration::from_secs(30) / FACTOR,
        breaker: fleet::Limits::default(),
        backoff: runtime::Backoff {
            min: backoff.min / FACTOR,
            max: backoff.max / FACTOR,
        },
        environment: environment_reconciler::Policy {
            lag_window: compressed(policy.lag_window),
            fleet_max_age: compressed(policy.fleet_max_age),
            launch_deadline: compressed(policy.launch_deadline),
            ..policy
        },
        instance: instance_reconciler::Policy::default(),
        effects: Effects::default(),
    })
}

fn insert() -> String {
    format!(
        "with account as (
            insert into auth.users (id) select gen_random_uuid() from generate_series(1, {COUNT}) returning id
        )
        insert into account_tool_environments (user_id, region_slug, size_slug, image_slug)
        select id, 'nyc3', 's-1vcpu-1gb', 'ubuntu-22-04-x64' from account;\n"
    )
}

/// Waits until every environment has its droplet and its firewall, or the patience is over. How many have, and how many requests
/// were sent in each minute.
async fn until_created(url: &str, simulator: &Handle, began: Instant) -> Result<(u32, Vec<u64>)> {
    let sql = "select count(*) from account_tool_environments as environment
        join environment_firewalls as firewall on firewall.environment_id = environment.id
        where environment.do_droplet_id is not null and firewall.do_firewall_id is not null;\n";
    let sent = || {
        let counts = simulator.counts();
        counts.changes.values().chain(counts.reads.values()).sum::<u64>()
    };
    let (mut minutes, mut last) = (Vec::new(), sent());
    loop {
        let created: u32 = psql(url, sql).await?.trim().parse()?;
        let over = created == COUNT || began.elapsed() > PATIENCE;
        if over || began.elapsed().as_secs() / MINUTE.as_secs() > minutes.len() as u64 {
            let now = sent();
            minutes.push(now - last);
            last = now;
        }
        if over {
            return Ok((created, minutes));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

//! Our side, as a process to be measured: leases, reflector, controller and the environment reconciler, wired as the control
//! plane does it. It says `ready`, answers `dump`, `spin` and `count`, and leaves when its input ends, as the peer does.
//!
//! What a sweep of the fleet would have seen is put in its place beforehand, on both sides: no request is made to DigitalOcean.

use crate::fixture::{Row, same};
use agent_api::MasterKey;
use anyhow::{Context, Result, bail};
use environment_reconciler::{Action, Config, EnvironmentReconciler, Heartbeats, Observed, Policy, StatusWrite};
use fleet::{Droplet, DropletState, Fleet, Limits, Looks};
use futures::{FutureExt, StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use model::{DropletId, EnvironmentId, EnvironmentRecord, IntentId};
use runtime::{Controller, Error, Failure, Outcome, Passes, Plan, Read, Reason, Reconciler, ReflectorConfig, Wake, reflector};
use schema::{ConnectOptions, Database, LeaseConfig, LeaseKeeper, RecordSource, Records, Role};
use std::{
    collections::HashSet,
    fmt::Write as _,
    io::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

/// What is told of the passes.
#[derive(Debug, Default)]
struct Log {
    ready: AtomicBool,
    /// Passes that found something to do.
    unexpected: AtomicU64,
    /// Whether a pass that finds nothing to do asks to be called again at once.
    spinning: AtomicBool,
    /// Passes that began since.
    spun: AtomicU64,
    /// Since every row was reconciled once.
    begun: Mutex<Vec<(EnvironmentId, u128)>>,
}

/// The environment reconciler, with the beginnings of its passes written down.
struct Probe {
    reconciler: EnvironmentReconciler,
    log: Arc<Log>,
}

impl Reconciler for Probe {
    type Key = EnvironmentId;
    type Desired = Arc<EnvironmentRecord>;
    type Observed = Observed;
    type Action = Action;
    type Status = StatusWrite;

    const KIND: &'static str = EnvironmentReconciler::KIND;

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Arc<EnvironmentRecord>>, Error> {
        if read == Read::Cached && self.log.ready.load(Ordering::Relaxed) {
            if self.log.spinning.load(Ordering::Relaxed) {
                self.log.spun.fetch_add(1, Ordering::Relaxed);
            } else {
                let mut begun = self.log.begun.lock().unwrap_or_else(PoisonError::into_inner);
                begun.push((*key, now()));
            }
        }
        self.reconciler.load(key, read).await
    }

    async fn observe(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, read: Read) -> Result<Observed, Error> {
        self.reconciler.observe(key, desired, read).await
    }

    fn decide(&self, desired: &Arc<EnvironmentRecord>, observed: &Observed, now: Timestamp) -> Plan<Action, StatusWrite> {
        let plan = self.reconciler.decide(desired, observed, now);
        if self.log.spinning.load(Ordering::Relaxed) {
            let requeue = Some(SignedDuration::ZERO);
            return Plan { requeue, ..plan };
        }
        plan
    }

    async fn act(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, action: &Action) -> Result<(), Error> {
        self.reconciler.act(key, desired, action).await
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        desired: &Arc<EnvironmentRecord>,
        status: Option<StatusWrite>,
        failure: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        self.reconciler.write_status(key, desired, status, failure).await
    }
}

/// Runs over the `count` rows of the database that `DATABASE_URL` names.
pub(crate) async fn run(count: u32) -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let shutdown = CancellationToken::new();
    let options = ConnectOptions {
        min_connections: 3,
        ..ConnectOptions::new(std::env::var("DATABASE_URL")?.into(), Some(Role::Controller))
    };
    let database = Database::connect(&options).await?;
    let leases = LeaseConfig {
        ttl: Duration::from_secs(15),
        name: "bench".to_owned(),
    };
    let keeper = LeaseKeeper::new(database.clone(), leases);
    let source = RecordSource::new(database.clone(), Records::owned_by(&keeper));
    let (records, mut reflector) = reflector(source, ReflectorConfig::default());
    let changes = reflector.subscribe();
    let leasing = tokio::spawn(keeper.clone().run(shutdown.clone()));
    tokio::spawn(reflector.run(shutdown.clone()));
    tokio::spawn(Heartbeats::new().run(
        database.clone(),
        records.clone(),
        keeper.clock().clone(),
        Duration::from_secs(10),
        Policy::default().silence(),
        shutdown.clone(),
    ));

    let fleet = Fleet::new();
    fleet.sweep((0..count).map(droplet), Timestamp::now());
    let nowhere = "http://127.0.0.1:9".parse()?;
    let client = digitalocean::Client::new(digitalocean::Config::new(nowhere, "none".into()))?;
    let (config, key) = (config()?, MasterKey::generate()?);
    let clock = keeper.clock().clone();
    let looks = Looks::new(
        client.clone(),
        config.installation.clone(),
        fleet.clone(),
        Limits::default(),
        clock.clone(),
    );
    let keys = records.clone();
    let reconciler = EnvironmentReconciler::new(database, keeper, client, fleet, looks, key, config, records);
    let others = reconciler.wakes();
    let log = Arc::new(Log::default());
    let probe = Probe {
        reconciler,
        log: Arc::clone(&log),
    };
    let (spin, spins) = oneshot::channel();
    let all = async move {
        let told = spins.await.is_ok();
        let keys = if told { keys.keys() } else { Vec::new() };
        stream::iter(keys.into_iter().map(|key| Wake::now(key, Reason::Related)))
    };
    let timed = runtime::Config {
        clock: Arc::new(clock),
        ..runtime::Config::default()
    };
    let passes = Controller::new(Arc::new(probe), timed)
        .wakes(changes)
        .wakes(others)
        .wakes(all.into_stream().flatten())
        .passes(shutdown.clone());
    let working = tokio::spawn(watch(passes, count as usize, Arc::clone(&log)));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut spin = Some(spin);
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "dump" => dump(&log)?,
            "spin" => {
                log.spinning.store(true, Ordering::Relaxed);
                spin.take()
                    .and_then(|spin| spin.send(()).ok())
                    .context("once, while it works")?;
            }
            "count" => println!("{} {}", log.spun.load(Ordering::Relaxed), now()),
            other => bail!("{other:?} is not understood"),
        }
    }
    shutdown.cancel();
    working.await?;
    leasing.await.context("leases are given back")
}

/// In nanoseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Says `ready` once `count` different rows were reconciled.
async fn watch(mut passes: Passes<Probe>, count: usize, log: Arc<Log>) {
    let mut seen = HashSet::with_capacity(count);
    while let Some(ended) = passes.next().await {
        tokio::task::coop::consume_budget().await;
        if !matches!(ended.outcome, Outcome::Noop { .. }) {
            log.unexpected.fetch_add(1, Ordering::Relaxed);
        }
        if !log.ready.load(Ordering::Relaxed) {
            seen.insert(ended.key);
            if seen.len() == count {
                log.ready.store(true, Ordering::Relaxed);
                println!("ready");
                seen = HashSet::new();
            }
        }
    }
}

fn dump(log: &Log) -> Result<()> {
    let begun = std::mem::take(&mut *log.begun.lock().unwrap_or_else(PoisonError::into_inner));
    let mut text = String::new();
    for (id, at) in begun {
        writeln!(text, "{id} {at}")?;
    }
    writeln!(text, "end {}", log.unexpected.load(Ordering::Relaxed))?;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// What a sweep sees of row `number`.
fn droplet(number: u32) -> (EnvironmentId, Droplet) {
    let row = Row::new(number);
    let droplet = Droplet {
        id: DropletId(row.droplet),
        state: DropletState::Active,
        address: Some(row.address),
        created_at: same::CREATED.parse().ok(),
        ours: true,
        missing: Box::default(),
        intent: Some(IntentId(row.intent)),
        size: same::SIZE.into(),
        disk: 25,
        locked: false,
        named: true,
    };
    (EnvironmentId(row.environment), droplet)
}

/// None of it is used: nothing is created here.
fn config() -> Result<Config> {
    Ok(Config {
        installation: "bench".parse()?,
        policy: Policy::default(),
        backend_url: "https://127.0.0.1:9".parse()?,
        backend_ca_pem: String::new(),
        agent_url: "https://127.0.0.1:9/dtma".parse()?,
        agent_sha256: "0".repeat(64),
        enrolment_ttl: Duration::from_mins(15),
        ssh_keys: Vec::new(),
        project: None,
    })
}

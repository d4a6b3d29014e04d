//! What is measured, the two sides in turns.

use crate::{
    database::{self, Databases, FEW, MANY, connect, vitals},
    figures::{Bar, Figure, Pair, median, percentile},
    fixture::{Row, same},
    peer::Server,
    subject::Subject,
};
use anyhow::{Context, Result, ensure};
use model::{AgentReport, EnvironmentId, Stamp};
use schema::{HeartbeatOutcome, Role};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::{process::Command, time::sleep};
use uuid::Uuid;

/// Pairs of cold starts, by size.
const COLD_PAIRS: usize = 7;
/// Pairs of reaction runs.
const REACTION_PAIRS: usize = 5;
/// Changes in one reaction run, and how many a second.
const CHANGES: u32 = 1_500;
const CHANGES_A_SECOND: u32 = 100;
/// Until a process that became ready is at rest.
pub(crate) const REST: Duration = Duration::from_secs(2);

pub(crate) async fn ours(url: &str, count: u32) -> Result<Subject> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["subject", &count.to_string()]).env("DATABASE_URL", url);
    Subject::start(command).await
}

/// One cold start.
#[derive(Clone, Copy, Debug)]
struct ColdStart {
    /// From the process's start until every row was reconciled once.
    seconds: f64,
    /// Bytes of resident memory at rest.
    resident: f64,
}

impl ColdStart {
    async fn of(subject: Subject) -> Result<Self> {
        sleep(REST).await;
        let seconds = subject.cold_start.as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        let resident = subject.resident()? as f64;
        subject.leave().await?;
        Ok(Self { seconds, resident })
    }
}

impl Pair<ColdStart> {
    fn seconds(self) -> Pair<f64> {
        Pair {
            ours: self.ours.seconds,
            peers: self.peers.seconds,
        }
    }

    /// Bytes for each row that `larger` has more: what a process takes without any row is not a row's.
    fn memory_a_row(self, larger: Self) -> Pair<f64> {
        let rows = f64::from(MANY - FEW);
        Pair {
            ours: (larger.ours.resident - self.ours.resident) / rows,
            peers: (larger.peers.resident - self.peers.resident) / rows,
        }
    }
}

/// Process start until every row was reconciled once, and memory for each row.
pub(crate) async fn cold_starts(databases: &Databases) -> Result<Vec<Figure>> {
    let few = cold_pairs(databases, FEW).await?;
    let many = cold_pairs(databases, MANY).await?;
    let memory: Vec<Pair<f64>> = few.iter().zip(&many).map(|(few, many)| few.memory_a_row(*many)).collect();
    println!(
        "memory a row: ours {:.0} bytes, peer {:.0} bytes",
        median(memory.iter().map(|pair| pair.ours).collect()),
        median(memory.iter().map(|pair| pair.peers).collect()),
    );
    let seconds = |pairs: Vec<Pair<ColdStart>>| pairs.into_iter().map(Pair::seconds);
    Ok(vec![
        Figure::of_pairs("cold-start-10000", seconds(few), Bar::AtMost(1.0)),
        Figure::of_pairs("cold-start-100000", seconds(many), Bar::AtMost(1.0)),
        Figure::of_pairs("memory-per-row", memory, Bar::AtMost(0.5)),
    ])
}

async fn cold_pairs(databases: &Databases, count: u32) -> Result<Vec<Pair<ColdStart>>> {
    let server = Server::start(count).await?;
    let url = databases.url(count).await?;
    let mut pairs = Vec::new();
    for number in 1..=COLD_PAIRS {
        let ours = ColdStart::of(ours(&url, count).await?).await?;
        let peers = ColdStart::of(server.controller().await?).await?;
        println!(
            "cold start of {count} rows, pair {number}: ours {:.3} s, {:.1} MB; peer {:.3} s, {:.1} MB",
            ours.seconds,
            ours.resident / 1e6,
            peers.seconds,
            peers.resident / 1e6,
        );
        pairs.push(Pair { ours, peers });
    }
    Ok(pairs)
}

/// Change until reconcile begins: the median and the 99th percentile, in seconds.
pub(crate) async fn reactions(databases: &Databases) -> Result<Vec<Figure>> {
    let server = Server::start(FEW).await?;
    let (mut halves, mut tails) = (Vec::new(), Vec::new());
    for number in 1..=REACTION_PAIRS {
        let url = databases.copy(FEW, &format!("reaction_{number}")).await?;
        let mut ours = our_reactions(&url).await?;
        let mut peers = peers_reactions(&server).await?;
        let mut both = |hundredths| Pair {
            ours: percentile(&mut ours, hundredths).as_secs_f64(),
            peers: percentile(&mut peers, hundredths).as_secs_f64(),
        };
        let (half, tail) = (both(50), both(99));
        println!(
            "reaction over {FEW} rows, pair {number}: ours p50 {:.3} ms, p99 {:.3} ms; peer p50 {:.3} ms, p99 {:.3} ms",
            half.ours * 1e3,
            tail.ours * 1e3,
            half.peers * 1e3,
            tail.peers * 1e3,
        );
        halves.push(half);
        tails.push(tail);
    }
    Ok(vec![
        Figure::of_pairs("reaction-p50", halves, Bar::AtMost(0.5)),
        Figure::of_pairs("reaction-p99", tails, Bar::AtMost(1.0)),
    ])
}

/// Agents report something new, through the control plane's own code.
async fn our_reactions(url: &str) -> Result<Vec<Duration>> {
    let mut subject = ours(url, FEW).await?;
    sleep(REST).await;
    let database = connect(url, Some(Role::Controller)).await?;
    paced(async |number| {
        let row = Row::new(number);
        let report = AgentReport {
            boot_id: row.boot,
            sequence: row.sequence + 1_000_000,
            applied: Some(Stamp { epoch: 1, generation: 1 }),
            agent_version: same::AGENT_VERSION.into(),
            vitals: vitals(),
            instances: Vec::new(),
            received_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let outcome = database.heartbeat_record(EnvironmentId(row.environment), 1, &report).await?;
        ensure!(matches!(outcome, HeartbeatOutcome::Recorded { .. }), "{outcome:?}");
        Ok(())
    })
    .await?;
    database.close().await;
    let begun = subject.begun().await?;
    subject.leave().await?;
    let committed = database::committed(url).await?;
    ensure!(
        committed.len() == CHANGES as usize,
        "{} changes were recorded",
        committed.len()
    );
    between(&committed, &begun)
}

async fn peers_reactions(server: &Server) -> Result<Vec<Duration>> {
    let mut subject = server.controller().await?;
    sleep(REST).await;
    let mut sent = HashMap::new();
    paced(async |number| {
        sent.insert(crate::fixture::environment(number), server.touch(number).await?);
        Ok(())
    })
    .await?;
    let begun = subject.begun().await?;
    subject.leave().await?;
    between(&sent, &begun)
}

/// Changes rows spread over all of them, at the rate that is measured, and waits for the last to be seen.
async fn paced(mut change: impl AsyncFnMut(u32) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    for number in 0..CHANGES {
        let due = Duration::from_secs(1) * number / CHANGES_A_SECOND;
        sleep(due.saturating_sub(began.elapsed())).await;
        change(number * (FEW / CHANGES)).await?;
    }
    sleep(REST).await;
    Ok(())
}

/// From each change to the beginning of the reconcile after it.
pub(crate) fn between(changed: &HashMap<Uuid, u128>, begun: &HashMap<Uuid, u128>) -> Result<Vec<Duration>> {
    changed
        .iter()
        .map(|(id, changed)| {
            let begun = begun.get(id).context("a change was never reacted to")?;
            let nanoseconds = begun.checked_sub(*changed).context("a reaction before its change")?;
            Ok(Duration::from_nanos(u64::try_from(nanoseconds)?))
        })
        .collect()
}

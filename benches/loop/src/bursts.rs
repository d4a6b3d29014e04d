//! Much at once: one transaction that changes every row, beside as many events for the peer; and passes without end over rows
//! that need nothing, beside a peer that does nothing in its reconcile.

use crate::{
    database::{self, Databases, FEW, MANY, psql},
    figures::{Bar, Figure, Pair},
    fixture,
    peer::Server,
    scenarios::{REST, between, ours},
};
use anyhow::{Result, ensure};
use std::time::Duration;
use tokio::time::sleep;

/// Pairs of bursts.
const BURST_PAIRS: usize = 9;
/// Pairs of processes that never rest.
const PASS_PAIRS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(3);

/// From the commit of one transaction that changes every row to the beginning of the last reconcile; for the peer, from the first
/// of as many events.
pub(crate) async fn bursts(databases: &Databases) -> Result<Vec<Figure>> {
    let server = Server::start(FEW).await?;
    let mut pairs = Vec::new();
    for number in 1..=BURST_PAIRS {
        let url = databases.copy(FEW, &format!("burst_{number}")).await?;
        let ours = our_burst(&url).await?.as_secs_f64();
        let peers = peers_burst(&server).await?.as_secs_f64();
        println!("burst of {FEW}, pair {number}: ours {ours:.3} s, peer {peers:.3} s");
        pairs.push(Pair { ours, peers });
    }
    Ok(vec![Figure::of_pairs("burst-10000", pairs, Bar::AtMost(1.0))])
}

async fn our_burst(url: &str) -> Result<Duration> {
    let mut subject = ours(url, FEW).await?;
    sleep(REST).await;
    // Every agent has applied something.
    psql(
        url,
        "update agent_reports set sequence = sequence + 1000000, applied_generation = 1;\n",
    )
    .await?;
    sleep(REST).await;
    let begun = subject.begun().await?;
    subject.leave().await?;
    last(between(&database::committed(url).await?, &begun)?)
}

async fn peers_burst(server: &Server) -> Result<Duration> {
    let mut subject = server.controller().await?;
    sleep(REST).await;
    let sent = server.burst().await?;
    sleep(REST).await;
    let begun = subject.begun().await?;
    subject.leave().await?;
    let sent = (0..FEW).map(|number| (fixture::environment(number), sent)).collect();
    last(between(&sent, &begun)?)
}

fn last(reactions: Vec<Duration>) -> Result<Duration> {
    ensure!(reactions.len() == FEW as usize, "{} reactions", reactions.len());
    Ok(reactions.into_iter().max().unwrap_or_default())
}

/// Passes a second over rows that need nothing. Ours compare what is wanted with what is there; the peer's reconcile is empty and
/// asks to be called again at once, as ours is made to.
pub(crate) async fn passes(databases: &Databases) -> Result<Vec<Figure>> {
    let server = Server::start(MANY).await?;
    let mut pairs = Vec::new();
    for number in 1..=PASS_PAIRS {
        let mut subject = ours(&databases.url(MANY).await?, MANY).await?;
        let ours = subject.rate(WARM_UP, MEASURED).await?;
        subject.leave().await?;
        let mut subject = server.controller().await?;
        let peers = subject.rate(WARM_UP, MEASURED).await?;
        subject.leave().await?;
        println!("passes over {MANY} rows, pair {number}: ours {ours:.0} a second, peer {peers:.0} a second");
        pairs.push(Pair { ours, peers });
    }
    Ok(vec![Figure::of_pairs("noop-passes-100000", pairs, Bar::AtLeast(0.5))])
}

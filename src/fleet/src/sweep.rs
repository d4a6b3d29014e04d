//! The sweep: one replica lists everything for all of them, and publishes what is different.
//!
//! ```text
//!  list (200 a page) -> judge beside what was published -> publish the differences -> ask by id for what is missing
//! ```
//!
//! Owns: when the lists are read, and who reads them: the holder of shard [`SWEEPING_SHARD`]. Must not: tell this process what
//! it saw; that comes back from Postgres, as to every other replica. Promises: a sweep is stored only under the lease that it
//! began under; a list that failed part-way is no observation; an unchanged fleet costs its pages, and one row.

pub(crate) mod source;

use crate::{
    breaker::Limits,
    confirm::{AT_ONCE, Answer, Confirmation, answered},
    ledger::{Beside, Ledger, List, Verdict},
};
use digitalocean::Client;
use jiff::{SignedDuration, Timestamp};
use model::InstallationId;
use runtime::Clock;
use schema::{Database, Fence, FleetKind, FleetPublication, FleetSweep, LeaseKeeper, SWEEPING_SHARD};
use source::Source;
use std::{collections::HashSet, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it is asked whether a sweep is due. Costs one small query, of one replica.
const PULSE: Duration = Duration::from_secs(1);
/// What one request of a list brings.
const PAGE: usize = 200;

/// How to sweep.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose resources.
    pub installation: InstallationId,
    /// How often, while nothing is under way.
    pub every: Duration,
    /// When a list is in doubt.
    pub limits: Limits,
}

/// A sweep that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// DigitalOcean did not say.
    #[error(transparent)]
    Cloud(#[from] digitalocean::Error),
    /// Postgres did not take it, or the lease was lost.
    #[error(transparent)]
    Database(#[from] schema::Error),
    /// What was seen cannot be written down.
    #[error("what was listed cannot be stored")]
    Row(#[from] serde_json::Error),
    /// What is stored names nothing that can be asked for.
    #[error("{0} is stored, but cannot be asked for")]
    Key(String),
}

/// Sweeps droplets and firewalls whenever this process holds the lease, until shutdown.
pub(crate) async fn run(database: Database, leases: LeaseKeeper, client: Client, config: Config, shutdown: CancellationToken) {
    let sweeper = |kind| Sweeper {
        database: database.clone(),
        leases: leases.clone(),
        source: Source::new(&client, config.installation.clone(), kind),
        config: config.clone(),
        ledger: None,
        confirmation: Confirmation::default(),
        last: None,
        soon: false,
    };
    // Each on its own: a list of droplets that does not come is no reason not to list firewalls.
    let (droplets, firewalls) = (sweeper(FleetKind::Droplets), sweeper(FleetKind::Firewalls));
    let work = async { tokio::join!(Box::pin(droplets.run()), Box::pin(firewalls.run())) };
    shutdown.run_until_cancelled(work).await;
}

/// Sweeps one kind.
struct Sweeper {
    database: Database,
    leases: LeaseKeeper,
    source: Source,
    config: Config,
    /// What is published, as long as nobody else can have published.
    ledger: Option<(Fence, Ledger)>,
    confirmation: Confirmation,
    last: Option<Last>,
    /// Whether the next sweep is due at once.
    soon: bool,
}

/// What the next sweep's time depends on.
#[derive(Clone, Copy, Debug)]
struct Last {
    began: Instant,
    pages: usize,
    withheld: bool,
}

impl Sweeper {
    async fn run(mut self) {
        let mut ticks = interval(PULSE.min(self.config.every));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(fence) = self.leases.fence(SWEEPING_SHARD) else {
                (self.ledger, self.last, self.soon) = (None, None, false);
                continue;
            };
            if let Err(error) = self.sweep_when_due(&fence).await {
                // What was seen before grows old by itself, and is unknown then.
                tracing::warn!(%error, kind = self.source.kind().as_str(), "the fleet could not be swept");
                self.ledger = None;
            }
        }
    }

    async fn sweep_when_due(&mut self, fence: &Fence) -> Result<(), SweepError> {
        if self.last.is_none() {
            self.last = self.last_of_others().await?;
        }
        if let Some(last) = self.last.filter(|_| !self.soon) {
            let stir = match self.source.kind() {
                FleetKind::Droplets => self.database.fleet_stir().await?,
                // Whoever works on a firewall reads it.
                FleetKind::Firewalls => None,
            };
            if last.began.elapsed() < self.pause(last, stir) {
                return Ok(());
            }
        }
        self.soon = false;
        let began = Instant::now();
        // Also a sweep that fails waits for its time.
        let before = self.last.map_or(0, |last| last.pages);
        self.last = Some(Last {
            began,
            pages: before,
            withheld: false,
        });
        let (listed, withheld) = self.sweep(fence).await?;
        self.last = Some(Last {
            began,
            pages: listed / PAGE + 1,
            withheld,
        });
        Ok(())
    }

    fn pause(&self, last: Last, stir: Option<SignedDuration>) -> Duration {
        let budget = self.source.budget();
        // While requests are short, those who wait for something under way wait for the next sweep.
        let stir = stir.filter(|_| !budget.is_short());
        pause(
            self.config.every,
            self.config.limits.pause,
            budget.spread(last.pages),
            last.withheld,
            stir,
        )
    }

    /// The sweep of whoever had the lease before: who takes it over need not sweep at once.
    async fn last_of_others(&self) -> Result<Option<Last>, SweepError> {
        let sweep = self.database.fleet_sweep_get(self.source.kind()).await?;
        let began = sweep.age.and_then(|age| Instant::now().checked_sub(age.unsigned_abs()));
        Ok(began.map(|began| Last {
            began,
            pages: 0,
            withheld: sweep.withheld.is_some(),
        }))
    }

    /// One sweep. Returns how many were listed, and whether they are in doubt.
    async fn sweep(&mut self, fence: &Fence) -> Result<(usize, bool), SweepError> {
        let kind = self.source.kind();
        let ledger = self.ledger_under(fence).await?;
        let Judged { before, list, verdict } = judged(&self.database, &self.source, &self.config.limits, &ledger).await?;
        let questions = Questions {
            began: before.now,
            missing: verdict.missing,
            unlisted: verdict.unlisted,
        };
        let (began_at, listed) = match &list {
            List::Whole(listed) => (Some(before.now), listed.len()),
            List::Truncated(_) => (None, 0),
        };
        let publication = FleetPublication {
            began_at,
            listed,
            withheld: verdict.withheld,
            rows: verdict.rows,
        };
        self.database.fleet_publish(fence, kind, &publication).await?;
        tell(kind, &before, &publication);
        let found = FleetPublication {
            began_at: None,
            rows: Vec::new(),
            ..publication.clone()
        };
        self.ledger = Some((*fence, ledger_with(ledger, publication)));
        let withheld = found.withheld.is_some();
        self.confirm(fence, &questions, found).await?;
        Ok((listed, withheld))
    }

    /// What is published: remembered, while the lease is the one under which it was read.
    async fn ledger_under(&mut self, fence: &Fence) -> Result<Ledger, SweepError> {
        match self.ledger.take() {
            Some((held, ledger)) if held == *fence => Ok(ledger),
            Some(_) | None => {
                self.confirmation = Confirmation::default();
                Ok(Ledger::new(self.database.fleet_list(self.source.kind()).await?))
            }
        }
    }

    /// Asks by id for some of what is missing, and of what lost the tags that it is listed by: whoever can give them back has to
    /// see it. Once all that is missing is surely gone, says so; the next sweep believes it then.
    async fn confirm(&mut self, fence: &Fence, questions: &Questions, mut found: FleetPublication) -> Result<(), SweepError> {
        let Some((_, ledger)) = &mut self.ledger else { return Ok(()) };
        let kind = self.source.kind();
        let now = self.leases.clock().now();
        let missing = self.confirmation.next(&questions.missing, self.config.limits.pause, now);
        for key in missing.iter().chain(questions.unlisted.iter().take(AT_ONCE)) {
            let Some(row) = ledger.get(key) else { continue };
            let seen = match self.source.look(row).await {
                Ok(seen) => seen,
                Err(SweepError::Cloud(error)) => {
                    // What was answered before still counts; the next sweep asks on.
                    tracing::warn!(%error, key, "could not be asked for");
                    break;
                }
                Err(error) => return Err(error),
            };
            let answer = answered(kind, row, seen, questions.began);
            match &answer {
                Answer::Gone => self.confirmation.gone(key.clone(), now),
                Answer::ListsLie => {
                    self.confirmation.there();
                    tracing::warn!(kind = kind.as_str(), key, "is missing from the list, but is there");
                }
                Answer::Unchanged | Answer::News(_) => {}
            }
            found.rows.extend(answer.news());
        }
        if !found.rows.is_empty() {
            self.database.fleet_publish(fence, kind, &found).await?;
            ledger.take(found.rows);
        }
        if self.confirmation.is_complete(&questions.missing) {
            self.database.fleet_confirm(fence, kind).await?;
            // The next sweep need not wait.
            self.soon = true;
        }
        Ok(())
    }
}

/// A list, and what it comes to beside what was published before it.
pub(crate) struct Judged {
    pub(crate) before: FleetSweep,
    pub(crate) list: List,
    pub(crate) verdict: Verdict,
}

/// Lists a kind, and judges the list. Stores nothing.
pub(crate) async fn judged(database: &Database, source: &Source, limits: &Limits, ledger: &Ledger) -> Result<Judged, SweepError> {
    let kind = source.kind();
    // Its clock is read before the list is: what the list lacks was not there later than that.
    let before = database.fleet_sweep_get(kind).await?;
    let list = source.list().await?;
    let absent = ledger.absent(&list);
    let wanted = if absent.is_empty() {
        HashSet::new()
    } else {
        database.environment_wanted(&absent).await?
    };
    let beside = Beside {
        kind,
        began: before.now,
        withheld: before.withheld.as_ref(),
        confirmed_at: before.confirmed_at,
        wanted: &wanted,
    };
    let verdict = ledger.judge(limits, &list, &beside);
    Ok(Judged { before, list, verdict })
}

/// What is asked for by id after a list.
struct Questions {
    /// When the list began.
    began: Timestamp,
    missing: Vec<String>,
    unlisted: Vec<String>,
}

fn ledger_with(mut ledger: Ledger, publication: FleetPublication) -> Ledger {
    ledger.take(publication.rows);
    ledger
}

/// How long after a sweep the next one is due. While something young is under way, one sweep spares each of those who wait for it
/// a look of its own; but a large fleet costs many requests, so they are spread over time.
fn pause(
    every: Duration,
    confirming: SignedDuration,
    spread: Duration,
    withheld: bool,
    stir: Option<SignedDuration>,
) -> Duration {
    let (soonest, latest) = (SignedDuration::from_secs(2), SignedDuration::from_secs(30));
    let patience = stir.map(|age| (age / 4).clamp(soonest, latest));
    let confirming = withheld.then_some(confirming);
    let wanted = [patience, confirming].into_iter().flatten().min();
    let wanted = wanted.map_or(every, |wanted| Duration::try_from(wanted).unwrap_or(every));
    wanted.max(spread).min(every)
}

/// Tells operators when lists begin or cease to be believed.
fn tell(kind: FleetKind, before: &FleetSweep, sweep: &FleetPublication) {
    let kind = kind.as_str();
    metrics::gauge!("fleet_listed", "kind" => kind).set(f64::from(u32::try_from(sweep.listed).unwrap_or(u32::MAX)));
    metrics::gauge!("fleet_withheld", "kind" => kind).set(f64::from(u8::from(sweep.withheld.is_some())));
    match (&before.withheld, &sweep.withheld) {
        (None, Some((_, reason))) => {
            tracing::error!(
                kind,
                reason,
                "nothing is created or deleted for what is missing until that is confirmed"
            );
        }
        (Some((since, _)), None) => tracing::warn!(kind, %since, "what lists say is believed again"),
        (Some((_, before)), Some((_, reason))) if before != reason => {
            tracing::error!(kind, reason, "what is missing is still not believed to be gone");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_due_sooner_while_something_is_under_way() {
        let every = Duration::from_mins(1);
        let secs = SignedDuration::from_secs;
        let cases = [
            (1, false, None, 60),
            (1, false, Some(secs(0)), 2),
            (1, false, Some(secs(40)), 10),
            (1, false, Some(secs(4_000)), 30),
            (25, false, Some(secs(0)), 25),
            (500, false, Some(secs(0)), 60),
            (1, true, None, 10),
            (1, true, Some(secs(0)), 2),
        ];
        for (spread, withheld, stir, expected) in cases {
            let found = pause(every, secs(10), Duration::from_secs(spread), withheld, stir);
            assert_eq!(found, Duration::from_secs(expected), "{spread} {withheld} {stir:?}");
        }
    }
}

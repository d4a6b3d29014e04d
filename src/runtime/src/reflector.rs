//! Keeps a [`Store`] of a source's rows current, and wakes whoever works on them.
//!
//! Owns: when rows are read. One read fills the store; notifications keep it current, by fetches in batches of the keys that they
//! name, or with a row that the source read along; and everything is read again after the connection that notifications come over
//! was lost, when the source asks for it, when most of it has changed at once, and on a period. Must not: know what a row is or
//! where it lives. Promises: a notification that is
//! lost costs latency, never correctness; a subscriber hears of every row that was added, changed or removed, and of all rows
//! with each full read; a slow subscriber delays nobody.

use crate::{
    backoff::{Backoff, Delays},
    chain::Chain,
    listening::{Heard, listening},
    source::{Fetched, Notification, Source},
    store::{ReadNumber, Store, Writer, store},
    wake::{Poster, Reason, Subscription, mailbox},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use metrics::{Counter, Gauge, counter, gauge};
use std::{collections::HashSet, fmt::Debug, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How a reflector reads.
#[derive(Clone, Copy, Debug)]
pub struct ReflectorConfig {
    /// From the end of one full read to the next, if nothing else asks for one before. Up to a tenth is taken off at random,
    /// so that replicas do not read in step.
    pub resync: Duration,
    /// The most rows that are fetched, or taken into the store, at once.
    pub batch: usize,
    /// How long the first full read waits for notifications to be heard. Reading before that means reading twice; never
    /// hearing any must not mean never reading.
    pub patience: Duration,
    /// Between tries of what failed.
    pub backoff: Backoff,
}

impl Default for ReflectorConfig {
    /// Every five minutes, 1,000 rows at once, two seconds of patience, backoff from 200 ms to 10 s.
    fn default() -> Self {
        Self {
            resync: Duration::from_mins(5),
            batch: 1000,
            patience: Duration::from_secs(2),
            backoff: Backoff {
                min: Duration::from_millis(200),
                max: Duration::from_secs(10),
            },
        }
    }
}

/// See the module. Does nothing until it is [run](Self::run).
pub struct Reflector<S: Source> {
    source: S,
    config: ReflectorConfig,
    writer: Writer<S::Key, S::Value>,
    subscribers: Vec<Poster<S::Key>>,
}

/// A reflector of this source, and the handle through which its rows are read.
pub fn reflector<S: Source>(source: S, config: ReflectorConfig) -> (Store<S::Key, S::Value>, Reflector<S>) {
    let (store, writer) = store();
    let reflector = Reflector {
        source,
        config,
        writer,
        subscribers: Vec::new(),
    };
    (store, reflector)
}

impl<S: Source> Debug for Reflector<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reflector")
            .field("source", &S::NAME)
            .field("subscribers", &self.subscribers.len())
            .finish_non_exhaustive()
    }
}

impl<S: Source> Reflector<S> {
    /// Wake-ups for one more subscriber.
    pub fn subscribe(&mut self) -> Subscription<S::Key> {
        let (poster, subscription) = mailbox();
        self.subscribers.push(poster);
        subscription
    }

    /// Reads and listens until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            source,
            config,
            writer,
            subscribers,
        } = self;
        let listening = listening(&source, config.backoff).ready_chunks(config.batch.max(1));
        let mut listening = std::pin::pin!(listening);
        let mut reading = Reading::new(&source, config, writer, subscribers);
        let work = async {
            loop {
                tokio::select! {
                    Some(heard) = listening.next() => reading.heard(heard),
                    () = reading.proceed() => {}
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }
}

type Listed<S> = Result<(<S as Source>::Key, <S as Source>::Value), <S as Source>::Error>;
type Listing<'s, S> = BoxStream<'s, Vec<Listed<S>>>;
type Fetching<'s, S> = BoxFuture<'s, Result<Fetched<<S as Source>::Key, <S as Source>::Value>, <S as Source>::Error>>;

/// The reads that are under way and those that are due.
struct Reading<'s, S: Source> {
    source: &'s S,
    config: ReflectorConfig,
    writer: Writer<S::Key, S::Value>,
    subscribers: Vec<Poster<S::Key>>,
    /// The full read that is under way.
    listing: Option<Listing<'s, S>>,
    /// When the next one begins, unless one is under way.
    list_at: Instant,
    list_delays: Delays,
    /// Asked for while one was under way, whose snapshot may be too old for it.
    list_again: bool,
    /// The fetch that is under way, what it asked for, and the full read that had last begun by then.
    fetching: Option<(Fetching<'s, S>, Vec<S::Key>, ReadNumber)>,
    /// When the next one may begin: later than now only after a failure.
    fetch_at: Instant,
    fetch_delays: Delays,
    /// Heard to have changed and not asked for since.
    changed: HashSet<S::Key>,
    /// The full read that had last begun when something was last heard.
    heard_by: ReadNumber,
    meters: Meters,
}

struct Meters {
    listening: Gauge,
    rows: Gauge,
    lists: Counter,
    list_failures: Counter,
    fetched: Counter,
    fetch_failures: Counter,
    lost: Counter,
}

impl Meters {
    fn new(source: &'static str) -> Self {
        Self {
            listening: gauge!("toolplane_reflector_listening", "source" => source),
            rows: gauge!("toolplane_reflector_rows", "source" => source),
            lists: counter!("toolplane_reflector_reads_total", "source" => source, "result" => "complete"),
            list_failures: counter!("toolplane_reflector_reads_total", "source" => source, "result" => "failed"),
            fetched: counter!("toolplane_reflector_fetched_total", "source" => source),
            fetch_failures: counter!("toolplane_reflector_fetch_failures_total", "source" => source),
            lost: counter!("toolplane_reflector_connections_lost_total", "source" => source),
        }
    }
}

impl<'s, S: Source> Reading<'s, S> {
    fn new(source: &'s S, config: ReflectorConfig, writer: Writer<S::Key, S::Value>, subscribers: Vec<Poster<S::Key>>) -> Self {
        let now = Instant::now();
        Self {
            source,
            config,
            heard_by: writer.read(),
            writer,
            subscribers,
            listing: None,
            list_at: now + config.patience,
            list_delays: config.backoff.delays(),
            list_again: false,
            fetching: None,
            fetch_at: now,
            fetch_delays: config.backoff.delays(),
            changed: HashSet::new(),
            meters: Meters::new(S::NAME),
        }
    }

    fn heard(&mut self, heard: Vec<Heard<S::Key, S::Value>>) {
        for heard in heard {
            self.meters
                .listening
                .set(if matches!(heard, Heard::Lost) { 0.0 } else { 1.0 });
            match heard {
                Heard::Notification(Notification::Changed(key)) => {
                    self.changed.insert(key);
                }
                Heard::Notification(Notification::Read(key, value)) => self.take_read_along(key, value),
                Heard::Notification(Notification::Relist) if self.listing.is_some() => self.list_again = true,
                Heard::Notification(Notification::Relist) => self.list_at = Instant::now(),
                // What is missed from here on is in the full read that the next connection begins with.
                Heard::Lost => self.meters.lost.increment(1),
            }
        }
        self.heard_by = self.writer.read();
    }

    /// Takes a row that came with the word of its change. Where it may not be the newest that is known or under way, because a
    /// full read has begun since the item before, or because the same key is being fetched, it is fetched instead.
    fn take_read_along(&mut self, key: S::Key, value: Option<S::Value>) {
        let fetched = self.fetching.as_ref().is_some_and(|(_, keys, _)| keys.contains(&key));
        if fetched || self.heard_by != self.writer.read() {
            self.changed.insert(key);
            return;
        }
        self.meters.fetched.increment(1);
        let keys = self.writer.merge_fetched([(key, value)], self.heard_by);
        self.post(&keys, Reason::Changed);
    }

    /// Begins what is due and waits for one step of what is under way. Nothing is lost when it is dropped before its end.
    async fn proceed(&mut self) {
        let now = Instant::now();
        if self.listing.is_none() && self.list_at <= now {
            self.begin_list();
        }
        if self.fetching.is_none() && !self.changed.is_empty() && self.fetch_at <= now {
            if self.is_crowd() {
                // What changed was heard of before this read begins, so the read has it.
                self.changed.clear();
                self.begin_list();
            } else {
                self.begin_fetch();
            }
        }
        tokio::select! {
            rows = next(&mut self.listing) => match rows {
                Some(rows) => self.take_rows(rows),
                None => self.complete_list(),
            },
            fetched = finished(&mut self.fetching) => self.take_fetched(fetched),
            () = sleep_until(self.list_at), if self.listing.is_none() => {}
            () = sleep_until(self.fetch_at), if self.fetching.is_none() && !self.changed.is_empty() => {}
        }
    }

    /// Whether reading everything costs less than fetching what changed: read by its key, a row takes several times as long.
    fn is_crowd(&self) -> bool {
        let changed = self.changed.len();
        self.listing.is_none() && changed > self.config.batch && changed >= self.writer.len() / 2
    }

    fn begin_list(&mut self) {
        self.writer.begin_read();
        self.list_again = false;
        self.listing = Some(self.source.list().ready_chunks(self.config.batch.max(1)).boxed());
    }

    fn take_rows(&mut self, rows: Vec<Listed<S>>) {
        let mut failure = None;
        let rows = rows
            .into_iter()
            .map_while(|row| row.map_err(|error| failure = Some(error)).ok());
        let keys = self.writer.merge_read(rows);
        self.post(&keys, Reason::Resynced);
        if let Some(error) = failure {
            // Rows that it did not come to are not gone: nothing is removed until a read is complete.
            self.meters.list_failures.increment(1);
            tracing::warn!(source = S::NAME, error = %Chain(&error), "a full read failed");
            self.listing = None;
            self.list_at = Instant::now() + self.list_delays.next();
        }
    }

    fn complete_list(&mut self) {
        self.listing = None;
        let removed = self.writer.complete_read();
        self.post(&removed, Reason::Changed);
        self.list_delays = self.config.backoff.delays();
        let rows = self.writer.len();
        self.meters.lists.increment(1);
        #[allow(clippy::cast_precision_loss)] // a gauge is a float
        self.meters.rows.set(rows as f64);
        tracing::debug!(source = S::NAME, rows, removed = removed.len(), "read in full");
        let now = Instant::now();
        self.list_at = if self.list_again {
            now
        } else {
            now + self.config.resync.mul_f64(rand::random_range(0.9..=1.0))
        };
    }

    fn begin_fetch(&mut self) {
        let mut keys: Vec<S::Key> = self.changed.drain().collect();
        self.changed.extend(keys.drain(self.config.batch.clamp(1, keys.len())..));
        let fetching = self.source.fetch(keys.clone()).boxed();
        self.fetching = Some((fetching, keys, self.writer.read()));
    }

    fn take_fetched(&mut self, fetched: Result<Fetched<S::Key, S::Value>, S::Error>) {
        let Some((_, asked, read)) = self.fetching.take() else {
            return;
        };
        match fetched {
            Ok(mut rows) => {
                self.meters.fetched.increment(asked.len() as u64);
                if rows.len() < asked.len() {
                    let answered: HashSet<&S::Key> = rows.iter().map(|(key, _)| key).collect();
                    let silent: Vec<S::Key> = asked.into_iter().filter(|key| !answered.contains(key)).collect();
                    rows.extend(silent.into_iter().map(|key| (key, None)));
                }
                let keys = self.writer.merge_fetched(rows, read);
                self.post(&keys, Reason::Changed);
                self.fetch_delays = self.config.backoff.delays();
            }
            Err(error) => {
                self.meters.fetch_failures.increment(1);
                tracing::warn!(source = S::NAME, error = %Chain(&error), keys = asked.len(), "changed rows could not be fetched");
                self.changed.extend(asked);
                self.fetch_at = Instant::now() + self.fetch_delays.next();
            }
        }
    }

    fn post(&mut self, keys: &[S::Key], reason: Reason) {
        if keys.is_empty() {
            return;
        }
        self.subscribers.retain(Poster::is_read);
        for subscriber in &self.subscribers {
            subscriber.post(keys, reason);
        }
    }
}

/// The next item of a stream that may not be there; then there is none, ever.
async fn next<T>(stream: &mut Option<BoxStream<'_, T>>) -> Option<T> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

/// The output of a fetch that may not be under way; then there is none, ever.
async fn finished<T, K, R>(fetching: &mut Option<(BoxFuture<'_, T>, K, R)>) -> T {
    match fetching {
        Some((fetching, _, _)) => fetching.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

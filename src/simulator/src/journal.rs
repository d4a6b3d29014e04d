//! What was asked of the simulator, and what should never have been: for tests to read.
//!
//! Promises: every request that may change something is an entry, with its body and with what it touched; reads are counted by kind.
//! Memory is bounded: the oldest entries are dropped beyond a limit, and counted.

mod touched;

pub use touched::{Resource, Touched};

use crate::rate::Limited;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Rises by one with each entry.
    pub sequence: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A request that may change something. User data is replaced by its length.
    Request {
        /// `POST`, `PUT`, `PATCH` or `DELETE`.
        method: String,
        /// With its query.
        path: String,
        /// The body; null when it is empty or no JSON.
        body: Value,
        /// The status that the API came to, whether or not the client saw it; `None` when a fault kept the request from it.
        status: Option<u16>,
        /// What was there already and that it speaks of, as it was then.
        touched: Vec<Touched>,
    },
    /// Two or more live droplets carry the same watched tag.
    Twins {
        /// The tag.
        tag: String,
        /// Their ids.
        droplets: Vec<u64>,
    },
    /// A droplet was destroyed behind the API's back.
    Destroyed {
        /// Its id.
        droplet: u64,
    },
    /// A create was accepted, and by a fault there is no droplet.
    Vanished {
        /// Its id.
        droplet: u64,
    },
}

impl Entry {
    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.what, What::Request { .. })
    }

    /// What a request speaks of that was there already; nothing for other entries.
    pub fn touched(&self) -> &[Touched] {
        match &self.what {
            What::Request { touched, .. } => touched,
            What::Twins { .. } | What::Destroyed { .. } | What::Vanished { .. } => &[],
        }
    }
}

/// How often what happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Reads by endpoint: `GET /v2/droplets/{id}`.
    pub reads: BTreeMap<String, u64>,
    /// Requests that may change something, by endpoint: `POST /v2/droplets`.
    pub changes: BTreeMap<String, u64>,
    /// Moments at which live droplets came to share a watched tag.
    pub twins: u64,
    /// What the rate limits have done.
    pub limits: Limited,
    /// Requests that ran into a fault, by the fault's kind.
    pub faults: BTreeMap<String, u64>,
    /// Entries that the journal no longer has.
    pub entries_dropped: u64,
    /// Actions that have ended and that the API no longer knows.
    pub actions_dropped: u64,
}

/// The latest entries, and counts of everything.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    entries: VecDeque<Entry>,
    /// Of the next entry.
    sequence: u64,
    counts: Counts,
}

impl Journal {
    /// Writes an entry, and drops the oldest ones beyond how many are kept.
    pub(crate) fn write(&self, what: What, kept: usize) {
        let mut pages = self.lock();
        pages.counts.twins += u64::from(matches!(what, What::Twins { .. }));
        let entry = Entry {
            sequence: pages.sequence,
            at: Timestamp::now(),
            what,
        };
        pages.sequence += 1;
        pages.entries.push_back(entry);
        while pages.entries.len() > kept {
            pages.entries.pop_front();
            pages.counts.entries_dropped += 1;
        }
    }

    /// Counts a request of an endpoint.
    pub(crate) fn count(&self, endpoint: String, is_read: bool) {
        let mut pages = self.lock();
        let counts = &mut pages.counts;
        let of = if is_read { &mut counts.reads } else { &mut counts.changes };
        *of.entry(endpoint).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// The entries from a sequence number on.
    pub(crate) fn since(&self, sequence: u64) -> Vec<Entry> {
        let pages = self.lock();
        let first = pages.entries.partition_point(|entry| entry.sequence < sequence);
        pages.entries.range(first..).cloned().collect()
    }

    /// The sequence number that the next entry gets.
    pub(crate) fn next(&self) -> u64 {
        self.lock().sequence
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body as the journal keeps it: user data carries secrets, and is long.
pub(crate) fn body_of(bytes: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if let Some(Value::String(data)) = body.get_mut("user_data") {
        *data = format!("{} bytes", data.len());
    }
    body
}

//! What was asked of the simulator, and what should never have been: for tests to read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
}

/// All entries since the start, and how many reads there were besides.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    entries: Vec<Entry>,
    reads: u64,
}

impl Journal {
    pub(crate) fn write(&self, what: What) {
        let mut pages = self.lock();
        let sequence = u64::try_from(pages.entries.len()).unwrap_or(u64::MAX);
        pages.entries.push(Entry {
            sequence,
            at: Timestamp::now(),
            what,
        });
    }

    pub(crate) fn read_counted(&self) {
        self.lock().reads += 1;
    }

    pub(crate) fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// The entries from a sequence number on.
    pub(crate) fn since(&self, sequence: u64) -> Vec<Entry> {
        let first = usize::try_from(sequence).unwrap_or(usize::MAX);
        self.lock().entries.iter().skip(first).cloned().collect()
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

//! How processes that use one token agree on who sends how much: each takes blocks of requests from a ledger that all of them share,
//! as large as what waits, and gives back what it does not send.
//!
//! Owns: the blocks that this process has. Must not: know where the ledger is kept. Promises: what a ledger grants is sent before it
//! runs out, or given back.

use super::{Priority, window::Wait};
use futures::future::BoxFuture;
use std::{collections::VecDeque, fmt::Debug, time::Duration};
use tokio::time::Instant;

/// What a process asks a ledger for. Arrays are by [`Priority`], the first to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How many requests wait.
    pub wanted: [u32; Priority::COUNT],
    /// How many may count against the minute, those of this ask included.
    pub minute: [u32; Priority::COUNT],
    /// How many may count against the hour.
    pub hour: [u32; Priority::COUNT],
    /// For how long a request counts.
    pub lengths: Lengths,
    /// For how long what is granted may be sent.
    pub lasts: Duration,
    /// How long a request may be under way after that, if nobody tells.
    pub under_way: Duration,
}

/// For how long a request counts against each limit, from its answer on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of the minute.
    pub minute: Duration,
    /// Of the hour.
    pub hour: Duration,
}

/// What a ledger answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many may be sent.
    Granted {
        /// Names the block when it is settled.
        block: i64,
        /// How many.
        requests: u32,
    },
    /// None now. It makes sense to ask again after this.
    Later(Duration),
}

/// A block whose requests were all answered, or can not be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub block: i64,
    /// How many of it were sent. The others are free again.
    pub sent: u32,
}

/// The ledger cannot be asked now.
#[derive(Debug, thiserror::Error)]
#[error("the shared request budget cannot be reached")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where processes that use one token write down what each may send.
pub trait Ledger: Debug + Send + Sync {
    /// Takes requests, or tells when there may be some.
    fn take<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Taken, LedgerError>>;

    /// For how long each priority would have to wait, as things stand. Takes nothing.
    fn wait<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<[Duration; Priority::COUNT], LedgerError>>;

    /// Tells what was sent of blocks, now that it is answered.
    fn settle<'a>(&'a self, settled: &'a [Settled], lengths: Lengths) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// `DigitalOcean` answered 429: nobody is granted anything for this long.
    fn block(&self, wait: Duration) -> BoxFuture<'_, Result<(), LedgerError>>;
}

#[derive(Debug)]
struct Block {
    id: i64,
    left: u32,
    sent: u32,
    under_way: u32,
    /// From here on nothing of it may be sent.
    until: Instant,
}

/// The blocks of this process.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    taken: VecDeque<Block>,
    /// For this priority and those that go after it there is nothing before then.
    dry: Option<(Priority, Instant)>,
    /// How many were sent of the block that ended last: as many are likely to be wanted again.
    last: u32,
}

/// What is asked for beside what waits, at most, so that a list of many pages does not ask for each.
const SPARE: u32 = 25;

impl Blocks {
    /// Takes one request off a block, and says which, and until when it may be sent.
    pub(super) fn spend(&mut self, priority: Priority, now: Instant) -> Result<(i64, Instant), Wait> {
        let Some(block) = self.taken.iter_mut().find(|block| block.left > 0 && now < block.until) else {
            return Err(self.dry_until(priority, now).map_or(Wait::ForOthers, Wait::Until));
        };
        block.left -= 1;
        block.sent += 1;
        block.under_way += 1;
        Ok((block.id, block.until))
    }

    /// As [`spend`](Self::spend), but takes nothing. What is neither there nor known to be missing has to be asked for.
    pub(super) fn check(&self, priority: Priority, now: Instant) -> Result<(), Wait> {
        if self.taken.iter().any(|block| block.left > 0 && now < block.until) {
            return Ok(());
        }
        self.dry_until(priority, now).map_or(Ok(()), |until| Err(Wait::Until(until)))
    }

    fn dry_until(&self, priority: Priority, now: Instant) -> Option<Instant> {
        let dry = self.dry.filter(|(first, until)| *first <= priority && now < *until);
        dry.map(|(_, until)| until)
    }

    /// Whether one that waits has to have a block asked for.
    pub(super) fn has_to_ask(&self, first: Priority, now: Instant) -> bool {
        self.check(first, now).is_ok() && !self.taken.iter().any(|block| block.left > 0 && now < block.until)
    }

    /// What to ask for beside what waits.
    pub(super) fn spare(&self) -> u32 {
        self.last.clamp(2, SPARE)
    }

    pub(super) fn granted(&mut self, id: i64, requests: u32, until: Instant) {
        self.dry = None;
        self.taken.push_back(Block {
            id,
            left: requests,
            sent: 0,
            under_way: 0,
            until,
        });
    }

    pub(super) fn dried_up(&mut self, first: Priority, until: Instant) {
        self.dry = Some((first, until));
    }

    pub(super) fn answer(&mut self, id: i64) {
        if let Some(block) = self.taken.iter_mut().find(|block| block.id == id) {
            block.under_way = block.under_way.saturating_sub(1);
        }
    }

    /// Takes out the blocks that are to be settled; all of which nothing is under way, when it is the end.
    pub(super) fn settled(&mut self, now: Instant, end: bool) -> Vec<Settled> {
        let over = |block: &Block| block.under_way == 0 && (block.left == 0 || now >= block.until || end);
        let settled: Vec<Settled> = self
            .taken
            .iter()
            .filter(|block| over(block))
            .map(|block| Settled {
                block: block.id,
                sent: block.sent,
            })
            .collect();
        self.taken.retain(|block| !over(block));
        if let Some(last) = settled.last() {
            self.last = last.sent;
        }
        settled
    }

    /// When a block can be settled that cannot now, if nothing else happens before.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        let idle = self.taken.iter().filter(|block| block.under_way == 0 && now < block.until);
        idle.map(|block| block.until).min()
    }
}

//! Serving many with few requests.
//!
//! ```text
//!  one asks                      a request of its own
//!  more ask while that goes on   they wait, and are served together: by one list of everything when that takes fewer requests than
//!                                one for each
//! ```
//!
//! Owns: which request serves whom. Must not: know what is read. Promises: a request that serves somebody began after they asked; lists
//! of everything are spread over time, ever more so while requests are short, and who would have to wait for one for long is told
//! when to come back instead.

use digitalocean::{Budget, Error};
use futures::future::join_all;
use jiff::Timestamp;
use std::{
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// Why a look failed. Shared by all whom the same request was to serve.
pub type LookError = Arc<Error>;

/// Something that can be read one by one, or all at once.
pub(crate) trait Reads: Send + Sync + 'static {
    /// What somebody asks.
    type Ask: Debug + Send + Sync;
    /// What they are answered.
    type Answer: Debug + Send;

    /// What the requests are spent from.
    fn budget(&self) -> &Budget;

    /// How many requests a list of everything takes; an estimate.
    fn pages(&self) -> usize;

    /// Whether one list of everything is to serve these, rather than a request for each. `many` says that requests for single ones were
    /// so many of late that a list of everything would have cost less.
    fn are_served_together(&self, asks: &[&Self::Ask], many: bool) -> bool;

    /// Reads one.
    fn one(&self, ask: &Self::Ask) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// Reads everything, and answers each, in order.
    fn all(&self, asks: &[Self::Ask]) -> impl Future<Output = Result<Vec<Self::Answer>, Error>> + Send;

    /// Nothing was read: it has to wait.
    fn wait(&self, retry_at: Timestamp) -> Error;
}

/// Those who ask, and who serves them.
#[derive(Debug)]
pub(crate) struct Together<R: Reads> {
    reads: R,
    queue: Mutex<Queue<R>>,
}

#[derive(Debug)]
struct Queue<R: Reads> {
    waiting: Vec<Waiting<R>>,
    /// Somebody is serving it.
    served: bool,
    /// No list of everything begins before this.
    spare: Instant,
    /// Until when requests for single ones last that were sent, as they are spread.
    singles: Instant,
}

#[derive(Debug)]
struct Waiting<R: Reads> {
    ask: R::Ask,
    answer: oneshot::Sender<Result<R::Answer, LookError>>,
}

impl<R: Reads> Together<R> {
    pub(crate) fn new(reads: R) -> Arc<Self> {
        Arc::new(Self {
            reads,
            queue: Mutex::new(Queue {
                waiting: Vec::new(),
                served: false,
                spare: Instant::now(),
                singles: Instant::now(),
            }),
        })
    }

    /// An answer that was read after this was called.
    pub(crate) async fn ask(self: &Arc<Self>, ask: R::Ask) -> Result<R::Answer, LookError> {
        let (answer, answered) = oneshot::channel();
        let serve = {
            let mut queue = self.queue();
            queue.waiting.push(Waiting { ask, answer });
            !std::mem::replace(&mut queue.served, true)
        };
        if serve {
            // In a task of its own: the pass that began it may be given up while others wait.
            tokio::spawn(Arc::clone(self).serve());
        }
        match answered.await {
            Ok(answer) => answer,
            // The task ended without an answer: the process is going.
            Err(_) => std::future::pending().await,
        }
    }

    /// Serves whoever waits until nobody does.
    async fn serve(self: Arc<Self>) {
        loop {
            let (together, spare) = self.next();
            let late = spare.saturating_duration_since(Instant::now()) > self.reads.budget().patience();
            if together && !late {
                // Who comes until then is served too.
                sleep_until(spare).await;
            }
            let waiting = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    queue.served = false;
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            match (together, late) {
                (true, true) => self.turn_away(waiting, spare),
                (true, false) => {
                    self.queue().spare = Instant::now() + self.reads.budget().spread(self.reads.pages());
                    self.serve_together(waiting).await;
                }
                (false, _) => {
                    self.singles_sent(waiting.len());
                    join_all(waiting.into_iter().map(|waiting| self.serve_one(waiting))).await;
                }
            }
        }
    }

    /// Whether those who wait are served together, and from when on.
    fn next(&self) -> (bool, Instant) {
        let queue = self.queue();
        let asks: Vec<&R::Ask> = queue.waiting.iter().map(|waiting| &waiting.ask).collect();
        let pages = self.reads.budget().spread(self.reads.pages());
        let many = queue.singles.saturating_duration_since(Instant::now()) > pages;
        (self.reads.are_served_together(&asks, many), queue.spare)
    }

    fn singles_sent(&self, count: usize) {
        let singles = &mut self.queue().singles;
        *singles = (*singles).max(Instant::now()) + self.reads.budget().spread(count);
    }

    async fn serve_one(&self, waiting: Waiting<R>) {
        let read = self.reads.one(&waiting.ask).await;
        // Whoever asked may have been given up.
        let _ = waiting.answer.send(read.map_err(Arc::new));
    }

    async fn serve_together(&self, waiting: Vec<Waiting<R>>) {
        let (asks, answers): (Vec<_>, Vec<_>) = waiting.into_iter().map(|waiting| (waiting.ask, waiting.answer)).unzip();
        match self.reads.all(&asks).await {
            Ok(read) => {
                for (answer, read) in answers.into_iter().zip(read) {
                    let _ = answer.send(Ok(read));
                }
            }
            Err(error) => fail(answers, error),
        }
    }

    fn turn_away(&self, waiting: Vec<Waiting<R>>, until: Instant) {
        let retry_at = Timestamp::now() + until.saturating_duration_since(Instant::now());
        fail(waiting.into_iter().map(|waiting| waiting.answer), self.reads.wait(retry_at));
    }

    fn queue(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fail<T>(answers: impl IntoIterator<Item = oneshot::Sender<Result<T, LookError>>>, error: Error) {
    let error = Arc::new(error);
    for answer in answers {
        let _ = answer.send(Err(Arc::clone(&error)));
    }
}

#[cfg(test)]
mod tests;

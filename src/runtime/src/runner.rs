//! One pass over one key.
//!
//! Owns: the order of the phases, and what an error in one of them means for the others. Must not: know when or how often a key
//! is worked on. Promises: the first error ends the pass; nothing is done that was not decided from the sources themselves; the
//! status is written whenever there is something to say, an error included.

use crate::{
    clock::{Clock, bounded},
    reconciler::{Error, Plan, Read, Reconciler},
    reflector::Chain,
};
use std::time::Duration;

/// How a pass ended.
#[derive(Debug)]
pub enum Outcome {
    /// There is nothing left to do for the key, ever, unless it is woken.
    Gone,
    /// Everything was as it should be, as far as memory told.
    Noop {
        /// When to look again.
        requeue: Option<Duration>,
    },
    /// The sources were read, and what was found to be needed was done and written.
    Done {
        /// When to look again.
        requeue: Option<Duration>,
    },
    /// A phase failed.
    Failed(Error),
}

impl Outcome {
    /// One word, for metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Noop { .. } => "noop",
            Self::Done { .. } => "done",
            Self::Failed(Error::Retriable { .. }) => "retriable",
            Self::Failed(Error::Terminal { .. }) => "terminal",
        }
    }
}

/// A pass.
pub(crate) async fn pass<R: Reconciler>(reconciler: &R, key: &R::Key, clock: &dyn Clock) -> Outcome {
    match cached(reconciler, key, clock).await {
        Some(outcome) => outcome,
        // Boxed, because most passes end above and need not carry room for what follows.
        None => Box::pin(authoritative(reconciler, key, clock)).await,
    }
}

/// The part of a pass that touches nothing; `None` when there is something to do.
async fn cached<R: Reconciler>(reconciler: &R, key: &R::Key, clock: &dyn Clock) -> Option<Outcome> {
    match look(reconciler, key, Read::Cached, clock).await {
        Look::Gone => Some(Outcome::Gone),
        Look::Planned(_, plan) if plan.is_noop() => Some(Outcome::Noop {
            requeue: plan.requeue.map(bounded),
        }),
        Look::Planned(..) => None,
        Look::Failed(desired, error) => Some(Outcome::Failed(finish(reconciler, key, desired.as_ref(), None, error).await)),
    }
}

/// The part of a pass that acts: reads the sources, decides again, acts and writes.
async fn authoritative<R: Reconciler>(reconciler: &R, key: &R::Key, clock: &dyn Clock) -> Outcome {
    let (desired, plan) = match look(reconciler, key, Read::Authoritative, clock).await {
        Look::Gone => return Outcome::Gone,
        Look::Planned(desired, plan) => (desired, plan),
        Look::Failed(desired, error) => {
            return Outcome::Failed(finish(reconciler, key, desired.as_ref(), None, error).await);
        }
    };
    for action in &plan.actions {
        tracing::debug!(?action, "acting");
        if let Err(error) = reconciler.act(key, &desired, action).await {
            return Outcome::Failed(finish(reconciler, key, Some(&desired), plan.status, error).await);
        }
    }
    if plan.status.is_some()
        && let Err(error) = reconciler.write_status(key, &desired, plan.status, None).await
    {
        return Outcome::Failed(error);
    }
    Outcome::Done {
        requeue: plan.requeue.map(bounded),
    }
}

/// What `load`, `observe` and `decide` came to.
enum Look<R: Reconciler> {
    Gone,
    Planned(R::Desired, Plan<R::Action, R::Status>),
    Failed(Option<R::Desired>, Error),
}

async fn look<R: Reconciler>(reconciler: &R, key: &R::Key, read: Read, clock: &dyn Clock) -> Look<R> {
    let desired = match reconciler.load(key, read).await {
        Ok(Some(desired)) => desired,
        Ok(None) => return Look::Gone,
        Err(error) => return Look::Failed(None, error),
    };
    match reconciler.observe(key, &desired, read).await {
        Ok(observed) => {
            let plan = reconciler.decide(&desired, &observed, clock.now());
            Look::Planned(desired, plan)
        }
        Err(error) => Look::Failed(Some(desired), error),
    }
}

/// Writes the status of a pass that failed, if it came far enough to have a row to write to, and returns the error that it
/// failed with. That the status could not be written either is for the log alone: the next pass writes it.
async fn finish<R: Reconciler>(
    reconciler: &R,
    key: &R::Key,
    desired: Option<&R::Desired>,
    status: Option<R::Status>,
    error: Error,
) -> Error {
    if let Some(desired) = desired
        && let Err(unwritten) = reconciler.write_status(key, desired, status, Some(&error)).await
    {
        tracing::warn!(error = %Chain(&unwritten), "the status of a failed pass could not be written");
    }
    error
}

//! The contract between the runner and a reconciler: `load / observe / decide / act / write_status`.

use jiff::{SignedDuration, Timestamp};
use std::{fmt::Debug, future::Future, hash::Hash};

/// What is known of something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observation<T> {
    /// Not read, or not believed. Never leads to a create or a delete.
    Unknown,
    /// Seen not to be there.
    Absent,
    /// Seen.
    Present(T),
}

/// How fresh what a pass reads must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Read {
    /// From memory; costs neither a query nor a request. A pass that finds nothing to do ends here.
    Cached,
    /// From the source itself. Every pass that is about to act has read and decided again from this.
    Authoritative,
}

/// Why a phase of a pass failed. Decided where the error is born.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Trying again may help; the key backs off, at least for `after`.
    #[error("{reason}: {message}")]
    Retriable {
        /// One upper-camel-case word, for conditions and metrics.
        reason: &'static str,
        /// A sentence that names the part or the field.
        message: String,
        /// The soonest time at which trying again makes sense, from now.
        after: Option<SignedDuration>,
        /// What lies beneath.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Nothing failed: what the pass needs will be there after a while, and the key is worked on again then. No backoff grows.
    #[error("{reason}: {message}")]
    Waiting {
        /// One upper-camel-case word, for conditions and metrics.
        reason: &'static str,
        /// A sentence that says what is waited for, without the time: a text that changed with every try would wake the key.
        message: String,
        /// When it makes sense to go on, from now.
        after: SignedDuration,
    },
    /// Trying again is of no use until the row changes.
    #[error("{reason}: {message}")]
    Terminal {
        /// One upper-camel-case word, for conditions and metrics.
        reason: &'static str,
        /// A sentence that names the field, what was wrong and what would be right.
        message: String,
        /// What lies beneath.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// A retriable error with nothing beneath it.
    pub fn retriable(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Retriable {
            reason,
            message: message.into(),
            after: None,
            source: None,
        }
    }

    /// A terminal error with nothing beneath it.
    pub fn terminal(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Terminal {
            reason,
            message: message.into(),
            source: None,
        }
    }

    /// The word for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Retriable { reason, .. } | Self::Waiting { reason, .. } | Self::Terminal { reason, .. } => reason,
        }
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        match self {
            Self::Retriable { message, .. } | Self::Waiting { message, .. } | Self::Terminal { message, .. } => message,
        }
    }
}

/// What ended a pass that came as far as a row, and at which step.
#[derive(Debug)]
pub struct Failure<'a, A> {
    /// Why the step failed.
    pub error: &'a Error,
    /// Which step that was.
    pub at: Step<'a, A>,
}

/// A step of a pass that can fail once there is a row.
#[derive(Debug)]
pub enum Step<'a, A> {
    /// Reading what is there. Nothing was done.
    Observing,
    /// Carrying out this action. Those before it were carried out, those after it were not begun.
    Acting(&'a A),
}

/// What one pass is going to do: the output of a pure decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<A, S> {
    /// External effects, one each, in order. The first that fails ends the pass.
    pub actions: Vec<A>,
    /// What to write back; `None` when the row already says it.
    pub status: Option<S>,
    /// When to look again if nothing wakes the key before; `None` leaves it to the resync.
    pub requeue: Option<SignedDuration>,
}

impl<A, S> Plan<A, S> {
    /// Nothing to do and nothing to say.
    pub fn noop() -> Self {
        Self {
            actions: Vec::new(),
            status: None,
            requeue: None,
        }
    }

    /// Whether the pass ends without touching anything.
    pub fn is_noop(&self) -> bool {
        self.actions.is_empty() && self.status.is_none()
    }
}

/// Kept for as long as a pass acts, so that whoever gives work away can wait for its end. Dropped with the pass, also when that is
/// aborted or panics.
#[derive(Default)]
pub struct Hold(Option<Box<dyn Send>>);

impl Hold {
    /// Keeps this.
    pub fn new(kept: impl Send + 'static) -> Self {
        Self(Some(Box::new(kept)))
    }
}

impl Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.0.is_some()).finish()
    }
}

/// One kind's business, without any of the mechanism. The runner calls the phases in this order and stops at the first error:
///
/// 1. `load`, `observe`, `decide` from memory ([`Read::Cached`]); a no-op plan ends the pass here.
/// 2. `hold`: whether the key is still this process's to act on. Then `load`, `observe`, `decide` from the sources
///    ([`Read::Authoritative`]).
/// 3. `act`, once for each action.
/// 4. `write_status`, always when the plan has a status or a phase failed.
pub trait Reconciler: Send + Sync + 'static {
    /// Names a row; the only thing that the queue carries.
    type Key: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// What is wanted, as loaded from the rows.
    type Desired: Send + Sync;
    /// What is there.
    type Observed: Send + Sync;
    /// One external effect.
    type Action: Debug + Send + Sync;
    /// What is written back.
    type Status: Debug + Send + Sync;

    /// The kind's name, for spans, metrics and logs: `environment`.
    const KIND: &'static str;

    /// Leave to act on a key, kept until the pass ends; `None` ends the pass before it acts, as if the key were gone. Whoever gives
    /// the key away wakes nobody: who has it next does.
    fn hold(&self, _key: &Self::Key) -> Option<Hold> {
        Some(Hold::default())
    }

    /// The desired state of a key, or `None` when there is nothing left to do for it.
    fn load(&self, key: &Self::Key, read: Read) -> impl Future<Output = Result<Option<Self::Desired>, Error>> + Send;

    /// What is there, as far as it can be told.
    fn observe(
        &self,
        key: &Self::Key,
        desired: &Self::Desired,
        read: Read,
    ) -> impl Future<Output = Result<Self::Observed, Error>> + Send;

    /// What to do about the difference. Pure: no I/O, no clock, no randomness, no logging.
    fn decide(&self, desired: &Self::Desired, observed: &Self::Observed, now: Timestamp) -> Plan<Self::Action, Self::Status>;

    /// Carries out one action. Safe to repeat. Branches on no policy.
    fn act(
        &self,
        key: &Self::Key,
        desired: &Self::Desired,
        action: &Self::Action,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Writes what was seen, fenced by the row's generation and the lease's epoch. `failure` is what ended the pass, and `status`
    /// what the plan says, if it came so far.
    fn write_status(
        &self,
        key: &Self::Key,
        desired: &Self::Desired,
        status: Option<Self::Status>,
        failure: Option<Failure<'_, Self::Action>>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

//! One pass over one key.
//!
//! Owns: the order of the phases, and what an error in one of them means for the others. Must not: know when or how often a key
//! is worked on. Promises: the first error ends the pass; nothing is done that was not decided from the sources themselves; the
//! status is written whenever there is something to say, an error included.

use crate::{
    chain::Chain,
    clock::{Clock, bounded},
    reconciler::{Error, Failure, Plan, Read, Reconciler, Step},
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
            Self::Failed(Error::Waiting { .. }) => "waiting",
            Self::Failed(Error::Terminal { .. }) => "terminal",
        }
    }
}

/// One pass over one key, to its end.
pub async fn pass<R: Reconciler>(reconciler: &R, key: &R::Key, clock: &dyn Clock) -> Outcome {
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
        Look::Failed(desired, error) => Some(Outcome::Failed(unread(reconciler, key, desired.as_ref(), error).await)),
    }
}

/// The part of a pass that acts: reads the sources, decides again, acts and writes.
async fn authoritative<R: Reconciler>(reconciler: &R, key: &R::Key, clock: &dyn Clock) -> Outcome {
    let Some(_hold) = reconciler.hold(key) else {
        return Outcome::Gone;
    };
    let (desired, plan) = match look(reconciler, key, Read::Authoritative, clock).await {
        Look::Gone => return Outcome::Gone,
        Look::Planned(desired, plan) => (desired, plan),
        Look::Failed(desired, error) => {
            return Outcome::Failed(unread(reconciler, key, desired.as_ref(), error).await);
        }
    };
    for action in &plan.actions {
        tracing::debug!(?action, "acting");
        if let Err(error) = reconciler.act(key, &desired, action).await {
            let at = Step::Acting(action);
            return Outcome::Failed(finish(reconciler, key, &desired, plan.status, at, error).await);
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

/// Ends a pass that read too little to decide by: what is there when there is a row, and without a row nothing can be said of it.
async fn unread<R: Reconciler>(reconciler: &R, key: &R::Key, desired: Option<&R::Desired>, error: Error) -> Error {
    match desired {
        Some(desired) => finish(reconciler, key, desired, None, Step::Observing, error).await,
        None => error,
    }
}

/// Writes the status of a pass that failed, and returns the error that it failed with. That the status could not be written either
/// is for the log alone: the next pass writes it.
async fn finish<R: Reconciler>(
    reconciler: &R,
    key: &R::Key,
    desired: &R::Desired,
    status: Option<R::Status>,
    at: Step<'_, R::Action>,
    error: Error,
) -> Error {
    let failure = Failure { error: &error, at };
    if let Err(unwritten) = reconciler.write_status(key, desired, status, Some(failure)).await {
        tracing::warn!(error = %Chain(&unwritten), "the status of a failed pass could not be written");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hold, SystemClock};
    use jiff::{SignedDuration, Timestamp};
    use std::sync::{Arc, Mutex};

    /// One kind whose cached and authoritative plans are given, whose named phase fails, and which writes down its calls.
    #[derive(Default)]
    struct Fake {
        cached: Option<Plan<u8, &'static str>>,
        authoritative: Option<Plan<u8, &'static str>>,
        fails: Vec<&'static str>,
        calls: Mutex<Vec<String>>,
        given_away: bool,
        held: Arc<()>,
    }

    impl Fake {
        fn call(&self, call: String) -> Result<(), Error> {
            let fails = self.fails.contains(&call.as_str());
            self.calls.lock().unwrap().push(call);
            if fails {
                return Err(Error::retriable("Failed", "as told"));
            }
            Ok(())
        }

        async fn pass(&self) -> (Outcome, Vec<String>) {
            let outcome = pass(self, &7, &SystemClock).await;
            (outcome, self.calls.lock().unwrap().clone())
        }
    }

    impl Reconciler for Fake {
        type Key = u8;
        type Desired = Plan<u8, &'static str>;
        type Observed = ();
        type Action = u8;
        type Status = &'static str;

        const KIND: &'static str = "fake";

        fn hold(&self, _: &u8) -> Option<Hold> {
            (!self.given_away).then(|| Hold::new(Arc::clone(&self.held)))
        }

        async fn load(&self, _: &u8, read: Read) -> Result<Option<Self::Desired>, Error> {
            self.call(format!("load {read:?}"))?;
            Ok(match read {
                Read::Cached => self.cached.clone(),
                Read::Authoritative => self.authoritative.clone(),
            })
        }

        async fn observe(&self, _: &u8, _: &Self::Desired, read: Read) -> Result<(), Error> {
            self.call(format!("observe {read:?}"))
        }

        fn decide(&self, desired: &Self::Desired, (): &(), _: Timestamp) -> Plan<u8, &'static str> {
            desired.clone()
        }

        async fn act(&self, _: &u8, _: &Self::Desired, action: &u8) -> Result<(), Error> {
            assert_eq!(Arc::strong_count(&self.held), 2, "held while it acts");
            self.call(format!("act {action}"))
        }

        async fn write_status(
            &self,
            _: &u8,
            _: &Self::Desired,
            status: Option<&'static str>,
            failure: Option<Failure<'_, u8>>,
        ) -> Result<(), Error> {
            let failure = failure.map_or(String::new(), |Failure { error, at }| format!("{} {at:?}", error.reason()));
            self.call(format!("write {}{failure}", status.unwrap_or_default()))
        }
    }

    fn work() -> Plan<u8, &'static str> {
        Plan {
            actions: vec![1, 2],
            status: Some("status "),
            requeue: Some(SignedDuration::from_secs(5)),
        }
    }

    #[tokio::test]
    async fn a_cached_noop_touches_neither_source_nor_outside_nor_status() {
        let fake = Fake {
            cached: Some(Plan {
                requeue: Some(SignedDuration::from_secs(9)),
                ..Plan::noop()
            }),
            authoritative: Some(work()),
            ..Fake::default()
        };
        let (outcome, calls) = fake.pass().await;
        assert!(matches!(outcome, Outcome::Noop { requeue: Some(after) } if after.as_secs() == 9));
        assert_eq!(calls, ["load Cached", "observe Cached"]);
    }

    #[tokio::test]
    async fn work_is_decided_again_from_the_sources_and_done_in_order() {
        let fake = Fake {
            cached: Some(work()),
            authoritative: Some(work()),
            ..Fake::default()
        };
        let (outcome, calls) = fake.pass().await;
        assert!(matches!(outcome, Outcome::Done { requeue: Some(after) } if after.as_secs() == 5));
        let expected = [
            "load Cached",
            "observe Cached",
            "load Authoritative",
            "observe Authoritative",
            "act 1",
            "act 2",
        ];
        assert_eq!(calls, [&expected[..], &["write status "]].concat());
    }

    #[tokio::test]
    async fn nothing_is_read_or_done_for_a_key_that_is_being_given_away() {
        let mut fake = Fake {
            cached: Some(work()),
            authoritative: Some(work()),
            given_away: true,
            ..Fake::default()
        };
        let (outcome, calls) = fake.pass().await;
        assert!(matches!(outcome, Outcome::Gone));
        assert_eq!(calls, ["load Cached", "observe Cached"]);
        fake.given_away = false;
        assert!(matches!(fake.pass().await.0, Outcome::Done { .. }));
        assert_eq!(Arc::strong_count(&fake.held), 1, "let go when the pass has ended");
    }

    #[tokio::test]
    async fn what_only_a_stale_memory_asked_for_is_not_done() {
        let fake = Fake {
            cached: Some(work()),
            authoritative: Some(Plan::noop()),
            ..Fake::default()
        };
        let (outcome, calls) = fake.pass().await;
        assert!(matches!(outcome, Outcome::Done { requeue: None }));
        assert_eq!(calls.last().unwrap(), "observe Authoritative");
    }

    #[tokio::test]
    async fn a_row_that_is_gone_ends_the_pass() {
        assert!(matches!(Fake::default().pass().await.0, Outcome::Gone));
        let fake = Fake {
            cached: Some(work()),
            ..Fake::default()
        };
        let (outcome, calls) = fake.pass().await;
        assert!(matches!(outcome, Outcome::Gone));
        assert_eq!(calls.last().unwrap(), "load Authoritative");
    }

    /// The calls from the failing one on, when each of these fails.
    async fn calls_from_failure(fails: &[&'static str]) -> Vec<String> {
        let fake = Fake {
            cached: Some(work()),
            authoritative: Some(work()),
            fails: fails.to_vec(),
            ..Fake::default()
        };
        let (outcome, calls) = fake.pass().await;
        assert!(
            matches!(&outcome, Outcome::Failed(error) if error.reason() == "Failed"),
            "{outcome:?}"
        );
        calls.into_iter().skip_while(|call| call != fails[0]).collect()
    }

    #[tokio::test]
    async fn the_first_error_ends_the_pass_and_is_written_when_there_is_a_row() {
        assert_eq!(calls_from_failure(&["load Cached"]).await, ["load Cached"]);
        assert_eq!(
            calls_from_failure(&["observe Cached"]).await,
            ["observe Cached", "write Failed Observing"]
        );
        assert_eq!(calls_from_failure(&["load Authoritative"]).await, ["load Authoritative"]);
        assert_eq!(
            calls_from_failure(&["observe Authoritative"]).await,
            ["observe Authoritative", "write Failed Observing"]
        );
        assert_eq!(
            calls_from_failure(&["act 1"]).await,
            ["act 1", "write status Failed Acting(1)"]
        );
        assert_eq!(calls_from_failure(&["write status "]).await, ["write status "]);
    }

    #[tokio::test]
    async fn a_status_that_cannot_be_written_does_not_hide_the_error() {
        assert_eq!(
            calls_from_failure(&["act 2", "write status Failed Acting(2)"]).await,
            ["act 2", "write status Failed Acting(2)"]
        );
    }
}

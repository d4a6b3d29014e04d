//! The one place that every effect on the outside passes: each request to DigitalOcean, each write to the database, each call to
//! an agent.
//!
//! Owns: what an effect is called, and the moments around it at which somebody may look. Must not: know what an effect does, or
//! change what comes of it. Promises: without a witness an effect costs one comparison more than without this crate; with one,
//! nothing happens before the witness has let the effect begin, and its answer is not handed over before the witness has let that
//! happen.
//!
//! ```text
//! caller --> Before --(let go)--> the effect --> After --(let go)--> answer to the caller
//! ```
//!
//! A witness that never lets go leaves the caller where a crash would: before the effect, or after it and without its answer.
//! Dropping the caller then is the crash.

use futures::future::BoxFuture;
use std::{error::Error, fmt, sync::Arc};

/// Whom an effect reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum System {
    /// The cloud's API.
    DigitalOcean,
    /// The database.
    Postgres,
    /// The agent of one droplet.
    Agent,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DigitalOcean => "digitalocean",
            Self::Postgres => "postgres",
            Self::Agent => "agent",
        })
    }
}

/// One effect: `digitalocean.droplet_create`. Names are stable, since people write them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effect {
    /// Whom it reaches.
    pub system: System,
    /// The method that has it.
    pub name: &'static str,
    /// Whether it may change something there.
    pub mutating: bool,
}

impl Effect {
    /// Reads something over there.
    pub const fn read(system: System, name: &'static str) -> Self {
        Self {
            system,
            name,
            mutating: false,
        }
    }

    /// May change something over there.
    pub const fn write(system: System, name: &'static str) -> Self {
        Self {
            system,
            name,
            mutating: true,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.system, self.name)
    }
}

/// Where an effect stands when the witness is asked.
#[derive(Debug)]
pub enum Moment<'a> {
    /// Nothing has been sent.
    Before,
    /// It is over, and its caller does not know yet. The error is the one that the caller will get.
    After(Result<(), &'a (dyn Error + Send + Sync + 'static)>),
}

/// Looks at every effect, and may hold it up for as long as it likes.
pub trait Witness: Send + Sync {
    /// What is returned is awaited before the effect goes on.
    fn moment(&self, effect: Effect, moment: Moment<'_>) -> BoxFuture<'static, ()>;
}

/// The way that effects take. Given to whoever has some when it is made; cheap to clone.
#[derive(Clone, Default)]
pub struct Effects {
    witness: Option<Arc<dyn Witness>>,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("witnessed", &self.witness.is_some()).finish()
    }
}

impl Effects {
    /// Every effect is shown to this witness. [`Default`] shows them to nobody.
    pub fn witnessed(witness: Arc<dyn Witness>) -> Self {
        Self { witness: Some(witness) }
    }

    /// Has one effect. The future is what has it, and does nothing before it is polled.
    pub async fn run<T, E>(&self, effect: Effect, future: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: Error + Send + Sync + 'static,
    {
        let Some(witness) = &self.witness else {
            return future.await;
        };
        witness.moment(effect, Moment::Before).await;
        let result = future.await;
        let told = witness.moment(effect, Moment::After(result.as_ref().map(drop).map_err(|error| error as _)));
        told.await;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    const EFFECT: Effect = Effect::write(System::DigitalOcean, "droplet_create");

    #[derive(Debug)]
    struct Lost;

    impl fmt::Display for Lost {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("lost")
        }
    }

    impl Error for Lost {}

    /// Writes down what it sees, and holds one kind of moment up for ever.
    #[derive(Default)]
    struct Notes {
        seen: Mutex<Vec<String>>,
        holds: Option<&'static str>,
    }

    impl Witness for Notes {
        fn moment(&self, effect: Effect, moment: Moment<'_>) -> BoxFuture<'static, ()> {
            let word = match moment {
                Moment::Before => "before".to_owned(),
                Moment::After(Ok(())) => "after".to_owned(),
                Moment::After(Err(error)) => format!("after: {error}"),
            };
            let held = self.holds.is_some_and(|holds| word.starts_with(holds));
            self.seen.lock().unwrap().push(format!("{effect} {word}"));
            if held {
                futures::future::pending().boxed()
            } else {
                std::future::ready(()).boxed()
            }
        }
    }

    #[tokio::test]
    async fn a_witness_sees_both_sides_of_an_effect_and_its_failure() {
        let notes = Arc::new(Notes::default());
        let effects = Effects::witnessed(notes.clone());
        assert_eq!(effects.run(EFFECT, async { Ok::<_, Lost>(7) }).await.unwrap(), 7);
        assert!(effects.run(EFFECT, async { Err::<(), _>(Lost) }).await.is_err());
        let name = "digitalocean.droplet_create";
        let expected = ["before", "after", "before", "after: lost"].map(|word| format!("{name} {word}"));
        assert_eq!(*notes.seen.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn an_effect_that_is_held_up_before_never_happens_and_one_after_never_answers() {
        for (holds, happens) in [("before", false), ("after", true)] {
            let notes = Notes {
                holds: Some(holds),
                ..Notes::default()
            };
            let happened = AtomicBool::new(false);
            let effects = Effects::witnessed(Arc::new(notes));
            let effect = async {
                happened.store(true, Ordering::SeqCst);
                Ok::<_, Lost>(())
            };
            assert!(
                effects.run(EFFECT, effect).now_or_never().is_none(),
                "the answer is held back"
            );
            assert_eq!(happened.load(Ordering::SeqCst), happens);
        }
    }
}

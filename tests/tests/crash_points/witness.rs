//! Counts the effects of one replica, and crashes it at one of them.
//!
//! Owns: which effect is the point, and what "crashed" means for every other effect that is under way. Must not: know what an
//! effect does. Promises: from the moment of the crash on no effect begins and no answer is handed over.

use effects::{Effect, Moment, System, Witness};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What follows from time alone, and says nothing about what a replica wants: its leases and their loss, its share of the requests, what it was
/// told by agents and by sweeps.
const BOOKKEEPING: &[&str] = &[
    "lease_hold",
    "lease_release",
    "lease_leave",
    "write_refused",
    "heartbeat_record",
    "event_prune",
    "fleet_publish",
    "fleet_confirm",
    "requests_take",
    "requests_settle",
];

/// What is tried again and again until something else has come to be.
const REPEATED: &[&str] = &["intent_enrol"];

/// Of what is asked or tried again and again while something is waited for, this many occurrences are points: how many more there
/// are depends on the clock alone, and between two of them nothing has changed that is not a point itself.
const POLLED: u32 = 2;

/// When a replica ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Before the effect.
    Before,
    /// After the effect, whose answer it never sees.
    Unanswered,
    /// After it saw the answer, before it changes anything else.
    Unrecorded,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::Unanswered, Self::Unrecorded];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::Unanswered => "unanswered",
            Self::Unrecorded => "unrecorded",
        })
    }
}

/// An effect: the `nth` of its name since the scenario began, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    pub(crate) effect: String,
    pub(crate) nth: u32,
    /// Whether it may change something.
    pub(crate) mutating: bool,
}

/// Where a replica ends, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Crash {
    pub(crate) point: Point,
    pub(crate) kind: Kind,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}:{}", self.point.effect, self.point.nth, self.kind)
    }
}

impl FromStr for Crash {
    type Err = ();

    /// As it is displayed.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (point, kind) = text.rsplit_once(':').ok_or(())?;
        let kind = Kind::ALL.into_iter().find(|known| known.to_string() == kind).ok_or(())?;
        let (effect, nth) = point.rsplit_once('#').ok_or(())?;
        let point = Point {
            effect: effect.to_owned(),
            nth: nth.parse().map_err(|_| ())?,
            mutating: true,
        };
        Ok(Self { point, kind })
    }
}

/// The witness of one replica.
pub(crate) struct Crasher {
    state: Arc<Mutex<State>>,
    crashed: CancellationToken,
}

struct State {
    began: Instant,
    /// Effects begun and ended since the scenario began, by name.
    begun: BTreeMap<Effect, u32>,
    ended: BTreeMap<Effect, u32>,
    crash: Option<Crash>,
    /// The answer at the point was seen: the next change is one too many.
    seen: bool,
    dead: bool,
    /// Since when every change is a violation, and those that there were.
    quiet: Option<Vec<Effect>>,
    /// But for what follows from time alone.
    changes: usize,
    story: Vec<String>,
}

impl Crasher {
    /// A witness that only counts.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Arc::new(Mutex::new(State {
                began: Instant::now(),
                begun: BTreeMap::new(),
                ended: BTreeMap::new(),
                crash: None,
                seen: false,
                dead: false,
                quiet: None,
                changes: 0,
                story: Vec::new(),
            })),
            crashed: CancellationToken::new(),
        })
    }

    /// Begins to count, and crashes at this point if one is given.
    pub(crate) fn arm(&self, crash: Option<Crash>) {
        let mut state = self.lock();
        state.begun.clear();
        state.ended.clear();
        state.quiet = None;
        state.tell(match &crash {
            Some(crash) => format!("--- to crash at {crash}"),
            None => "--- nothing is to crash".to_owned(),
        });
        state.crash = crash;
    }

    /// The crash was not come to, and is not to be.
    pub(crate) fn disarm(&self) {
        let mut state = self.lock();
        state.crash = None;
        state.seen = false;
    }

    /// Returns once the replica is as good as dead.
    pub(crate) async fn crashed(&self) {
        self.crashed.cancelled().await;
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.crashed.is_cancelled()
    }

    /// The answer that is not to be recorded has been seen, and nothing has followed yet.
    pub(crate) fn is_about_to_crash(&self) -> bool {
        self.lock().seen
    }

    /// From here on nothing should be changed.
    pub(crate) fn quiet(&self) {
        self.lock().quiet = Some(Vec::new());
    }

    /// What was changed although all was well.
    pub(crate) fn violations(&self) -> Vec<Effect> {
        self.lock().quiet.clone().unwrap_or_default()
    }

    /// How often something was changed.
    pub(crate) fn changes(&self) -> usize {
        self.lock().changes
    }

    /// Every point since the scenario began.
    pub(crate) fn points(&self) -> Vec<Point> {
        let state = self.lock();
        let points = state.begun.iter().flat_map(|(effect, count)| {
            let polled = !effect.mutating || is_bookkeeping(*effect) || REPEATED.contains(&effect.name);
            let count = if polled { (*count).min(POLLED) } else { *count };
            (1..=count).map(|nth| Point {
                effect: effect.to_string(),
                nth,
                mutating: effect.mutating,
            })
        });
        points.collect()
    }

    /// The effects in order.
    pub(crate) fn story(&self) -> Vec<String> {
        self.lock().story.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_bookkeeping(effect: Effect) -> bool {
    effect.system == System::Postgres && BOOKKEEPING.contains(&effect.name)
}

impl State {
    fn tell(&mut self, line: impl fmt::Display) {
        let line = format!("{:5} ms  {line}", self.began.elapsed().as_millis());
        self.story.push(line);
    }

    /// How the replica is to crash here, if it is.
    fn meant(&self, effect: Effect, nth: u32) -> Option<Kind> {
        let crash = self.crash.as_ref()?;
        let here = crash.point.nth == nth && crash.point.effect == effect.to_string();
        here.then_some(crash.kind)
    }

    /// Whether the replica lives on.
    fn before(&mut self, effect: Effect) -> bool {
        if self.dead {
            return false;
        }
        let begun = self.begun.entry(effect).or_default();
        *begun += 1;
        let nth = *begun;
        if self.meant(effect, nth) == Some(Kind::Before) || (self.seen && effect.mutating) {
            self.die(effect, "is not begun: crash");
            return false;
        }
        if effect.mutating && !is_bookkeeping(effect) {
            self.changes += 1;
            if let Some(violations) = &mut self.quiet {
                violations.push(effect);
            }
            self.tell(effect);
        }
        true
    }

    /// Whether the replica lives on.
    fn after(&mut self, effect: Effect, outcome: Result<(), String>) -> bool {
        if self.dead {
            return false;
        }
        let ended = self.ended.entry(effect).or_default();
        *ended += 1;
        let nth = *ended;
        if let Err(error) = outcome {
            self.tell(format_args!("{effect}: {error}"));
        }
        match self.meant(effect, nth) {
            Some(Kind::Unanswered) => {
                self.die(effect, "is not answered: crash");
                false
            }
            Some(Kind::Unrecorded) => {
                self.seen = true;
                self.tell(format_args!("{effect} is answered: the next change crashes"));
                true
            }
            Some(Kind::Before) | None => true,
        }
    }

    fn die(&mut self, effect: Effect, how: &str) {
        self.dead = true;
        self.tell(format_args!("{effect} {how}"));
    }
}

impl Witness for Crasher {
    fn moment(&self, effect: Effect, moment: Moment<'_>) -> BoxFuture<'static, ()> {
        let mut state = self.lock();
        let lives = match moment {
            Moment::Before => state.before(effect),
            Moment::After(outcome) => state.after(effect, outcome.map_err(ToString::to_string)),
        };
        drop(state);
        if lives {
            return std::future::ready(()).boxed();
        }
        self.crashed.cancel();
        futures::future::pending().boxed()
    }
}

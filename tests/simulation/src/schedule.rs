//! How wild a story is: what goes wrong in it, and how often. Drawn from the seed, and each story has faults of its own: one in
//! which everything goes wrong at once finds other mistakes than one in which a single thing does.

use crate::{
    dice::Dice,
    moment::{Millis, seconds},
};

/// What can go wrong. Frequencies are in a thousand: of calls, where nothing else is said.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The request never arrives; the caller is told that nobody answered.
    pub lost_before: u64,
    /// The request has its effect, and the answer is lost.
    pub lost_after: u64,
    /// 429: surely without effect.
    pub limited: u64,
    /// 500 to 504, with or without the effect.
    pub unavailable: u64,
    /// A create that is refused for the moment: no capacity, droplet limit.
    pub refused: u64,
    /// A create that is accepted, and whose droplet then vanishes.
    pub vanishing: u64,
    /// The process that makes the call dies before it, after its effect, or after its answer.
    pub crash: u64,
    /// The process is stopped just before the request leaves it, and goes on later.
    pub stop: u64,
    /// The database does not answer, with or without the effect.
    pub database: u64,
    /// A notification that never comes.
    pub deaf: u64,
    /// A list of droplets that is empty or lacks some.
    pub lying_list: u64,
    /// An agent is not reached, or its answer is lost.
    pub agent: u64,
    /// The longest time for which DigitalOcean hides what is new and shows what is gone.
    pub lag: Millis,
    /// The longest time that a request is under way.
    pub latency: Millis,
    /// How far the time of day of a replica's machine is off at most.
    pub skew: Millis,
    /// Between two edits by users; `None` when there are none.
    pub edits: Option<Millis>,
    /// Between two changes behind our back; `None` when there are none.
    pub drift: Option<Millis>,
    /// Between two misfortunes of agents and tools; `None` when there are none.
    pub misfortunes: Option<Millis>,
}

/// The longest that DigitalOcean may lag: what the lag window is made for.
pub const LONGEST_LAG: Millis = seconds(60);

/// The longest that a request of a process that is not stopped may be under way.
pub const LONGEST_LATENCY: Millis = seconds(10);

/// The furthest that the time of day of a replica's machine may be off, either way.
pub const LONGEST_SKEW: Millis = seconds(3600);

/// What kind of story it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Script {
    /// Everything can go wrong.
    #[default]
    Everything,
    /// Nothing goes wrong but one thing: once everything is there, DigitalOcean denies every droplet for a while.
    Blackout,
    /// Processes are stopped all the time, in the middle of what they do, while DigitalOcean lags and somebody destroys droplets.
    Standstills,
}

impl Script {
    /// The one that a seed is played by where many are.
    pub fn of(seed: u64) -> Self {
        if seed.is_multiple_of(8) {
            Self::Standstills
        } else {
            Self::Everything
        }
    }
}

impl Faults {
    /// Those of a story in which nothing goes wrong by itself.
    pub fn none() -> Self {
        Self {
            latency: seconds(1),
            ..Self::default()
        }
    }

    /// Those of a story in which processes are stopped all the time.
    pub fn standstills() -> Self {
        Self {
            stop: 40,
            lag: LONGEST_LAG,
            drift: Some(seconds(30)),
            ..Self::none()
        }
    }

    /// Those of one seed.
    pub fn drawn(dice: &mut Dice) -> Self {
        let mut some = |most: i64| {
            if dice.permille(550) {
                dice.between(1, most).unsigned_abs()
            } else {
                0
            }
        };
        let (lost_before, lost_after, limited, unavailable) = (some(80), some(120), some(80), some(80));
        let (refused, vanishing, crash, stop) = (some(150), some(150), some(25), some(12));
        let (database, deaf, lying_list, agent) = (some(40), some(300), some(200), some(200));
        let lag = if dice.permille(700) { dice.between(0, LONGEST_LAG) } else { 0 };
        let latency = *dice.pick(&[seconds(1), seconds(3), LONGEST_LATENCY]).unwrap_or(&1000);
        let skew = if dice.permille(600) { LONGEST_SKEW } else { 0 };
        let edits = Some(seconds(dice.between(8, 90)));
        let drift = dice.permille(600).then(|| seconds(dice.between(20, 120)));
        let misfortunes = dice.permille(600).then(|| seconds(dice.between(10, 90)));
        Self {
            lost_before,
            lost_after,
            limited,
            unavailable,
            refused,
            vanishing,
            crash,
            stop,
            database,
            deaf,
            lying_list,
            agent,
            lag,
            latency,
            skew,
            edits,
            drift,
            misfortunes,
        }
    }

    /// Nothing goes wrong any more, and nobody edits. Clocks stay as they are, and DigitalOcean as slow.
    #[must_use]
    pub fn off(&self) -> Self {
        Self {
            lag: self.lag,
            latency: seconds(1),
            skew: self.skew,
            ..Self::default()
        }
    }
}

//! The durations that decisions are made by. Owns: their meaning and defaults. Must not: know where they are configured.

use jiff::SignedDuration;

/// How long the environment reconciler waits for what. All of them are compared with the `now` of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how long after an announced create DigitalOcean may still hide the droplet from lists and from `GET`. Its first
    /// quarter is for the sending, so the lag that it really covers is three quarters of it.
    pub lag_window: SignedDuration,
    /// An observation older than this is `Unknown`. A few sweeps of the fleet, so that a single failed one changes nothing.
    pub fleet_max_age: SignedDuration,
    /// The time between two heartbeats; three missed make an agent unresponsive.
    pub heartbeat: SignedDuration,
    /// How long a deletion waits for the tools to be stopped.
    pub stop_deadline: SignedDuration,
    /// After this a launch that is not through is an error, which heals by itself.
    pub launch_deadline: SignedDuration,
    /// How long after its announcement the first droplet whose agent can never enrol is replaced; each further one in a row waits
    /// twice as long as the one before, at most [`REPLACE_AT_MOST`].
    pub replace_after: SignedDuration,
    /// How long a droplet that was told to shut down may take before its plug is pulled.
    pub shutdown_deadline: SignedDuration,
    /// When a resize that DigitalOcean refused or failed is tried again without a change of the row.
    pub resize_retry: SignedDuration,
    /// When a change that was accepted and is not seen is sent again.
    pub change_retry: SignedDuration,
    /// When a create that was refused for good is tried again without a change of the row.
    pub refused_retry: SignedDuration,
    /// When a create that was refused for the moment is tried again.
    pub busy_retry: SignedDuration,
    /// `observed_at` alone is written back only when it lags this much behind, so that a sweep of an unchanged fleet writes
    /// each row at most once in this time.
    pub observed_refresh: SignedDuration,
}

/// The longest pause between two droplets that had no agent: an environment that can never work costs one new droplet a day,
/// after seven on the first, and never two at once.
pub const REPLACE_AT_MOST: SignedDuration = SignedDuration::from_hours(24);

impl Default for Policy {
    fn default() -> Self {
        Self {
            lag_window: SignedDuration::from_secs(120),
            fleet_max_age: SignedDuration::from_secs(120),
            heartbeat: SignedDuration::from_secs(10),
            stop_deadline: SignedDuration::from_secs(60),
            launch_deadline: SignedDuration::from_secs(600),
            replace_after: SignedDuration::from_secs(1200),
            shutdown_deadline: SignedDuration::from_secs(60),
            resize_retry: SignedDuration::from_secs(6 * 3600),
            change_retry: SignedDuration::from_secs(60),
            refused_retry: SignedDuration::from_secs(300),
            busy_retry: SignedDuration::from_secs(20),
            observed_refresh: SignedDuration::from_secs(600),
        }
    }
}

impl Policy {
    /// How long after its announcement a create may still be sent. Later the window would no longer cover the lag that follows.
    pub fn send_within(&self) -> SignedDuration {
        self.lag_window / 4
    }

    /// How long after its announcement a droplet whose agent can never enrol is replaced, if it is the `nth` in a row.
    pub fn replace_after(&self, nth: u32) -> SignedDuration {
        let doublings = nth.saturating_sub(1).min(16);
        self.replace_after.saturating_mul(1 << doublings).min(REPLACE_AT_MOST)
    }

    /// The silence after which an agent is unresponsive.
    pub fn silence(&self) -> SignedDuration {
        self.heartbeat.saturating_mul(3)
    }

    /// How old an observation of something under way may be before it is worth a request, `age` after it began: often in the
    /// first seconds, ever more seldom after, so that a slow launch costs tens of requests and not hundreds.
    pub fn patience(&self, age: SignedDuration) -> SignedDuration {
        (age / 4).clamp(SignedDuration::from_secs(2), SignedDuration::from_secs(30))
    }
}

//! Faults: what goes wrong, for which requests, and how often.
//!
//! Owns: the rules, their dice, and the words of made-up answers. Must not: know the account. Promises: the same rules with the same
//! seeds strike the same requests of the same sequence; a rule is used up only by requests that its fault means something to.

mod answer;
mod rules;
mod storm;

pub(crate) use answer::{Lost, Refusal, lost};
pub(crate) use rules::{Asked, Faults};
pub use storm::Storm;

use serde::{Deserialize, Serialize};

/// What goes wrong. Where a field says "after the effect", the request has done what it asks for, and only the answer is bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The connection is dropped; the request has no effect.
    DropBefore,
    /// The request has its effect; then the connection is dropped.
    DropAfter,
    /// No answer ever comes, and the connection stays open until the client gives up.
    Timeout {
        /// Whether the request had its effect all the same.
        after_effect: bool,
    },
    /// An edge answers with a page of HTML.
    Html {
        /// `500`, `502`, `503`, `504`, ...
        status: u16,
        /// Whether the request had its effect all the same.
        after_effect: bool,
    },
    /// The request has its effect, and its answer comes late.
    Delay {
        /// How late, in milliseconds.
        ms: u64,
    },
    /// The API refuses in its own words, without an effect.
    Refuse {
        /// `422`, ...
        status: u16,
        /// `unprocessable_entity`, ...
        id: String,
        /// `Please try again.`, ...
        message: String,
    },
    /// 422 "Please try again": a passing condition on their side.
    TryAgain,
    /// 422 "Droplet already has a pending event."
    PendingEvent,
    /// 422 "... will exceed your droplet limit", whatever the limit is.
    DropletLimit,
    /// 429 as for the minute's limit, with `retry-after`.
    Burst {
        /// What `retry-after` says, in seconds.
        retry_after: u64,
    },
    /// 429 as for the hour's limit: without `retry-after`, and with `ratelimit-remaining: 0`.
    HourSpent {
        /// When `ratelimit-reset` is, in seconds from now.
        reset_after: u64,
    },
    /// A create is accepted with 202, and there never is a droplet: for want of capacity. Its action ends as `errored`.
    Vanish {
        /// For how long the droplet can be seen all the same, in milliseconds.
        after_ms: u64,
    },
    /// After a create, the droplet is in no list and its GET answers 404.
    Hide {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// After a create, the droplet is `active`, and has no address yet.
    Addressless {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// A DELETE is answered with 204, and the droplet lives on.
    Farewell {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// The firewalls that the request concerns stay `waiting`, with their old rules in force.
    FirewallWaits {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// An action takes longer.
    SlowAction {
        /// From its start to its end, in milliseconds.
        ms: u64,
    },
    /// An action is accepted, ends as `errored`, and has no effect.
    ActionErrored,
    /// A page of a list is not what it should be.
    Page {
        /// In which way.
        flaw: PageFlaw,
    },
    /// A list of droplets or firewalls as it was a while ago.
    Stale {
        /// How long ago, in milliseconds.
        ms: u64,
    },
}

/// What is wrong with a page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageFlaw {
    /// Half of the page's elements are missing; links and `meta.total` are as they would be with them.
    ElementsMissing,
    /// It does not name the next page.
    NextMissing,
    /// Only the first half of the list exists, for elements, links and `meta.total`: nothing in the answer tells.
    HalfTheList,
    /// It has no elements; links and `meta.total` are as they would be with them.
    EmptyPage,
    /// The list is empty, for elements, links and `meta.total`: nothing in the answer tells.
    EmptyList,
}

/// For which requests, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `POST`, ...; any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// The path, in which `*` stands for anything; with a `?` in it, path and query. Any when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// How many matching requests pass before the first can run into it.
    #[serde(default)]
    pub skip: u32,
    /// How many requests run into it; null for no end.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// How likely a matching request runs into it: 0 to 1.
    #[serde(default = "certain")]
    pub chance: f64,
    /// What its dice are seeded with: the same seed strikes the same ones of a sequence of matching requests.
    #[serde(default)]
    pub seed: u64,
    /// What they run into.
    pub fault: Fault,
}

#[expect(clippy::unnecessary_wraps, reason = "a default of the field's type")]
fn once() -> Option<u32> {
    Some(1)
}

fn certain() -> f64 {
    1.0
}

impl FaultRule {
    /// The next request that the fault means something to.
    pub fn new(fault: Fault) -> Self {
        Self {
            method: None,
            path: None,
            skip: 0,
            times: once(),
            chance: certain(),
            seed: 0,
            fault,
        }
    }

    /// The next request of this method and path.
    pub fn next(method: &str, path: &str, fault: Fault) -> Self {
        Self::new(fault).on(method, path)
    }

    /// Only requests of this method and path.
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        (self.method, self.path) = (Some(method.to_owned()), Some(path.to_owned()));
        self
    }

    /// So many requests run into it.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Every matching request runs into it, until faults are cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// So many matching requests pass first.
    #[must_use]
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Every matching request may run into it, until faults are cleared, by dice of this seed.
    #[must_use]
    pub fn chance(mut self, chance: f64, seed: u64) -> Self {
        (self.chance, self.seed, self.times) = (chance, seed, None);
        self
    }
}

/// What happens on the way, or in the API's place. The other faults twist what the request brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// The request never gets to the API.
    Before(Loss),
    /// The API's answer is this one.
    Instead(Refusal),
    /// The API's answer is lost.
    After(Loss),
}

/// How an answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Dropped,
    Never,
    Html(u16),
    Late(u64),
}

impl Fault {
    /// Its name in JSON, which it is counted by.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::DropBefore => "drop_before",
            Self::DropAfter => "drop_after",
            Self::Timeout { .. } => "timeout",
            Self::Html { .. } => "html",
            Self::Delay { .. } => "delay",
            Self::Refuse { .. } => "refuse",
            Self::TryAgain => "try_again",
            Self::PendingEvent => "pending_event",
            Self::DropletLimit => "droplet_limit",
            Self::Burst { .. } => "burst",
            Self::HourSpent { .. } => "hour_spent",
            Self::Vanish { .. } => "vanish",
            Self::Hide { .. } => "hide",
            Self::Addressless { .. } => "addressless",
            Self::Farewell { .. } => "farewell",
            Self::FirewallWaits { .. } => "firewall_waits",
            Self::SlowAction { .. } => "slow_action",
            Self::ActionErrored => "action_errored",
            Self::Page { .. } => "page",
            Self::Stale { .. } => "stale",
        }
    }

    /// For faults that any request can run into.
    pub(crate) fn spoil(&self) -> Option<Spoil> {
        let lost = |after_effect: bool, loss: Loss| {
            Some(if after_effect {
                Spoil::After(loss)
            } else {
                Spoil::Before(loss)
            })
        };
        match self {
            Self::DropBefore => lost(false, Loss::Dropped),
            Self::DropAfter => lost(true, Loss::Dropped),
            Self::Timeout { after_effect } => lost(*after_effect, Loss::Never),
            Self::Html { status, after_effect } => lost(*after_effect, Loss::Html(*status)),
            Self::Delay { ms } => lost(true, Loss::Late(*ms)),
            Self::Refuse { .. }
            | Self::TryAgain
            | Self::PendingEvent
            | Self::DropletLimit
            | Self::Burst { .. }
            | Self::HourSpent { .. } => Refusal::of(self).map(Spoil::Instead),
            Self::Vanish { .. }
            | Self::Hide { .. }
            | Self::Addressless { .. }
            | Self::Farewell { .. }
            | Self::FirewallWaits { .. }
            | Self::SlowAction { .. }
            | Self::ActionErrored
            | Self::Page { .. }
            | Self::Stale { .. } => None,
        }
    }
}

/// For faults that only some requests can run into: the one that is meant, and its number.
macro_rules! only {
    ($($name:ident: $variant:ident { $field:ident } -> $type:ty),* $(,)?) => {
        impl Fault {
            $(pub(crate) fn $name(&self) -> Option<$type> {
                if let Self::$variant { $field } = self { Some(*$field) } else { None }
            })*
        }
    };
}

only! {
    vanish: Vanish { after_ms } -> u64,
    hide: Hide { ms } -> u64,
    addressless: Addressless { ms } -> u64,
    farewell: Farewell { ms } -> u64,
    firewall_waits: FirewallWaits { ms } -> u64,
    slow_action: SlowAction { ms } -> u64,
    flaw: Page { flaw } -> PageFlaw,
    stale: Stale { ms } -> u64,
}

impl Fault {
    pub(crate) fn action_errored(&self) -> Option<()> {
        (*self == Self::ActionErrored).then_some(())
    }
}

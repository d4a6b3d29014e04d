//! Asking for what is missing, one by one, until it is sure to be gone.
//!
//! Owns: whom to ask for next, what an answer means, and when enough were asked. Must not: do I/O, read a clock. Promises: each of at
//! most [`SAMPLE`] was asked for twice, a pause apart; one that is there after all makes every answer so far worthless, since then the
//! lists lie.
//!
//! What is asked is whether the *lists* are right, so a sample of the missing is enough: to ask for 10,000 by id, twice, would take the
//! requests of four hours. A list that is wrong about no more than a few of thousands may pass. Nothing comes of that: whoever acts on
//! an absence asks for its own id first, so each of the missing is asked for once more before anything follows.

use crate::ledger::is_listed;
use jiff::{SignedDuration, Timestamp};
use schema::{FleetKind, FleetRow, Standing};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

/// How many of a kind are asked for in one sweep, so that requests are left for everything else.
pub const AT_ONCE: usize = 20;

/// How many are asked for in all, when more are missing. Of a list that is wrong about a twentieth of the missing, one in 20,000 tells
/// nothing to so many questions.
pub const SAMPLE: usize = 200;

/// What was asked so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    asked: BTreeMap<String, Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Not there, then.
    Once(Timestamp),
    /// Not there, a pause later.
    Twice,
}

impl Confirmation {
    /// Whom to ask for now, of what is missing.
    pub fn next(&mut self, missing: &[String], pause: SignedDuration, now: Timestamp) -> Vec<String> {
        let still: HashSet<&str> = missing.iter().map(String::as_str).collect();
        self.asked.retain(|key, _| still.contains(key.as_str()));
        let due = sample(missing).into_iter().filter(|key| match self.asked.get(*key) {
            None => true,
            Some(Asked::Once(at)) => now.duration_since(*at) >= pause,
            Some(Asked::Twice) => false,
        });
        due.take(AT_ONCE).cloned().collect()
    }

    /// It was asked for, and is not there.
    pub fn gone(&mut self, key: String, now: Timestamp) {
        let asked = match self.asked.get(&key) {
            None => Asked::Once(now),
            Some(Asked::Once(_) | Asked::Twice) => Asked::Twice,
        };
        self.asked.insert(key, asked);
    }

    /// One was asked for, and is there.
    pub fn there(&mut self) {
        self.asked.clear();
    }

    /// Whether what is missing is sure to be gone.
    pub fn is_complete(&self, missing: &[String]) -> bool {
        let asked_twice = |key: &String| self.asked.get(key) == Some(&Asked::Twice);
        !missing.is_empty() && sample(missing).into_iter().all(asked_twice)
    }
}

/// Those of the missing that are asked for: all, or any [`SAMPLE`] of them, the same ones as long as they are missing.
fn sample(missing: &[String]) -> Vec<&String> {
    let mut keys: Vec<&String> = missing.iter().collect();
    if keys.len() > SAMPLE {
        keys.sort_by_cached_key(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish()
        });
        keys.truncate(SAMPLE);
    }
    keys
}

/// What it means that one was asked for by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was missing, and is not there: once more, and it is gone.
    Gone,
    /// It is there and carries what it is listed by, so no list that lacks it can be believed.
    ListsLie,
    /// It is there, as it was known to be.
    Unchanged,
    /// It stands differently now, and that is to be published.
    News(FleetRow),
}

impl Answer {
    /// What is to be published.
    pub fn news(self) -> Option<FleetRow> {
        match self {
            Self::News(row) => Some(row),
            Self::Gone | Self::ListsLie | Self::Unchanged => None,
        }
    }
}

/// Judges what one looks like that the list which began at `began` lacks; `seen` is `None` when it is not there.
pub fn answered(kind: FleetKind, row: &FleetRow, seen: Option<Value>, began: Timestamp) -> Answer {
    let stands = |standing, seen| {
        let since = if standing == row.standing { row.since } else { began };
        Answer::News(FleetRow {
            seen,
            standing,
            since,
            ..row.clone()
        })
    };
    match (row.standing, seen) {
        // It had lost its tags, and that is why the lists lack it. From the next list on it counts as missing.
        (Standing::Seen, None) => stands(Standing::Missing, row.seen.clone()),
        (Standing::Missing | Standing::Gone | Standing::Removed, None) => Answer::Gone,
        // Its tags are back: the next list has it.
        (Standing::Seen, Some(seen)) if seen == row.seen || is_listed(kind, &seen) => Answer::Unchanged,
        (Standing::Missing | Standing::Gone | Standing::Removed, Some(seen)) if is_listed(kind, &seen) => Answer::ListsLie,
        (Standing::Seen | Standing::Missing | Standing::Gone | Standing::Removed, Some(seen)) => stands(Standing::Seen, seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_lost_its_tags_is_seen_without_them_and_missing_once_it_is_gone() {
        let droplet = |ours| json!({"id": 7, "ours": ours});
        let row = |standing, ours| FleetRow {
            key: "7".to_owned(),
            environment_id: None,
            seen: droplet(ours),
            standing,
            since: at(0),
        };
        let judged = |row: &FleetRow, seen| answered(FleetKind::Droplets, row, seen, at(9));
        let (seen, missing) = (row(Standing::Seen, false), row(Standing::Missing, true));
        let news = |standing, ours| {
            Answer::News(FleetRow {
                since: at(9),
                ..row(standing, ours)
            })
        };
        assert_eq!(judged(&missing, None), Answer::Gone);
        assert_eq!(judged(&missing, Some(droplet(true))), Answer::ListsLie);
        assert_eq!(judged(&missing, Some(droplet(false))), news(Standing::Seen, false));
        assert_eq!(judged(&seen, Some(droplet(false))), Answer::Unchanged);
        assert_eq!(judged(&seen, Some(droplet(true))), Answer::Unchanged, "the next list has it");
        assert_eq!(judged(&seen, None), news(Standing::Missing, false));
    }

    const PAUSE: SignedDuration = SignedDuration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_is_asked_for_twice_with_a_pause_between() {
        let (mut confirmation, missing) = (Confirmation::default(), keys(&["1", "2"]));
        for key in confirmation.next(&missing, PAUSE, at(0)) {
            confirmation.gone(key, at(0));
        }
        assert_eq!(confirmation.next(&missing, PAUSE, at(9)), keys(&[]));
        assert!(!confirmation.is_complete(&missing));
        assert_eq!(confirmation.next(&missing, PAUSE, at(10)), missing);
        confirmation.gone("1".to_owned(), at(10));
        assert!(!confirmation.is_complete(&missing));
        confirmation.gone("2".to_owned(), at(10));
        assert!(confirmation.is_complete(&missing));
        assert!(!confirmation.is_complete(&keys(&["1", "2", "3"])), "one more went");
        assert!(!confirmation.is_complete(&[]));
    }

    #[test]
    fn one_that_is_there_makes_all_answers_worthless() {
        let (mut confirmation, missing) = (Confirmation::default(), keys(&["1", "2"]));
        confirmation.gone("1".to_owned(), at(0));
        confirmation.there();
        assert_eq!(confirmation.next(&missing, PAUSE, at(1)), missing);
    }

    #[test]
    fn what_is_back_has_to_be_asked_for_anew() {
        let mut confirmation = Confirmation::default();
        confirmation.gone("1".to_owned(), at(0));
        confirmation.next(&[], PAUSE, at(1));
        assert_eq!(confirmation.next(&keys(&["1"]), PAUSE, at(2)), keys(&["1"]));
    }

    #[test]
    fn of_many_a_sample_is_asked_for_that_stays_the_same() {
        let (mut confirmation, mut now) = (Confirmation::default(), at(0));
        let mut missing: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let mut asked = 0;
        while !confirmation.is_complete(&missing) {
            for key in confirmation.next(&missing, PAUSE, now) {
                confirmation.gone(key, now);
                asked += 1;
            }
            assert!(asked <= 2 * SAMPLE, "{asked}");
            now += PAUSE;
        }
        assert_eq!(asked, 2 * SAMPLE);
        // Some came back, and a few more went.
        missing.drain(..5_000);
        missing.extend((20_000..20_100).map(|n| n.to_string()));
        assert!(!confirmation.is_complete(&missing));
        let next = confirmation.next(&missing, PAUSE, now);
        assert!(next.len() <= AT_ONCE);
        let news = confirmation.asked.len();
        assert!(
            (SAMPLE / 4..SAMPLE * 3 / 4).contains(&news),
            "half of the answers still count: {news}"
        );
    }

    #[test]
    fn not_all_are_asked_for_at_once() {
        let missing: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(Confirmation::default().next(&missing, PAUSE, at(0)).len(), AT_ONCE);
    }
}

//! Asking for what is missing, one by one, until it is sure to be gone.
//!
//! Owns: whom to ask for next, what an answer means, and when all were asked. Must not: do I/O, read a clock. Promises: each was asked for twice, a pause
//! apart; one that is there after all makes every answer so far worthless, since then the lists lie.

use crate::ledger::is_listed;
use jiff::{SignedDuration, Timestamp};
use schema::{FleetKind, FleetRow, Standing};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// How many of a kind are asked for in one sweep. 10,000 GETs at once would leave no request for anything else.
pub const AT_ONCE: usize = 20;

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
        let due = missing.iter().filter(|key| match self.asked.get(*key) {
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

    /// Whether everything that is missing is sure to be gone.
    pub fn is_complete(&self, missing: &[String]) -> bool {
        !missing.is_empty() && missing.iter().all(|key| self.asked.get(key) == Some(&Asked::Twice))
    }
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
    fn not_all_are_asked_for_at_once() {
        let missing: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(Confirmation::default().next(&missing, PAUSE, at(0)).len(), AT_ONCE);
    }
}

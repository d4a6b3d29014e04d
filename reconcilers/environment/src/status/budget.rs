//! `BudgetAvailable`: that an environment waits for requests, and until when. Owns: its wording. Promises: one wait is written once,
//! because every change of a row wakes its key, and a woken key asks again.

use super::condition::BUDGET_AVAILABLE;
use jiff::{SignedDuration, Timestamp};
use model::{Condition, ConditionStatus, Conditions};

const REASON: &str = "RequestLimitReached";
const MESSAGE: &str = "the request limit of digitalocean_token is reached; it goes on at ";

/// Says that nothing is sent before `until`. What the row already says stays while that time is still to come.
pub(super) fn wait(next: &mut Conditions, said: &Conditions, until: Timestamp, generation: i64, now: Timestamp) {
    match (
        standing(said, now),
        next.0.iter_mut().find(|condition| condition.kind == BUDGET_AVAILABLE),
    ) {
        (Some(standing), Some(place)) => place.clone_from(standing),
        (Some(standing), None) => next.0.push(standing.clone()),
        (None, _) => {
            let message = format!("{MESSAGE}{}", whole(until));
            next.set(BUDGET_AVAILABLE, ConditionStatus::False, REASON, message, generation, now);
        }
    }
}

/// What a row says of a wait that is not over.
pub(super) fn standing(said: &Conditions, now: Timestamp) -> Option<&Condition> {
    said.get(BUDGET_AVAILABLE)
        .filter(|condition| condition.status == ConditionStatus::False)
        .filter(|condition| goes_on_at(condition).is_some_and(|promised| promised > now))
}

/// A time in whole seconds, not before it.
fn whole(at: Timestamp) -> Timestamp {
    let up = at.checked_add(SignedDuration::from_millis(999)).unwrap_or(at);
    Timestamp::from_second(up.as_second()).unwrap_or(at)
}

/// The time that a condition promises.
pub fn goes_on_at(condition: &Condition) -> Option<Timestamp> {
    condition.message.strip_prefix(MESSAGE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_wait_is_said_once_and_then_again_when_it_is_over() {
        let mut first = Conditions::default();
        wait(&mut first, &Conditions::default(), at(100) + 1.milliseconds(), 1, at(40));
        let condition = first.get(BUDGET_AVAILABLE).unwrap().clone();
        assert_eq!(condition.status, ConditionStatus::False);
        assert!(
            condition.message.ends_with("goes on at 1970-01-01T00:01:41Z"),
            "{}",
            condition.message
        );

        // The plan of the next pass thinks that all is well; it fails again, and the row does not change for it.
        let mut planned = first.clone();
        planned.set(BUDGET_AVAILABLE, ConditionStatus::True, "Available", "", 1, at(50));
        wait(&mut planned, &first, at(130), 1, at(50));
        assert_eq!(planned, first);

        wait(&mut planned, &first, at(130), 1, at(102));
        assert!(planned.get(BUDGET_AVAILABLE).unwrap().message.ends_with("00:02:10Z"));
    }
}

//! Lists judged one after the other, case by case and in any order.

use super::*;
use jiff::SignedDuration;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    "2026-11-22T11:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// A ledger, and everything that decides about its lists.
struct World {
    ledger: Ledger,
    environments: Vec<EnvironmentId>,
    wanted: HashSet<EnvironmentId>,
    withheld: Option<(Timestamp, String)>,
    confirmed_at: Option<Timestamp>,
}

impl World {
    /// So many environments, each with a droplet of its own number.
    fn new(count: usize) -> Self {
        let environments: Vec<EnvironmentId> = (0..count).map(|_| EnvironmentId::random()).collect();
        let mut world = Self {
            ledger: Ledger::default(),
            wanted: environments.iter().copied().collect(),
            environments,
            withheld: None,
            confirmed_at: None,
        };
        world.list(0, 0..count);
        world
    }

    fn whole(&self, shown: impl IntoIterator<Item = usize>) -> List {
        let listed = |number: usize| Listed {
            environment: Some(self.environments[number]),
            seen: Value::from(number),
        };
        List::Whole(shown.into_iter().map(|number| (number.to_string(), listed(number))).collect())
    }

    fn take(&mut self, seconds: i64, list: &List) -> Verdict {
        let absent: HashSet<EnvironmentId> = self.ledger.absent(list).into_iter().collect();
        let wanted = absent.intersection(&self.wanted).copied().collect();
        let beside = Beside {
            kind: FleetKind::Droplets,
            began: at(seconds),
            withheld: self.withheld.as_ref(),
            confirmed_at: self.confirmed_at,
            wanted: &wanted,
        };
        let verdict = self.ledger.judge(&Limits::default(), list, &beside);
        self.ledger.take(verdict.rows.clone());
        self.withheld.clone_from(&verdict.withheld);
        verdict
    }

    fn list(&mut self, seconds: i64, shown: impl IntoIterator<Item = usize>) -> Verdict {
        let list = self.whole(shown);
        self.take(seconds, &list)
    }

    fn standing(&self, number: usize) -> Standing {
        self.ledger.get(&number.to_string()).unwrap().standing
    }

    fn reason(&self) -> Option<&str> {
        self.withheld.as_ref().map(|(_, reason)| reason.as_str())
    }
}

#[test]
fn a_list_that_says_the_same_changes_nothing() {
    let mut world = World::new(120);
    assert_eq!(world.list(60, 0..120), Verdict::default());
}

#[test]
fn a_suddenly_shorter_list_is_not_believed_until_they_are_back() {
    let mut world = World::new(120);
    let verdict = world.list(133, 37..120);
    assert_eq!(
        world.reason(),
        Some("37 of 120 droplets are missing from the list of 11:02:13")
    );
    assert_eq!((verdict.rows.len(), verdict.missing.len()), (37, 37));
    assert_eq!(world.standing(0), Standing::Missing);
    let again = world.list(143, 37..120);
    assert_eq!((again.rows.len(), again.withheld.as_ref()), (0, verdict.withheld.as_ref()));
    world.list(153, 0..120);
    assert_eq!((world.reason(), world.standing(0)), (None, Standing::Seen));
}

#[test]
fn an_empty_list_is_not_believed_even_of_one() {
    let mut world = World::new(1);
    world.list(10, []);
    assert_eq!(
        (world.reason(), world.standing(0)),
        (
            Some("the list of droplets of 11:00:10 is empty, and 1 are known"),
            Standing::Missing
        )
    );
}

#[test]
fn a_truncated_list_tells_nothing_but_a_doubt_that_the_next_whole_one_ends() {
    let mut world = World::new(4);
    let verdict = world.take(10, &List::Truncated("3 of 4 came".to_owned()));
    assert_eq!(verdict.rows, []);
    assert_eq!(
        world.reason(),
        Some("the list of droplets of 11:00:10 is not whole: 3 of 4 came")
    );
    let verdict = world.list(20, 0..4);
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn a_few_that_go_are_believed_but_not_one_after_the_other() {
    let mut world = World::new(20);
    world.list(10, 2..20);
    assert_eq!((world.standing(0), world.reason()), (Standing::Gone, None));
    world.list(20, 4..20);
    assert_eq!((world.standing(3), world.reason()), (Standing::Gone, None));
    world.list(30, 5..20);
    assert_eq!(world.standing(4), Standing::Missing);
    assert!(world.reason().unwrap().contains("after 4 more went shortly before"));
    // The window passes, and with it what was counted.
    world.list(700, 5..20);
    assert_eq!((world.standing(4), world.reason()), (Standing::Gone, None));
}

#[test]
fn what_nobody_wants_any_more_is_not_missed() {
    let mut world = World::new(10);
    for number in 0..9 {
        let environment = world.environments[number];
        world.wanted.remove(&environment);
    }
    world.list(10, 9..10);
    assert_eq!((world.reason(), world.standing(0)), (None, Standing::Removed));
    assert_eq!(world.ledger.absent(&world.whole(9..10)), [], "and is not asked about again");
}

#[test]
fn a_duplicate_that_goes_is_not_missed() {
    let mut world = World::new(4);
    let kept = world.environments[0];
    for number in 1..4 {
        world.environments[number] = kept;
    }
    world.list(10, 0..4);
    world.list(20, 0..1);
    assert_eq!((world.reason(), world.standing(3)), (None, Standing::Removed));
}

#[test]
fn what_is_confirmed_is_gone_and_not_counted_again() {
    let mut world = World::new(10);
    world.list(10, 5..10);
    world.confirmed_at = Some(at(15));
    world.list(20, 4..10);
    assert_eq!((world.standing(4), world.standing(0)), (Standing::Seen, Standing::Gone));
    assert_eq!(world.reason(), None);
    world.list(30, 6..10);
    assert_eq!(
        world.reason(),
        None,
        "one of six, and those that were confirmed are no reason"
    );
    assert_eq!(world.standing(5), Standing::Gone);
}

#[test]
fn what_went_after_the_confirmation_is_not_confirmed_by_it() {
    let mut world = World::new(10);
    world.list(10, 5..10);
    world.confirmed_at = Some(at(15));
    world.list(20, [9]);
    assert_eq!((world.standing(0), world.standing(5)), (Standing::Gone, Standing::Missing));
    assert!(world.reason().is_some());
}

proptest! {
    /// Whatever lists come, in whatever order: nothing that is wanted goes unless it may, and only lists that are not in doubt
    /// or a confirmation take it away.
    #[test]
    fn nothing_goes_by_a_list_in_doubt(lists in prop::collection::vec(prop::collection::btree_set(0..12_usize, 0..=12), 1..12)) {
        let mut world = World::new(12);
        for (number, shown) in lists.iter().enumerate() {
            let before = world.ledger.clone();
            let present = (0..12).filter(|number| before.rows.get(&number.to_string()).is_some_and(there)).count();
            world.list(10 * (i64::try_from(number).unwrap() + 1), shown.iter().copied());
            let went: Vec<usize> = (0..12)
                .filter(|number| before.rows.get(&number.to_string()).is_some_and(there) && world.standing(*number) == Standing::Gone)
                .collect();
            prop_assert!(went.is_empty() || world.withheld.is_none());
            prop_assert!(!Limits::default().exceeded(went.len(), present), "{went:?} of {present} went at once");
            prop_assert!(went.is_empty() || !shown.is_empty());
            for number in 0..12 {
                prop_assert_eq!(world.standing(number) == Standing::Seen, shown.contains(&number));
            }
        }
    }

    /// A list that is shown twice changes nothing the second time.
    #[test]
    fn a_repeated_list_changes_nothing(lists in prop::collection::vec(prop::collection::btree_set(0..12_usize, 0..=12), 1..6)) {
        let mut world = World::new(12);
        for (number, shown) in lists.iter().enumerate() {
            let seconds = 10 * (i64::try_from(number).unwrap() + 1);
            world.list(seconds, shown.iter().copied());
            let again = world.list(seconds + 1, shown.iter().copied());
            prop_assert_eq!(again.rows, []);
        }
    }
}

//! Creates: one droplet for one intent, whatever becomes of the answer, and which of several is the environment's.

use super::launched;
use crate::{
    Action,
    decide::{
        decide,
        world::{Fault, World, secs},
    },
};
use model::{EnvironmentDesiredState, EnvironmentPhase, IntentId};
use runtime::Read;

#[test]
fn after_a_lost_answer_nothing_is_created_within_the_lag_window() {
    let mut world = World::new();
    // The create is lost on its way; nobody can tell.
    world.pass(Fault::CrashBefore(1));
    for _ in 0..11 {
        assert_eq!(world.names(), Vec::<&str>::new(), "at {}", world.now);
        world.wait(10);
    }
    world.wait(11);
    assert_eq!(world.names(), ["lost"]);
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 1));
}

#[test]
fn what_was_surely_not_sent_is_sent_at_once() {
    let mut world = World::new();
    world.pass(Fault::Before(1));
    assert_eq!(world.names(), ["create"]);
    world.wait(29);
    assert_eq!(world.names(), ["create"]);
    world.wait(1);
    assert_eq!(
        world.names(),
        ["lost"],
        "too late for the lag window to cover what would follow"
    );
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 1));
}

#[test]
fn a_droplet_is_found_by_its_tags_when_the_answer_was_lost() {
    let mut world = World::new();
    world.lag = secs(30);
    world.pass(Fault::After(1));
    world.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = None;
    world.wait(20);
    assert_eq!(world.names(), Vec::<&str>::new(), "still hidden");
    world.wait(20);
    assert_eq!(world.names(), ["name", "adopted"]);
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 1));
}

#[test]
fn a_droplet_that_was_accepted_and_never_came_is_created_again_after_the_window() {
    let mut world = World::new();
    world.pass(Fault::None);
    world.vandalise();
    world.wait(60);
    assert_eq!(world.names(), Vec::<&str>::new());
    world.wait(61);
    assert_eq!(world.names(), ["lost"]);
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 2));
}

#[test]
fn a_droplet_gone_behind_our_back_comes_back_with_an_event() {
    let mut world = launched();
    world.vandalise();
    world.wait(10);
    assert_eq!(world.names(), Vec::<&str>::new(), "too young for its absence to be believed");
    world.wait(200);
    let plan = world.plan();
    assert_eq!(world.names(), ["announce", "create"]);
    let write = plan.status.unwrap();
    assert!(write.events.iter().any(|event| event.reason == "DropletGone"));
    assert_eq!(write.status.unwrap().droplet_id, None);
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 2));
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn of_two_droplets_the_recorded_one_stays() {
    let mut world = launched();
    let recorded = world.live()[0];
    let intent = world.record.as_ref().unwrap().intent.as_ref().unwrap().id;
    world.place(Some(intent), true);
    let foreign = world.place(Some(intent), false);
    assert_eq!(world.names(), ["delete duplicate"]);
    world.settle();
    assert_eq!(world.live(), [recorded]);
    assert!(world.cloud.iter().any(|real| real.droplet.id == foreign));
}

#[test]
fn of_two_droplets_of_one_intent_the_lower_id_stays() {
    let mut world = World::new();
    world.pass(Fault::None);
    let intent = world.record.as_ref().unwrap().intent.as_ref().unwrap().id;
    let first = world.live()[0];
    world.place(Some(intent), true);
    assert_eq!(world.names(), ["adopted", "delete duplicate"]);
    world.settle();
    assert_eq!(world.live(), [first]);
}

#[test]
fn a_droplet_of_an_earlier_intent_goes_before_another_comes() {
    let mut world = launched();
    world.vandalise();
    world.wait(500);
    world.place(Some(IntentId::random()), true);
    assert_eq!(world.names(), ["delete superseded"]);
    world.settle();
    assert_eq!(world.live().len(), 1);
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

/// While a row is paused, what is seen is recorded and no intent is written to.
#[test]
fn a_droplet_that_was_seen_while_paused_is_adopted_though_its_intent_tag_was_taken() {
    let mut world = World::new();
    world.pass(Fault::After(1));
    world.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = None;
    world.row_mut().spec.paused = true;
    world.row_mut().generation += 1;
    world.pass(Fault::None);
    assert_eq!(world.row().status.droplet_id, Some(world.live()[0]));
    world.cloud[0].droplet.intent = None;
    world.wait(500);
    world.row_mut().spec.paused = false;
    world.row_mut().generation += 1;
    assert_eq!(world.names(), ["name", "adopted"]);
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 1));
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn with_no_intent_on_record_the_lowest_id_is_adopted() {
    let mut world = World::new();
    let lowest = world.place(None, true);
    world.place(None, true);
    assert_eq!(world.names(), ["delete duplicate", "look"].split_at(1).0);
    world.pass(Fault::None);
    assert_eq!(world.row().status.droplet_id, Some(lowest));
}

#[test]
fn a_clock_that_is_ahead_shortens_no_window() {
    let mut world = World::new();
    world.lag = secs(60);
    world.pass(Fault::CrashAfter(1));
    world.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = None;
    // The clock of the process that goes on with it is hours ahead of the database's.
    let mut ahead = world.observed(world.read().unwrap(), Read::Authoritative);
    ahead.sighting.read_at = Some(world.now + secs(7200));
    let plan = decide(&world.policy, world.record.as_ref().unwrap(), &ahead, world.now + secs(7200));
    assert_eq!(plan.actions, []);
    world.wait(61);
    assert_eq!(world.names(), ["name", "adopted"]);
}

/// A pass may take a while from its list to its decision.
#[test]
fn a_list_from_within_the_window_proves_nothing_after_it() {
    // A create whose answer was lost, of one that is wanted and of one that is not any more; and a droplet that an answer named.
    for case in ["lost", "abandoned", "announce"] {
        let mut world = if case == "announce" { launched() } else { World::new() };
        if case == "announce" {
            world.vandalise();
        } else {
            world.pass(Fault::CrashBefore(1));
        }
        if case == "abandoned" {
            world.want(EnvironmentDesiredState::Deleted);
        }
        let announced_at = world.record.as_ref().unwrap().intent.as_ref().unwrap().announced_at;
        world.wait(119 - world.now.duration_since(announced_at).as_secs());
        let listed = world.read().unwrap();
        world.wait(2);
        let observed = world.observed(listed, Read::Authoritative);
        let plan = decide(&world.policy, world.record.as_ref().unwrap(), &observed, world.now);
        assert_eq!((plan.actions, plan.requeue), (vec![Action::Look], Some(secs(0))), "{case}");
        assert_eq!(world.names()[0], case);
    }
}

#[test]
fn an_age_that_was_not_asked_yet_is_asked_before_anything_else() {
    let mut world = World::new();
    world.pass(Fault::CrashBefore(1));
    world.wait(1000);
    world.cached = world.read().unwrap();
    let observed = world.observed(world.cached.clone(), Read::Cached);
    let plan = decide(&world.policy, world.record.as_ref().unwrap(), &observed, world.now);
    assert_eq!(plan.actions, [Action::Look]);
    assert_eq!(world.names(), ["lost"]);
}

#[test]
fn a_refused_create_says_why_and_is_tried_again_by_a_change_or_by_time() {
    let mut world = World::new();
    world.pass(Fault::Refused(1));
    assert_eq!(world.phase(), EnvironmentPhase::ErrorCreation);
    assert_eq!(
        world.row().status.error_message.as_deref(),
        Some("region_slug: no such region")
    );
    assert!(world.plan().is_noop(), "no hot loop: {:?}", world.plan());
    world.row_mut().generation += 1;
    assert_eq!(world.names(), ["announce", "create"]);
    world.row_mut().generation -= 1;
    world.wait(300);
    assert_eq!(world.names(), ["announce", "create"]);
    world.settle();
    assert_eq!(world.row().status.error_message, None);
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

//! Requests that run out: nothing is announced that could not be sent, and the row says until when.

use super::launched;
use crate::{
    decide::world::{Fault, World, secs},
    status::{condition, with_failure},
};
use model::{ConditionStatus, EnvironmentDesiredState::Deleted, EnvironmentPhase};
use runtime::Error;

/// What the row says of the budget.
fn said(world: &World) -> (ConditionStatus, String) {
    let condition = world.row().status.conditions.get(condition::BUDGET_AVAILABLE).unwrap();
    (condition.status, condition.message.to_string())
}

fn epoch(world: &World) -> i64 {
    world.row().status.agent_epoch
}

#[test]
fn nothing_is_announced_until_a_create_can_be_sent() {
    let mut world = World::new();
    world.short_until = Some(world.now + secs(600));
    assert_eq!(world.names(), Vec::<&str>::new());
    assert_eq!(world.pass(Fault::None), Some(secs(600)));
    let until = "goes on at 2026-01-01T12:10:00Z";
    assert!(matches!(said(&world), (ConditionStatus::False, told) if told.ends_with(until)));
    assert_eq!((world.phase(), epoch(&world)), (EnvironmentPhase::PendingCreation, 0));

    world.wait(300);
    assert!(world.plan().is_noop(), "said once: {:?}", world.plan());
    assert_eq!(world.plan().requeue, Some(secs(300)));
    // It takes longer than it was thought. That is said when the first word is over, and not before.
    world.short_until = Some(world.now + secs(400));
    assert!(world.plan().is_noop(), "said once: {:?}", world.plan());
    world.wait(301);
    world.pass(Fault::None);
    assert!(
        said(&world).1.ends_with("goes on at 2026-01-01T12:11:40Z"),
        "{:?}",
        said(&world)
    );
    assert_eq!(epoch(&world), 0);

    world.wait(99);
    assert_eq!(world.names(), ["announce", "create"]);
    world.settle();
    assert_eq!(
        (world.phase(), world.created, epoch(&world)),
        (EnvironmentPhase::Active, 1, 1)
    );
    assert_eq!(said(&world), (ConditionStatus::True, String::new()));
    assert!(world.plan().is_noop());
}

/// The look that goes before a create fails for want of requests, so a pass gets no further than its failure.
#[test]
fn a_wait_that_the_row_tells_of_is_not_begun_again() {
    let mut world = World::new();
    world.short_until = Some(world.now + secs(600));
    world.row_mut().status = with_failure(
        world.row(),
        world.row().status.clone(),
        &Error::Waiting {
            reason: "DigitalOceanRateLimited",
            message: "GET /v2/droplets: the request limit is reached".to_owned(),
            after: secs(600),
        },
        world.now,
    );
    assert!(world.plan().is_noop(), "{:?}", world.plan());
    assert_eq!(world.plan().requeue, Some(secs(600)));
    world.wait(600);
    assert_eq!(world.names(), ["announce", "create"]);
}

#[test]
fn an_announced_create_goes_out_when_it_can() {
    let mut world = World::new();
    world.pass(Fault::Short(1, 20));
    assert_eq!(world.record.as_ref().unwrap().intent.as_ref().unwrap().epoch, 1);
    world.wait(5);
    assert_eq!(world.names(), Vec::<&str>::new());
    world.pass(Fault::None);
    assert_eq!(world.plan().requeue, Some(secs(15)));
    assert!(matches!(said(&world), (ConditionStatus::False, _)));
    world.wait(15);
    assert_eq!(world.names(), ["create"]);
    world.settle();
    assert_eq!(
        (world.phase(), world.created, epoch(&world)),
        (EnvironmentPhase::Active, 1, 1)
    );
}

#[test]
fn an_announced_create_that_waits_for_too_long_is_given_up_once() {
    let mut world = World::new();
    world.pass(Fault::Short(1, 3600));
    assert_eq!(world.plan().requeue, Some(secs(30)), "when it will be too old to be sent");
    world.wait(30);
    assert_eq!(world.names(), ["lost"]);
    for _ in 0..350 {
        world.pass(Fault::None);
        world.wait(10);
        world.cached = world.read().unwrap();
    }
    assert_eq!((epoch(&world), world.created), (1, 0), "no epoch is spent on waiting");
    world.settle();
    assert_eq!(
        (world.phase(), world.created, epoch(&world)),
        (EnvironmentPhase::Active, 1, 2)
    );
}

#[test]
fn a_lost_droplet_is_told_of_when_another_is_announced() {
    let mut world = launched();
    world.vandalise();
    world.wait(200);
    world.short_until = Some(world.now + secs(60));
    let write = world.plan().status.unwrap();
    assert_eq!(write.events, []);
    let status = write.status.unwrap();
    assert_eq!(status.phase, EnvironmentPhase::Creating);
    assert!(status.droplet_id.is_some() && !status.conditions.holds(condition::READY));
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    world.wait(60);
    let write = world.plan().status.unwrap();
    assert!(write.events.iter().any(|event| event.reason == "DropletGone"));
    assert_eq!(world.names(), ["announce", "create"]);
    world.settle();
    assert_eq!((world.phase(), world.created), (EnvironmentPhase::Active, 2));
}

#[test]
fn who_needs_no_create_hears_nothing_of_it() {
    let mut world = launched();
    world.short_until = Some(world.now + secs(3600));
    assert!(world.plan().is_noop());
    world.want(Deleted);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Deleted);
    assert_eq!(world.row().status.conditions.get(condition::BUDGET_AVAILABLE), None);
}

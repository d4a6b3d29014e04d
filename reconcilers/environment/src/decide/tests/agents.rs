//! Agents that are late, silent, or never come.

use super::launched;
use crate::{
    decide::world::{Fault, World},
    status::condition,
};
use model::EnvironmentPhase;

#[test]
fn a_silent_agent_costs_nothing_but_the_phase() {
    let mut world = launched();
    world.agents_work = false;
    world.wait(31);
    world.pass(Fault::None);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.phase(), EnvironmentPhase::Unresponsive);
    world.wait(100_000);
    assert_eq!(world.names(), Vec::<&str>::new());
    assert_eq!(world.live().len(), 1);
    world.agents_work = true;
    world.settle();
    world.wait(1);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn a_launch_that_takes_too_long_is_an_error_that_destroys_nothing_and_heals_by_itself() {
    let mut world = World::new();
    world.agents_work = false;
    for _ in 0..100 {
        world.pass(Fault::None);
        world.wait(10);
    }
    let row = world.row();
    assert_eq!(row.status.phase, EnvironmentPhase::ErrorCreation);
    let ready = row.status.conditions.get(condition::READY).unwrap();
    assert_eq!(ready.reason, "EnrolmentDeadlineExceeded");
    assert!(row.status.error_message.as_ref().unwrap().contains("public_url"), "{row:?}");
    assert_eq!((world.live().len(), world.created), (1, 1));
    world.agents_work = true;
    world.settle();
    assert_eq!((world.phase(), world.created), (EnvironmentPhase::Active, 1));
    assert_eq!(world.row().status.error_message, None);
}

#[test]
fn a_droplet_whose_agent_can_never_enrol_is_replaced_ever_more_seldom() {
    let mut world = World::new();
    world.agents_work = false;
    let mut creations = Vec::new();
    for minute in 0..(3 * 24 * 60) {
        let before = world.created;
        world.pass(Fault::None);
        world.cached = world.read().unwrap();
        assert!(world.live().len() <= 1, "never two at once");
        if world.created > before {
            creations.push(minute);
        }
        world.wait(60);
    }
    // Its enrolment is over after an hour; then 20, 40, 80, ... minutes after the announcement, at most a day.
    let pauses: Vec<i32> = creations.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 5 && pauses.is_sorted(), "{pauses:?}");
    assert!(
        creations.iter().filter(|minute| **minute < 24 * 60).count() <= 7,
        "{creations:?}"
    );
    world.agents_work = true;
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn an_agent_that_enrolled_once_is_never_replaced() {
    let mut world = launched();
    world.agents_work = false;
    for _ in 0..500 {
        world.pass(Fault::None);
        world.wait(600);
        world.cached = world.read().unwrap();
    }
    assert_eq!((world.live().len(), world.created), (1, 1));
}

//! `decide`, case by case. Here stands what holds of every environment; creates, agents, deletions, drift, resizes and the request
//! budget have a file each, and everything at once stands in `happenings`.

mod agents;
mod budget;
mod creates;
mod deletions;
mod drift;
mod happenings;
mod resize;

use super::world::{Fault, World};
use crate::status::condition;
use fleet::DropletState;
use model::{EnvironmentDesiredState::Deleted, EnvironmentPhase};

/// A settled environment.
fn launched() -> World {
    let mut world = World::new();
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
    assert_eq!(world.live().len(), 1);
    world
}

#[test]
fn a_row_becomes_an_active_environment_and_then_nothing_is_done() {
    let mut world = World::new();
    assert_eq!(world.names(), ["announce", "create"]);
    world.pass(Fault::None);
    assert_eq!(world.phase(), EnvironmentPhase::Creating);
    assert_eq!(world.names(), ["adopted"]);
    world.settle();
    let status = &world.row().status;
    assert_eq!(status.phase, EnvironmentPhase::Active);
    assert_eq!(status.droplet_id, Some(world.live()[0]));
    for kind in [
        condition::READY,
        condition::DROPLET_READY,
        condition::AGENT_READY,
        condition::RECONCILED,
    ] {
        assert!(status.conditions.holds(kind), "{kind}: {:?}", status.conditions);
    }
    assert!(world.plan().is_noop());
    assert_eq!(world.created, 1);
}

#[test]
fn nothing_known_of_the_fleet_means_looking_and_nothing_else() {
    let mut world = World::new();
    world.cloud_unreadable = true;
    assert_eq!(world.names(), ["look"]);
    world.want(Deleted);
    assert_eq!(world.names(), ["look"]);
    world.delete_row();
    assert_eq!(world.names(), ["look"]);

    let mut world = launched();
    world.cloud_unreadable = true;
    assert!(world.plan().is_noop(), "a settled environment is left alone");
}

#[test]
fn an_old_sighting_is_no_sighting() {
    let mut world = launched();
    world.vandalise();
    world.wait(1000);
    let stale = world.read().unwrap();
    world.wait(world.policy.fleet_max_age.as_secs() + 1);
    let observed = world.observed(stale, runtime::Read::Authoritative);
    let plan = super::decide(&world.policy, world.record.as_ref().unwrap(), &observed, world.now);
    assert_eq!(plan.actions, []);
}

#[test]
fn a_droplet_that_is_off_is_powered_on() {
    let mut world = launched();
    world.cloud[0].droplet.state = DropletState::Off;
    assert_eq!(world.names(), ["power on"]);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn a_paused_row_is_observed_and_nothing_more() {
    let mut world = launched();
    world.row_mut().spec.paused = true;
    world.row_mut().generation += 1;
    world.vandalise();
    world.wait(1000);
    assert_eq!(world.names(), Vec::<&str>::new());
    world.pass(Fault::None);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    let conditions = &world.row().status.conditions;
    assert_eq!(conditions.get(condition::RECONCILED).unwrap().reason, "Paused");
    assert!(!conditions.holds(condition::DROPLET_READY));
    world.want(Deleted);
    assert_eq!(world.names(), Vec::<&str>::new());
}

#[test]
fn an_unchanged_fleet_is_written_once_in_a_while() {
    let mut world = launched();
    let seen = world.row().status.observed_at;
    world.wait(300);
    assert!(world.plan().is_noop());
    world.wait(301);
    let write = world.plan().status.unwrap();
    assert!(write.status.unwrap().observed_at > seen);
    assert_eq!(write.events, []);
}

//! What somebody else does to a droplet, and what is withheld when so much is missing that it is not believed.

use super::launched;
use crate::{
    decide::world::{Fault, World, doubt},
    status::condition,
};
use fleet::{DropletState, Mark, Trust};
use model::{
    ConditionStatus,
    EnvironmentDesiredState::{Active, Deleted},
    EnvironmentPhase,
};
use std::collections::HashSet;

#[test]
fn what_lost_its_tags_gets_them_again() {
    let mut world = launched();
    world.untag();
    assert_eq!(world.names(), ["tag", "tag", "tag", "tag intent"]);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new(), "done, and seen");
    world.settle();
    assert_eq!(
        (world.phase(), world.live().len(), world.created),
        (EnvironmentPhase::Active, 1, 1)
    );
}

#[test]
fn what_names_another_owner_is_left_alone() {
    let mut world = launched();
    world.cloud[0].droplet.ours = false;
    world.cloud[0].droplet.state = DropletState::Off;
    world.cloud[0].droplet.named = false;
    assert_eq!(world.names(), Vec::<&str>::new());
    let plan = world.plan().status.unwrap().status.unwrap();
    assert_eq!(plan.conditions.get(condition::RECONCILED).unwrap().reason, "TagsMissing");
}

#[test]
fn what_nothing_but_its_id_proves_to_be_ours_is_left_alone() {
    let mut world = launched();
    world.untag();
    world.cloud[0].droplet.named = false;
    world.record.as_mut().unwrap().intent = None;
    assert_eq!(world.names(), Vec::<&str>::new());
}

#[test]
fn a_deletion_gives_the_tags_back_to_what_is_proven_and_then_destroys_it() {
    let mut world = launched();
    world.untag();
    world.want(Deleted);
    assert_eq!(world.names(), ["tag", "tag", "tag", "tag intent"]);
    world.settle();
    assert_eq!((world.phase(), world.cloud.len()), (EnvironmentPhase::Deleted, 0));
}

#[test]
fn one_missing_tag_is_one_change() {
    let mut world = launched();
    world.cloud[0].droplet.missing = [Mark::Toolplane].into();
    assert_eq!(world.names(), ["tag"]);
    world.settle();
    assert!(world.plan().is_noop());
}

#[test]
fn another_name_and_another_project_are_corrected() {
    let mut world = launched();
    world.project = Some(HashSet::new());
    world.cloud[0].droplet.named = false;
    assert_eq!(world.names(), ["assign", "rename"]);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new(), "it is busy with its name");
    world.settle();
    assert!(world.cloud[0].droplet.named);
    let droplet = world.live()[0];
    assert!(world.project.as_ref().unwrap().contains(&droplet));
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn a_busy_droplet_is_given_one_action_at_a_time() {
    let mut world = launched();
    let droplet = &mut world.cloud[0].droplet;
    (droplet.state, droplet.named) = (DropletState::Off, false);
    assert_eq!(world.names(), ["power on"]);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new());
    world.wait(11);
    assert_eq!(world.names(), ["rename"]);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

#[test]
fn nothing_comes_in_place_of_what_is_not_believed_to_be_gone() {
    let mut world = launched();
    world.vandalise();
    world.wait(500);
    world.trust = doubt(world.now);
    assert_eq!(world.names(), Vec::<&str>::new());
    let write = world.plan().status.unwrap();
    assert!(write.events.iter().any(|event| event.reason == "FleetNotTrusted"));
    world.pass(Fault::None);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    let trusted = world.row().status.conditions.get(condition::FLEET_TRUSTED).unwrap();
    assert_eq!(trusted.status, ConditionStatus::False);
    assert!(trusted.message.contains("40 of 100"), "{trusted:?}");
    assert!(world.plan().is_noop(), "it is said once: {:?}", world.plan());
    world.trust = Trust::Trusted;
    world.settle();
    assert_eq!((world.live().len(), world.created), (1, 2));
    assert_eq!(world.row().status.conditions.get(condition::FLEET_TRUSTED), None);
}

#[test]
fn a_first_droplet_needs_no_trust_and_a_lost_one_does() {
    let mut world = World::new();
    world.trust = doubt(world.now);
    assert_eq!(world.names(), ["announce", "create"]);
    world.pass(Fault::CrashBefore(1));
    world.wait(500);
    assert_eq!(world.names(), Vec::<&str>::new(), "that it never came is not believed");
    world.trust = Trust::Trusted;
    assert_eq!(world.names(), ["lost"]);
}

#[test]
fn nothing_is_believed_to_be_deleted_while_too_much_is_missing() {
    let mut world = launched();
    world.trust = doubt(world.now);
    world.want(Deleted);
    assert_eq!(world.names(), ["delete"], "what is seen can be deleted");
    world.pass(Fault::None);
    world.wait(1);
    world.pass(Fault::None);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.phase(), EnvironmentPhase::Deleting);
    world.delete_row();
    assert_eq!(world.names(), Vec::<&str>::new(), "the tombstone stays");
    world.trust = Trust::Trusted;
    assert_eq!(world.names(), ["finish"]);
}

#[test]
fn paused_means_that_nothing_is_corrected() {
    let mut world = launched();
    world.row_mut().spec.paused = true;
    world.row_mut().generation += 1;
    world.untag();
    let droplet = &mut world.cloud[0].droplet;
    (droplet.ours, droplet.state, droplet.size) = (true, DropletState::Off, "s-2vcpu-4gb".into());
    world.project = Some(HashSet::new());
    assert_eq!(world.names(), Vec::<&str>::new());
    world.pass(Fault::None);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    let conditions = &world.row().status.conditions;
    assert_eq!(conditions.get(condition::DROPLET_READY).unwrap().reason, "PoweredOff");
    assert_eq!(conditions.get(condition::RESIZED), None);
    assert_eq!(world.plan().requeue, None);
    world.row_mut().spec.paused = false;
    world.row_mut().generation += 1;
    world.want(Active);
    world.settle();
    world.wait(1);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
    assert_eq!(world.cloud[0].droplet.size.as_str(), "s-1vcpu-1gb");
}

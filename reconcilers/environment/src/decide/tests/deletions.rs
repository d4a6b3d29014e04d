//! Deletions: ports, tools, droplet, firewall, tombstone, in this order, and nothing that is not ours.

use super::launched;
use crate::decide::world::{Fault, World, secs};
use model::{
    EnvironmentDesiredState::{Active, Deleted},
    EnvironmentPhase, InstanceReport, InstanceState, Stamp,
    desired::RunState,
};

#[test]
fn a_deleted_row_s_firewall_goes_between_its_droplet_and_its_tombstone() {
    let mut world = launched();
    world.delete_row();
    world.firewall(&[]);
    world.pass(Fault::None);
    world.wait(1);
    assert_eq!(world.names(), ["record gone"]);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new(), "its firewall is still on record");
    world.record.as_mut().unwrap().firewall = None;
    assert_eq!(world.names(), ["finish"]);
}

#[test]
fn an_open_port_is_waited_for_until_the_deadline_also_when_the_agent_is_silent() {
    let mut world = launched();
    world.firewall(&[31_000]);
    world.agents_work = false;
    world.wait(31);
    world.want(Deleted);
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new(), "the port may be open");
    world.wait(59);
    assert_eq!(world.names(), Vec::<&str>::new(), "the port may be open");
    world.wait(1);
    assert_eq!(world.names(), ["delete"]);
}

#[test]
fn a_disabled_environment_stops_its_tools_before_its_droplet() {
    let mut world = launched();
    let (old, new) = (Stamp { epoch: 1, generation: 1 }, Stamp { epoch: 1, generation: 2 });
    world.stamp(old, RunState::Running);
    world.want(Deleted);
    assert_eq!(world.names(), Vec::<&str>::new(), "the set still says running");
    world.pass(Fault::None);
    world.stamp(new, RunState::Stopped);
    assert_eq!(world.names(), Vec::<&str>::new(), "not applied");
    let tools = world.tools();
    let instance = tools.desired.as_ref().unwrap().instances[0].instance_id;
    let report = &mut tools.report.as_mut().unwrap().report;
    report.applied = Some(new);
    report.instances = vec![InstanceReport {
        instance_id: instance,
        generation: 1,
        state: InstanceState::Stopping,
        version: None,
        image_digest: None,
        container_id: None,
        port: None,
        restarts: 0,
        exit_code: None,
        reason: None,
        message: None,
    }];
    assert_eq!(world.names(), Vec::<&str>::new(), "still stopping");
    world.tools().report.as_mut().unwrap().report.instances[0].state = InstanceState::Stopped;
    assert_eq!(world.names(), ["delete"]);
    world.settle();
    let status = &world.row().status;
    assert_eq!(
        (status.phase, status.droplet_id, status.ip_address),
        (EnvironmentPhase::Deleted, None, None)
    );
    assert_eq!(world.live(), []);
}

#[test]
fn tools_that_do_not_stop_are_waited_for_until_the_deadline_and_silent_ones_not_at_all() {
    let mut world = launched();
    world.stamp(Stamp { epoch: 1, generation: 1 }, RunState::Running);
    world.want(Deleted);
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new());
    for _ in 0..7 {
        world.wait(10);
    }
    assert_eq!(world.names(), ["delete"]);

    let mut world = launched();
    world.stamp(Stamp { epoch: 1, generation: 1 }, RunState::Running);
    world.want(Deleted);
    world.pass(Fault::None);
    world.agents_work = false;
    world.wait(31);
    assert_eq!(world.names(), ["delete"]);
}

#[test]
fn a_droplet_is_gone_only_when_it_is_seen_to_be_gone() {
    let mut world = launched();
    world.lag = secs(40);
    world.want(Deleted);
    world.pass(Fault::None);
    assert_eq!(world.phase(), EnvironmentPhase::Deleting);
    world.wait(10);
    assert_eq!(world.names(), Vec::<&str>::new(), "the delete is not repeated at once");
    world.wait(40);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Deleted);
}

#[test]
fn a_deletion_waits_for_what_may_still_be_created() {
    let mut world = World::new();
    world.lag = secs(30);
    world.pass(Fault::After(1));
    world.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = None;
    world.want(Deleted);
    assert_eq!(world.names(), Vec::<&str>::new());
    world.wait(31);
    assert_eq!(world.names(), ["name", "adopted", "delete"]);
    world.settle();
    assert_eq!((world.phase(), world.live().len()), (EnvironmentPhase::Deleted, 0));

    // Never sent, and surely so: nothing to wait for.
    let mut world = World::new();
    world.pass(Fault::Before(1));
    world.want(Deleted);
    assert_eq!(world.names(), ["abandoned"]);
}

#[test]
fn a_droplet_without_our_tags_is_not_deleted_and_the_row_says_so() {
    let mut world = launched();
    world.cloud[0].droplet.ours = false;
    world.want(Deleted);
    assert_eq!(world.names(), Vec::<&str>::new());
    world.pass(Fault::None);
    world.cached = world.read().unwrap();
    world.pass(Fault::None);
    assert_eq!(world.phase(), EnvironmentPhase::ErrorDeletion);
    assert!(
        world
            .row()
            .status
            .error_message
            .as_ref()
            .unwrap()
            .starts_with("do_droplet_id:")
    );
    world.cloud[0].droplet.ours = true;
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Deleted);
}

#[test]
fn enabled_again_it_gets_another_droplet_and_another_epoch() {
    let mut world = launched();
    world.want(Deleted);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Deleted);
    world.want(Active);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
    assert_eq!((world.live().len(), world.created, world.row().status.agent_epoch), (1, 2, 2));
}

#[test]
fn a_deleted_row_takes_its_droplet_along() {
    let mut world = launched();
    world.delete_row();
    world.settle();
    assert!(world.record.is_none());
    assert_eq!(world.live(), []);
}

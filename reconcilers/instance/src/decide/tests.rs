//! `decide`, case by case, and against a model of the agent.

mod happenings;

use super::{Action, Policy, fixtures::World};
use crate::status::condition;
use model::{
    ConditionStatus, EnvironmentDesiredState, EnvironmentPhase, InstanceDesiredState, InstancePhase, InstanceState, Tombstone,
    desired::RunState, record::Subject,
};
use serde_json::json;
use std::collections::BTreeSet;

fn running(instances: usize) -> World {
    let mut world = World::new(instances);
    world.settle();
    for nth in 0..instances {
        assert_eq!(world.row(nth).status.phase, InstancePhase::Running);
    }
    world
}

#[test]
fn rows_become_running_tools_with_an_endpoint_each() {
    let mut world = World::new(2);
    assert!(matches!(
        world.plan().actions[..],
        [Action::StoreDesiredSet { expected: None, .. }, Action::PushDesiredSet { .. }]
    ));
    world.settle();
    for nth in 0..2 {
        let status = &world.row(nth).status;
        let port = world.entry(nth).port;
        assert_eq!(status.phase, InstancePhase::Running);
        assert_eq!(status.actual_running_version.as_deref(), Some("1"));
        let endpoint = format!("https://127.1.2.3:{port}/mcp");
        assert_eq!(
            status.runtime_details,
            json!({"port": port, "endpoint": endpoint, "container_id": "c0ffee", "image_digest": "sha256:00", "restarts": 0})
        );
        assert!(status.conditions.holds(condition::READY) && status.conditions.holds(condition::CONFIGURED));
        assert_eq!(status.observed_generation, 1);
    }
    assert_eq!([world.entry(0).port, world.entry(1).port], [31_000, 31_001]);
}

#[test]
fn an_environment_without_tools_costs_nothing() {
    let mut world = World::new(0);
    assert!(world.plan().is_noop());
    world.record.tools = None;
    assert!(world.plan().is_noop());
}

#[test]
fn an_agent_that_cannot_be_reached_asks_by_itself() {
    let mut world = World::new(1);
    world.reachable = false;
    world.settle();
    assert_eq!(world.row(0).status.phase, InstancePhase::Running);
}

#[test]
fn an_agent_that_never_reported_or_is_silent_is_not_pushed_to() {
    let mut world = World::new(1);
    world.tools().report = None;
    assert!(matches!(world.plan().actions[..], [Action::StoreDesiredSet { .. }]));
    world.heartbeat();
    world.environment().status.phase = EnvironmentPhase::Unresponsive;
    assert!(matches!(world.plan().actions[..], [Action::StoreDesiredSet { .. }]));
}

#[test]
fn an_unresponsive_environment_s_tools_are_not_called_stopped() {
    let mut world = running(1);
    world.environment().status.phase = EnvironmentPhase::Unresponsive;
    world.pass();
    let status = &world.row(0).status;
    assert_eq!(status.phase, InstancePhase::Running);
    assert_eq!(
        status.conditions.get(condition::READY).unwrap().status,
        ConditionStatus::Unknown
    );
}

#[test]
fn stopped_and_started_again_on_the_same_port() {
    let mut world = running(2);
    let port = world.entry(0).port;
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Stopped);
    world.pass();
    assert_eq!(world.row(0).status.phase, InstancePhase::Stopping);
    assert_eq!(world.row(1).status.phase, InstancePhase::Running);
    world.settle();
    assert_eq!(world.row(0).status.phase, InstancePhase::Stopped);
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Running);
    world.settle();
    assert_eq!(
        (world.row(0).status.phase, world.entry(0).port),
        (InstancePhase::Running, port)
    );
}

#[test]
fn a_port_stays_by_the_word_of_the_set_alone() {
    let mut world = World::new(2);
    world.pass();
    let port = world.entry(1).port;
    for row in &mut world.tools().instances {
        row.status.runtime_details = json!({});
    }
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Removed);
    world.edit(1, |spec| spec.version_to_run = "2".to_owned());
    world.pass();
    assert_eq!((world.entry(1).version.as_str(), world.entry(1).port), ("2", port));
}

#[test]
fn removed_only_when_the_agent_says_so_and_its_port_is_free_only_then() {
    let mut world = running(2);
    let port = world.entry(0).port;
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Removed);
    world.pass();
    assert_eq!(world.row(0).status.phase, InstancePhase::PendingRemoval);
    assert_eq!(world.set().unwrap().instances.len(), 2, "its port may be open");
    world.firewall();
    world.pass();
    assert_eq!(world.set().unwrap().instances.len(), 1);
    let newcomer = world.add();
    world.pass();
    let fresh = world
        .set()
        .unwrap()
        .instances
        .iter()
        .find(|entry| entry.instance_id == newcomer)
        .unwrap();
    assert_ne!(fresh.port, port, "the old container may still be there");
    world.settle();
    let gone = world
        .record
        .tools
        .as_ref()
        .unwrap()
        .instances
        .iter()
        .find(|row| row.spec.desired_state == InstanceDesiredState::Removed);
    assert_eq!(gone.unwrap().status.phase, InstancePhase::Removed);
}

#[test]
fn another_version_is_running_only_when_it_runs() {
    let mut world = running(1);
    world.edit(0, |spec| spec.version_to_run = "2".to_owned());
    world.pass();
    let status = &world.row(0).status;
    assert_eq!(
        (status.phase, status.actual_running_version.as_deref()),
        (InstancePhase::Starting, Some("1"))
    );
    world.settle();
    let status = &world.row(0).status;
    assert_eq!(
        (status.phase, status.actual_running_version.as_deref()),
        (InstancePhase::Running, Some("2"))
    );
}

#[test]
fn a_new_name_is_none_of_the_agents_business() {
    let mut world = running(1);
    world.edit(0, |spec| spec.instance_name = Some("thinker".to_owned()));
    assert_eq!(world.plan().actions, []);
    world.pass();
    assert_eq!(world.row(0).status.observed_generation, 2);
    assert_eq!(world.row(0).status.phase, InstancePhase::Running);
}

#[test]
fn what_may_be_open_is_closed_before_its_tool_stops_changes_or_goes() {
    type Edit = fn(&mut World);
    let edits: [(&str, Edit); 5] = [
        ("stop", |world| {
            world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Stopped);
        }),
        ("version", |world| world.edit(0, |spec| spec.version_to_run = "2".to_owned())),
        ("remove", |world| {
            world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Removed);
        }),
        ("disable", |world| {
            world.environment().spec.desired_state = EnvironmentDesiredState::Deleted;
        }),
        ("switched off", |world| {
            let now = world.now;
            let conditions = &mut world.environment().status.conditions;
            conditions.set("ToolsStopped", ConditionStatus::False, "Resizing", "", 1, now);
        }),
    ];
    for (why, edit) in edits {
        let mut world = running(1);
        let (port, before) = (world.entry(0).port, world.set().unwrap().clone());
        assert_eq!(world.record.open_ports(), BTreeSet::from([port]));
        edit(&mut world);
        assert!(
            matches!(&world.plan().actions[..], [Action::ClosePorts { ports, .. }] if ports.contains(&port)),
            "{why}: {:?}",
            world.plan().actions
        );
        world.pass();
        assert!(world.plan().is_noop(), "{why}: it waits");
        assert_eq!(world.set().unwrap(), &before, "{why}");
        assert_eq!(
            world.row(0).status.conditions.get(condition::READY).unwrap().reason,
            "ClosingPort"
        );
        world.firewall();
        world.pass();
        assert_ne!(world.set().unwrap().instances, before.instances, "{why}");
        let firewall = world.record.firewall.as_ref().unwrap();
        assert_eq!(firewall.closing.len(), 0, "{why}: nothing is asked any more");
    }
}

#[test]
fn a_port_that_cannot_be_closed_is_not_waited_for_for_ever() {
    let mut world = running(1);
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Stopped);
    world.pass();
    let left = world.plan().requeue.unwrap();
    assert_eq!(left, Policy::default().port_patience);
    world.now += left;
    let port = world.entry(0).port;
    let plan = world.plan();
    let [Action::StoreDesiredSet { left_open, .. }, ..] = &plan.actions[..] else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!(left_open, &BTreeSet::from([port]));
    world.pass();
    assert_eq!(world.entry(0).run, RunState::Stopped);
    // And it is not started behind it either.
    world.pass();
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Running);
    world.pass();
    assert_eq!(world.entry(0).run, RunState::Stopped);
    world.settle();
    assert_eq!(world.row(0).status.phase, InstancePhase::Running);
}

#[test]
fn what_is_to_run_after_all_keeps_its_port() {
    let mut world = running(1);
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Stopped);
    world.pass();
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Running);
    world.pass();
    assert_eq!(world.record.firewall.as_ref().unwrap().closing.len(), 0);
    assert_eq!(world.entry(0).run, RunState::Running);
}

#[test]
fn another_catalog_entry_is_another_generation() {
    let mut world = running(1);
    let before = world.entry(0).generation;
    let mut entry = (*world.catalog[0]).clone();
    entry.default_config_template.memory_mb = Some(77);
    world.catalog = vec![std::sync::Arc::new(entry)];
    world.settle();
    assert_eq!((world.row(0).generation, world.entry(0).generation), (before, before + 1));
    assert_eq!(world.row(0).status.phase, InstancePhase::Running);
}

#[test]
fn a_bad_row_names_its_field_and_harms_no_other() {
    let mut world = World::new(2);
    world.edit(0, |spec| spec.config_values_override = json!({"privileged": true}));
    world.settle();
    let status = &world.row(0).status;
    assert_eq!(status.phase, InstancePhase::ErrorRuntime);
    let message = status.error_message.as_deref().unwrap();
    assert!(message.contains("privileged"), "{message}");
    assert_eq!(
        status.conditions.get(condition::CONFIGURED).unwrap().status,
        ConditionStatus::False
    );
    assert_eq!(world.row(1).status.phase, InstancePhase::Running);
    world.edit(0, |spec| spec.config_values_override = json!({}));
    world.settle();
    assert_eq!(
        (world.row(0).status.phase, &world.row(0).status.error_message),
        (InstancePhase::Running, &None)
    );
}

#[test]
fn a_bad_edit_leaves_running_what_ran_and_can_still_be_stopped() {
    let mut world = running(1);
    world.edit(0, |spec| spec.version_to_run = "9".to_owned());
    world.settle();
    let status = &world.row(0).status;
    assert_eq!(
        (status.phase, status.actual_running_version.as_deref()),
        (InstancePhase::Running, Some("1"))
    );
    assert!(status.error_message.as_deref().unwrap().starts_with("version_to_run:"));
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Stopped);
    world.settle();
    assert_eq!(world.row(0).status.phase, InstancePhase::Stopped);
}

#[test]
fn a_catalog_that_was_not_read_yet_changes_nothing() {
    let mut world = running(1);
    world.unknown_catalog(0);
    assert_eq!(world.plan().actions, []);
    assert_eq!(world.plan().status, None);
}

#[test]
fn a_failing_tool_says_why() {
    let mut world = running(1);
    let report = &mut world.containers[0];
    report.state = InstanceState::Failed;
    report.reason = Some("Crashed".to_owned());
    report.message = Some("exit code 1".to_owned());
    world.heartbeat();
    world.pass();
    let status = &world.row(0).status;
    assert_eq!(
        (status.phase, status.error_message.as_deref()),
        (InstancePhase::ErrorRuntime, Some("exit code 1"))
    );
    assert_eq!(status.conditions.get(condition::READY).unwrap().reason, "Crashed");
    assert!(status.runtime_details.get("endpoint").is_none());
}

#[test]
fn a_disabled_environment_stops_everything_and_an_enabled_one_starts_it_again() {
    let mut world = running(2);
    world.environment().spec.desired_state = EnvironmentDesiredState::Deleted;
    world.settle();
    assert!(
        world
            .set()
            .unwrap()
            .instances
            .iter()
            .all(|entry| entry.run == RunState::Stopped)
    );
    assert_eq!(world.row(0).status.phase, InstancePhase::Stopped);
    world.lose_droplet();
    world.environment().status.phase = EnvironmentPhase::Deleted;
    world.pass();
    world.pass();
    assert!(world.plan().is_noop());
    assert_eq!(world.row(1).status.phase, InstancePhase::Stopped);
    world.environment().spec.desired_state = EnvironmentDesiredState::Active;
    world.pass();
    assert_eq!(world.row(1).status.phase, InstancePhase::PendingStart);
    world.gain_droplet();
    world.settle();
    assert_eq!(world.row(1).status.phase, InstancePhase::Running);
}

#[test]
fn another_droplet_gets_the_same_tools_on_the_same_ports() {
    let mut world = running(2);
    let ports = [world.entry(0).port, world.entry(1).port];
    let stamp = world.set().unwrap().stamp;
    world.lose_droplet();
    world.gain_droplet();
    world.settle();
    assert!(world.set().unwrap().stamp > stamp);
    assert_eq!([world.entry(0).port, world.entry(1).port], ports);
    assert_eq!(world.row(0).status.phase, InstancePhase::Running);
}

#[test]
fn a_removed_instance_of_a_lost_droplet_is_removed() {
    let mut world = running(1);
    world.lose_droplet();
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Removed);
    world.pass();
    assert_eq!(world.row(0).status.phase, InstancePhase::Removed);
}

#[test]
fn a_deleted_environment_gets_an_empty_set() {
    let mut world = running(1);
    let row = world.environment().clone();
    world.record.subject = Subject::Tombstone(Tombstone {
        environment_id: row.id,
        user_id: row.spec.user_id,
        droplet_id: row.status.droplet_id,
        ip_address: row.status.ip_address,
        agent_epoch: row.status.agent_epoch,
        deleted_at: world.now,
    });
    world.tools().instances.clear();
    world.settle();
    assert_eq!(world.set().unwrap().instances, []);
    assert_eq!(world.containers, []);
}

#[test]
fn a_paused_environment_is_left_as_it_is() {
    let mut world = running(1);
    world.environment().spec.paused = true;
    world.edit(0, |spec| spec.desired_state = InstanceDesiredState::Stopped);
    assert_eq!(world.plan().actions, []);
}

#[test]
fn a_paused_instance_is_left_as_it_is() {
    let mut world = running(2);
    world.edit(0, |spec| {
        spec.paused = true;
        spec.version_to_run = "2".to_owned();
    });
    world.settle();
    assert_eq!(world.entry(0).version, "1");
    assert_eq!(world.row(0).status.phase, InstancePhase::Running);
}

#[test]
fn heartbeats_that_say_nothing_new_are_written_once_in_a_while() {
    let mut world = running(1);
    for _ in 0..30 {
        world.heartbeat();
        assert!(world.plan().is_noop());
    }
    for _ in 0..30 {
        world.heartbeat();
    }
    assert_eq!(world.plan().status.unwrap().len(), 1);
}

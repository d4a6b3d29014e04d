//! `decide`, case by case, and against the model world.

use super::world::{Fault, World, secs};
use crate::status::condition;
use fleet::{DropletState, Sighting};
use model::{
    EnvironmentDesiredState::{Active, Deleted},
    EnvironmentPhase, InstanceReport, InstanceState, IntentId, Stamp,
    desired::RunState,
};
use proptest::prelude::*;

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
    let observed = world.observed(stale);
    let plan = super::decide(&world.policy, world.record.as_ref().unwrap(), &observed, world.now);
    assert_eq!(plan.actions, []);
}

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
fn a_droplet_that_is_off_is_powered_on() {
    let mut world = launched();
    world.cloud[0].droplet.state = DropletState::Off;
    assert_eq!(world.names(), ["power on"]);
    world.settle();
    assert_eq!(world.phase(), EnvironmentPhase::Active);
}

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
fn a_launch_that_takes_too_long_says_so_and_destroys_nothing() {
    let mut world = World::new();
    world.agents_work = false;
    for _ in 0..100 {
        world.pass(Fault::None);
        world.wait(10);
    }
    let ready = world.row().status.conditions.get(condition::READY).unwrap();
    assert_eq!(ready.reason, "LaunchDeadlineExceeded");
    assert_eq!(
        (world.phase(), world.live().len(), world.created),
        (EnvironmentPhase::Creating, 1, 1)
    );
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

#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(Fault),
    Wait(i64),
    Sweep,
    Restart,
    Want(model::EnvironmentDesiredState),
    DeleteRow,
    Vandalise,
    PowerOff,
    Unreadable(bool),
    AgentsWork(bool),
    Hide(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => (0..3_usize).prop_map(Fault::Before),
        1 => (0..3_usize).prop_map(Fault::After),
        1 => (0..3_usize).prop_map(Fault::Refused),
        1 => (0..3_usize).prop_map(Fault::CrashBefore),
        1 => (0..3_usize).prop_map(Fault::CrashAfter),
    ];
    prop_oneof![
        12 => fault.prop_map(Happening::Pass),
        8 => (1..60_i64).prop_map(Happening::Wait),
        3 => Just(Happening::Sweep),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Want(Active)),
        1 => Just(Happening::Want(Deleted)),
        1 => Just(Happening::Vandalise),
        1 => Just(Happening::PowerOff),
        1 => any::<bool>().prop_map(Happening::Unreadable),
        1 => any::<bool>().prop_map(Happening::AgentsWork),
        1 => (0..90_i64).prop_map(Happening::Hide),
    ]
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Pass(fault) => {
            world.pass(fault);
        }
        Happening::Wait(seconds) => world.wait(seconds),
        Happening::Sweep => {
            if let Some(sighting) = world.read() {
                world.cached = sighting;
            }
        }
        Happening::Restart => {
            world.outbox = crate::outbox::Outbox::default();
            world.cached = Sighting::UNKNOWN;
        }
        Happening::Want(desired) => world.want(desired),
        Happening::DeleteRow => world.delete_row(),
        Happening::Vandalise => world.vandalise(),
        Happening::PowerOff => {
            for real in &mut world.cloud {
                real.droplet.state = DropletState::Off;
            }
        }
        Happening::Unreadable(unreadable) => world.cloud_unreadable = unreadable,
        Happening::AgentsWork(work) => world.agents_work = work,
        Happening::Hide(seconds) => world.lag = secs(seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens, as long as DigitalOcean hides nothing for longer than the lag window: never two droplets, and in the end
    /// exactly what is wanted, with nothing left to do.
    #[test]
    fn exactly_one_droplet(happenings in prop::collection::vec(happening(), 0..80), delete in any::<bool>(), wanted in any::<bool>()) {
        let mut world = World::new();
        for happening in happenings {
            happen(&mut world, happening);
            prop_assert!(world.live().len() <= 1, "two droplets after {happening:?}: {:?}", world.cloud);
        }
        if delete {
            happen(&mut world, Happening::DeleteRow);
        } else {
            world.want(if wanted { Active } else { Deleted });
        }
        world.agents_work = true;
        world.wait(1);
        world.settle();
        // A droplet whose delete was accepted before a restart may have been taken for one that stays.
        world.wait(100);
        world.cached = world.read().unwrap();
        world.settle();
        match &world.record {
            None => {
                prop_assert!(delete);
                prop_assert_eq!(world.live(), []);
            }
            Some(record) => {
                prop_assert!(world.plan().is_noop());
                prop_assert!(record.intent.as_ref().is_none_or(|intent| intent.outcome.is_some()), "an intent stays open");
                let status = &world.row().status;
                if wanted {
                    prop_assert_eq!(status.phase, EnvironmentPhase::Active);
                    prop_assert_eq!(world.live(), [status.droplet_id.unwrap()]);
                } else {
                    prop_assert_eq!(status.phase, EnvironmentPhase::Deleted);
                    prop_assert_eq!(world.live(), []);
                }
            }
        }
    }
}

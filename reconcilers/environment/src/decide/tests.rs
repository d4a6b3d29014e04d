//! `decide`, case by case: launches, losses and deletions. What somebody else does to a droplet, and what is withheld, stands in
//! `drift`, resizes in `resize`, and everything at once in `happenings`.

mod drift;
mod happenings;
mod resize;

use super::world::{Fault, World, secs};
use crate::status::condition;
use fleet::DropletState;
use model::{
    EnvironmentDesiredState::{Active, Deleted},
    EnvironmentPhase, InstanceReport, InstanceState, IntentId, Stamp,
    desired::RunState,
};

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

#[test]
fn a_clock_that_is_ahead_shortens_no_window() {
    let mut world = World::new();
    world.lag = secs(60);
    world.pass(Fault::CrashAfter(1));
    world.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = None;
    // The clock of the process that goes on with it is hours ahead of the database's.
    let mut ahead = world.observed(world.read().unwrap(), runtime::Read::Authoritative);
    ahead.sighting.read_at = Some(world.now + secs(7200));
    let plan = super::decide(&world.policy, world.record.as_ref().unwrap(), &ahead, world.now + secs(7200));
    assert_eq!(plan.actions, []);
    world.wait(61);
    assert_eq!(world.names(), ["name", "adopted"]);
}

#[test]
fn an_age_that_was_not_asked_yet_is_asked_before_anything_else() {
    let mut world = World::new();
    world.pass(Fault::CrashBefore(1));
    world.wait(1000);
    world.cached = world.read().unwrap();
    let observed = world.observed(world.cached.clone(), runtime::Read::Cached);
    let plan = super::decide(&world.policy, world.record.as_ref().unwrap(), &observed, world.now);
    assert_eq!(plan.actions, [crate::Action::Look]);
    assert_eq!(world.names(), ["lost"]);
}

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

//! `decide`, case by case, and against a cloud that anybody may edit.

use super::{
    decide, decide_orphan,
    fixtures::{World, noon, policy, present, recorded, row, seen, standing, tools},
};
use crate::{Action, CloudAction, Observed, base, rules};
use digitalocean::Ports;
use fleet::{Trust, spelling::normalised};
use jiff::SignedDuration;
use model::{
    ConditionStatus, DropletId, EnvironmentDesiredState, EnvironmentPhase, EnvironmentRecord, InstanceDesiredState,
    InstanceState, Stamp, desired::RunState, record::Subject,
};
use proptest::prelude::*;
use runtime::Observation;
use schema::FirewallState;
use std::{collections::BTreeSet, sync::Arc};

#[test]
fn running_tools_are_let_in_and_then_nothing_is_done() {
    let world = standing();
    let firewall = world.record.firewall.as_ref().unwrap();
    assert_eq!((firewall.id.as_deref(), &firewall.ports), (Some("fw"), &world.open()));
    assert_eq!((firewall.state, firewall.reason.as_str()), (ConditionStatus::True, "InForce"));
}

#[test]
fn a_port_is_on_record_before_it_is_opened_by_the_set_that_was_decided_from() {
    let world = World::new();
    let stamp = Stamp { epoch: 1, generation: 1 };
    assert!(matches!(
        &world.plan().actions[..],
        [Action::Announce { told, ports, epoch: 1, .. }, Action::Cloud(CloudAction::Create { .. })]
            if *told == Some(stamp) && ports.len() == 2
    ));
}

#[test]
fn a_port_is_open_only_for_a_tool_that_is_wanted_told_and_ready() {
    type Edit = fn(&mut EnvironmentRecord);
    let edits: [(&str, Edit); 9] = [
        ("not wanted", |record| {
            tools(record).instances[0].spec.desired_state = InstanceDesiredState::Stopped;
        }),
        ("not told", |record| {
            tools(record).desired.as_mut().unwrap().instances[0].run = RunState::Stopped;
        }),
        ("not ready", |record| {
            tools(record).report.as_mut().unwrap().report.instances[0].state = InstanceState::Starting;
        }),
        ("ready as it was told before", |record| {
            tools(record).desired.as_mut().unwrap().instances[0].generation = 2;
        }),
        ("listens on nothing", |record| {
            tools(record).desired.as_mut().unwrap().instances[0].container.container_port = None;
        }),
        ("asked to close", |record| {
            let mut firewall = recorded(1);
            firewall.closing.insert(31_000, noon());
            record.firewall = Some(Box::new(firewall));
        }),
        ("another droplet's word", |record| row(record).status.agent_epoch = 2),
        ("no droplet's agent", |record| {
            row(record).status.phase = EnvironmentPhase::Creating;
        }),
        ("a disabled environment", |record| {
            row(record).spec.desired_state = EnvironmentDesiredState::Deleted;
        }),
    ];
    for (why, edit) in edits {
        let mut fresh = World::new();
        edit(&mut fresh.record);
        fresh.settle();
        assert!(!fresh.open().contains(&31_000), "{why}");
        let mut open = standing();
        let firewall = open.record.firewall.take();
        edit(&mut open.record);
        let closing = open.record.firewall.take().map(|firewall| firewall.closing);
        open.record.firewall = firewall;
        if let Some(firewall) = open.record.firewall.as_mut() {
            firewall.closing = closing.unwrap_or_default();
        }
        open.settle();
        assert!(
            !open.open().contains(&31_000) && !open.recorded().contains(&31_000),
            "{why}, and closes"
        );
    }
}

#[test]
fn a_port_is_off_the_record_only_once_its_closing_is_in_force() {
    let mut world = standing();
    tools(&mut world.record).instances[0].spec.desired_state = InstanceDesiredState::Stopped;
    world.pass();
    assert_eq!(world.open(), BTreeSet::from([31_001]));
    assert!(world.recorded().contains(&31_000));
    let Observation::Present(known) = &mut world.cloud else {
        panic!("it is there")
    };
    known.settled = false;
    assert!(world.plan().is_noop() && world.plan().requeue.is_some(), "it waits");
    let mut old = seen(world.cloud.clone());
    old.firewall.read_at = Some(noon() - SignedDuration::from_secs(5));
    let plan = decide(&policy(), &world.record, &old, noon());
    assert!(matches!(plan.actions[..], [Action::Cloud(CloudAction::Look { .. })]));
    let Observation::Present(known) = &mut world.cloud else {
        panic!("it is there")
    };
    known.settled = true;
    world.pass();
    assert_eq!(world.recorded(), BTreeSet::from([31_001]));
}

#[test]
fn nothing_known_means_nothing_done() {
    let mut world = World::new();
    world.cloud = Observation::Unknown;
    assert!(world.plan().is_noop() && world.plan().requeue.is_some());
    let mut old = seen(Observation::Absent);
    old.firewall.read_at = Some(noon() - SignedDuration::from_secs(121));
    assert!(decide(&policy(), &world.record, &old, noon()).is_noop());
    row(&mut world.record).status.droplet_id = None;
    row(&mut world.record).spec.desired_state = EnvironmentDesiredState::Deleted;
    assert!(world.plan().is_noop());
}

#[test]
fn what_is_in_doubt_leads_to_neither_a_create_nor_a_delete() {
    let doubt = |firewall| {
        let mut observed = seen(firewall);
        observed.firewall.trust = Trust::Withheld {
            since: noon(),
            reason: "9 of 10 are gone".into(),
        };
        observed
    };
    let mut world = World::new();
    assert_eq!(
        decide(&policy(), &world.record, &doubt(Observation::Absent), noon()).actions,
        []
    );
    world.settle();
    row(&mut world.record).spec.desired_state = EnvironmentDesiredState::Deleted;
    row(&mut world.record).status.droplet_id = None;
    assert_eq!(
        decide(&policy(), &world.record, &doubt(world.cloud.clone()), noon()).actions,
        []
    );
    assert_eq!(decide_orphan(&policy(), &doubt(world.cloud.clone()), noon()).actions, []);
    assert_eq!(
        base::decide(&policy(), &of_base(&doubt(Observation::Absent)), noon()).actions,
        []
    );
}

#[test]
fn it_goes_after_the_droplet_and_then_off_the_record() {
    for deleted in [false, true] {
        let mut world = standing();
        row(&mut world.record).spec.desired_state = EnvironmentDesiredState::Deleted;
        if deleted {
            world.delete_row();
        }
        world.settle();
        assert_eq!(
            (world.open(), world.recorded()),
            (BTreeSet::new(), BTreeSet::new()),
            "closed, and still there"
        );
        assert!(matches!(world.cloud, Observation::Present(_)));
        match &mut world.record.subject {
            Subject::Row(row) => row.status.droplet_id = None,
            Subject::Tombstone(tombstone) => tombstone.droplet_id = None,
        }
        world.settle();
        assert_eq!((&world.cloud, &world.record.firewall), (&Observation::Absent, &None));
    }
}

#[test]
fn nothing_is_attached_to_a_droplet_that_goes_or_is_gone() {
    let mut world = standing();
    let Observation::Present(known) = &mut world.cloud else {
        panic!("it is there")
    };
    // As DigitalOcean leaves it when a droplet goes.
    known.spec.droplet_ids.clear();
    let mut gone = seen(world.cloud.clone());
    gone.droplet = Observation::Absent;
    let plan = decide(&policy(), &world.record, &gone, noon());
    assert_eq!(
        (plan.actions, plan.status.unwrap().reason.as_str()),
        (Vec::new(), "DropletMissing")
    );
    row(&mut world.record).spec.desired_state = EnvironmentDesiredState::Deleted;
    assert!(matches!(world.plan().actions[..], [Action::Settle { .. }]), "no request");
    world.cloud = Observation::Absent;
    world.settle();
    assert_eq!(world.cloud, Observation::Absent);
}

#[test]
fn a_firewall_whose_create_was_not_answered_is_waited_for() {
    let mut world = World::new();
    world.record.firewall = Some(Box::new(recorded(1)));
    row(&mut world.record).spec.desired_state = EnvironmentDesiredState::Deleted;
    row(&mut world.record).status.droplet_id = None;
    assert!(world.plan().is_noop() && world.plan().requeue == Some(policy().lag_window));
    let mut later = seen(Observation::Absent);
    later.firewall.read_at = Some(noon() + policy().lag_window);
    let plan = decide(&policy(), &world.record, &later, noon() + policy().lag_window);
    assert!(matches!(plan.actions[..], [Action::Forget { .. }]));
}

#[test]
fn between_two_droplets_and_while_paused_it_is_left_as_it_is() {
    let mut world = standing();
    row(&mut world.record).status.droplet_id = None;
    assert!(world.plan().is_noop());
    row(&mut world.record).status.droplet_id = Some(DropletId(18));
    row(&mut world.record).spec.paused = true;
    assert!(world.plan().is_noop());
    row(&mut world.record).spec.paused = false;
    row(&mut world.record).status.agent_epoch = 2;
    world.settle();
    assert_eq!(
        (world.open(), world.record.firewall.as_ref().unwrap().epoch),
        (BTreeSet::new(), 2)
    );
}

#[test]
fn a_firewall_of_nobody_is_deleted() {
    let world = standing();
    let plan = decide_orphan(&policy(), &seen(world.cloud.clone()), noon());
    assert!(matches!(&plan.actions[..], [Action::Cloud(CloudAction::Delete { id, .. })] if id == "fw"));
    assert!(decide_orphan(&policy(), &seen(Observation::Absent), noon()).is_noop());
    let mut old = seen(world.cloud);
    old.firewall.read_at = Some(noon() - SignedDuration::from_secs(121));
    assert!(decide_orphan(&policy(), &old, noon()).is_noop());
}

/// The same firewall, seen as the base firewall.
fn of_base(observed: &Observed) -> base::Observed {
    base::Observed {
        firewall: observed.firewall.clone(),
        failure: None,
    }
}

#[test]
fn the_base_firewall_s_tag_is_made_first_and_its_want_is_seen_on_environments() {
    let policy = policy();
    let plan = base::decide(&policy, &of_base(&seen(Observation::Absent)), noon());
    assert!(
        matches!(&plan.actions[..], [CloudAction::EnsureTag { tag, .. }, CloudAction::Create { .. }]
        if tag == "toolplane:installation:demo")
    );
    let right = present("base", &rules::base(&policy.installation, &policy.sources));
    let mut right = of_base(&seen(right));
    assert!(base::decide(&policy, &right, noon()).is_noop());
    right.failure = Some("it was refused once".into());
    assert_eq!(base::decide(&policy, &right, noon()).status, Some(base::Healed));
    let world = standing();
    let mut without = seen(world.cloud.clone());
    for (base, reason) in [
        (Observation::Absent, "BaseFirewallMissing"),
        (Observation::Present(false), "BaseFirewallDiffers"),
    ] {
        without.base = base;
        let status = decide(&policy, &world.record, &without, noon()).status.unwrap();
        assert_eq!((status.state, status.reason.as_str()), (ConditionStatus::False, reason));
    }
    without.base_failure = Some("source address 10.0.0.300 is not valid".into());
    let status = decide(&policy, &world.record, &without, noon()).status.unwrap();
    assert!(
        status.message.ends_with(": source address 10.0.0.300 is not valid"),
        "{}",
        status.message
    );
}

/// A firewall that was made and is not in force yet.
fn settling(since: i64) -> (World, Observed) {
    let mut world = standing();
    let record = world.record.firewall.as_mut().unwrap();
    (record.id, record.ports) = (None, BTreeSet::new());
    tools(&mut world.record).report = None;
    let Observation::Present(known) = &mut world.cloud else {
        panic!("it stands");
    };
    let (id, none) = (world.record.id(), BTreeSet::new());
    known.spec = rules::environment(&policy().installation, id, DropletId(17), &none, &policy().sources).0;
    known.settled = false;
    let mut observed = seen(world.cloud.clone());
    observed.firewall.settling_since = Some(noon() - SignedDuration::from_secs(since));
    (world, observed)
}

#[test]
fn what_comes_into_force_slowly_is_looked_at_ever_more_seldom() {
    for (since, patience) in [(0, 500), (8, 2_000), (600, 10_000)] {
        let (world, observed) = settling(since);
        let plan = decide(&policy(), &world.record, &observed, noon());
        let patience = SignedDuration::from_millis(patience);
        assert_eq!((plan.actions.len(), plan.requeue), (0, Some(patience)), "after {since} s");
        let plan = decide(&policy(), &world.record, &observed, noon() + patience * 2);
        assert!(
            matches!(&plan.actions[..], [Action::Cloud(CloudAction::Look { .. })]),
            "after {since} s"
        );
    }
}

#[test]
fn while_requests_are_short_the_next_sweep_tells_what_nothing_hangs_on() {
    let (mut world, mut observed) = settling(0);
    observed.short = true;
    let later = noon() + SignedDuration::from_secs(5);
    let looks = |world: &World| !decide(&policy(), &world.record, &observed, later).actions.is_empty();
    assert!(!looks(&world));
    world.record.firewall.as_mut().unwrap().ports = BTreeSet::from([31_000]);
    assert!(looks(&world), "a tool waits until its port is closed");
}

#[test]
fn nothing_is_asked_for_a_droplet_that_is_not_in_sight() {
    let (world, mut observed) = settling(0);
    let Observation::Present(known) = &world.cloud else {
        panic!("it stands");
    };
    let mut known = known.clone();
    known.spec.droplet_ids.clear();
    observed.firewall.firewall = Observation::Present(Arc::new(known));
    observed.droplet = Observation::Absent;
    let plan = decide(&policy(), &world.record, &observed, noon());
    assert_eq!(plan.status.as_ref().unwrap().reason.as_str(), "DropletMissing");
    let mut said = world.record.clone();
    let record = said.firewall.as_mut().unwrap();
    let FirewallState { state, reason, message } = plan.status.unwrap();
    (record.state, record.reason, record.message) = (state, reason, message);
    let plan = decide(&policy(), &said, &observed, noon());
    assert!(
        plan.is_noop() && plan.requeue == Some(SignedDuration::from_secs(10)),
        "{plan:?}"
    );
}

proptest! {
    /// Whatever anybody makes of it, and in whatever order tools come and go, it is put right, nothing is left to do, and no port
    /// was ever open without being on record.
    #[test]
    fn edits_are_undone_and_ports_follow(
        steps in prop::collection::vec((0_u8..6, 0_usize..2, 1_u16..100, prop::collection::vec(1_u64..5, 0..3)), 0..12),
    ) {
        let mut world = World::new();
        for (step, nth, port, droplets) in steps {
            let state = |ready| if ready { InstanceState::Running } else { InstanceState::Failed };
            match step {
                0 => world.pass(),
                1 => tools(&mut world.record).report.as_mut().unwrap().report.instances[nth].state = state(port % 2 == 0),
                2 => if let Some(firewall) = world.record.firewall.as_mut() {
                    firewall.closing = [(31_000 + u16::try_from(nth).unwrap(), noon())].into();
                },
                3 => if let Some(firewall) = world.record.firewall.as_mut() {
                    firewall.closing.clear();
                },
                4 => world.cloud = Observation::Absent,
                _ => if let Observation::Present(known) = &mut world.cloud {
                    known.spec.droplet_ids = droplets;
                    known.spec.inbound_rules[0].ports = Ports::One(port);
                    known.spec = normalised(known.spec.clone());
                },
            }
        }
        world.settle();
        prop_assert!(world.unrecorded.is_empty(), "{:?} opened without being on record", world.unrecorded);
        prop_assert_eq!(world.open(), world.recorded());
        let report = world.record.current_report().unwrap();
        let ready = report.instances.iter().zip(31_000..).filter(|(report, _)| report.state == InstanceState::Running);
        let closing = &world.record.firewall.as_ref().unwrap().closing;
        let expected: BTreeSet<u16> = ready.map(|(_, port)| port).filter(|port| !closing.contains_key(port)).collect();
        prop_assert_eq!(world.open(), expected);
    }
}

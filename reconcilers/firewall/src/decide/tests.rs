//! `decide`, case by case, and against a cloud that anybody may edit.

use super::{Policy, decide, decide_orphan};
use crate::{
    Action, CloudAction, Observed, base,
    rules::{self, Sources},
};
use digitalocean::Ports;
use fleet::{
    Trust,
    firewalls::{Known, Observed as Seen},
    spelling::normalised,
};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, ConditionStatus, DesiredInstance, DesiredSet, DropletId, DropletVitals, Environment, EnvironmentDesiredState,
    EnvironmentId, EnvironmentPhase, EnvironmentRecord, EnvironmentSpec, EnvironmentStatus, Instance, InstanceDesiredState,
    InstanceId, InstanceReport, InstanceSpec, InstanceState, InstanceStatus, ReceivedReport, RecordedFirewall, Stamp, Tombstone,
    Tools, UserId, container::ContainerDefaults, desired::RunState, record::Subject,
};
use proptest::prelude::*;
use runtime::{Observation, Plan};
use schema::FirewallState;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn policy() -> Policy {
    Policy {
        installation: "demo".parse().unwrap(),
        sources: Sources {
            backend: vec!["192.0.2.0/24".parse().unwrap()],
            admin: Vec::new(),
        },
        max_age: SignedDuration::from_secs(120),
        lag_window: SignedDuration::from_secs(60),
    }
}

fn instance(environment_id: EnvironmentId) -> Instance {
    Instance {
        id: InstanceId::random(),
        generation: 1,
        spec: InstanceSpec {
            environment_id,
            catalog_id: model::CatalogId::random(),
            instance_name: None,
            version_to_run: "1".to_owned(),
            config_values_override: serde_json::Value::Null,
            desired_state: InstanceDesiredState::Running,
            paused: false,
        },
        status: InstanceStatus::default(),
        created_at: noon(),
        updated_at: noon(),
    }
}

/// An active environment with two tools that run on 31000 and 31001.
fn record() -> EnvironmentRecord {
    let id = EnvironmentId::random();
    let rows = vec![instance(id), instance(id)];
    let entries = rows.iter().zip(31_000..).map(|(row, port)| DesiredInstance {
        instance_id: row.id,
        generation: 1,
        run: RunState::Running,
        version: "1".to_owned(),
        port,
        container: ContainerDefaults {
            container_port: Some(8080),
            ..ContainerDefaults::default()
        }
        .into_spec("acme/echo:1".to_owned()),
    });
    let reports = rows.iter().map(|row| InstanceReport {
        instance_id: row.id,
        generation: 1,
        state: InstanceState::Running,
        version: None,
        image_digest: None,
        container_id: None,
        port: None,
        restarts: 0,
        exit_code: None,
        reason: None,
        message: None,
    });
    let stamp = Stamp { epoch: 1, generation: 1 };
    let tools = Tools {
        desired: Some(DesiredSet {
            environment_id: id,
            stamp,
            instances: entries.collect(),
        }),
        report: Some(ReceivedReport {
            epoch: 1,
            report: AgentReport {
                boot_id: id.0,
                sequence: 1,
                applied: Some(stamp),
                agent_version: "0.1.0".into(),
                vitals: DropletVitals::default(),
                instances: reports.collect(),
                received_at: noon(),
            },
        }),
        instances: rows,
    };
    EnvironmentRecord {
        subject: Subject::Row(Environment {
            id,
            generation: 1,
            spec: EnvironmentSpec {
                user_id: UserId::random(),
                region: "nyc3".into(),
                size: "s-1vcpu-1gb".into(),
                image: "ubuntu-22-04-x64".into(),
                desired_state: EnvironmentDesiredState::Active,
                paused: false,
            },
            status: EnvironmentStatus {
                phase: EnvironmentPhase::Active,
                droplet_id: Some(DropletId(17)),
                agent_epoch: 1,
                ..EnvironmentStatus::default()
            },
            last_heartbeat_at: None,
            created_at: noon(),
            updated_at: noon(),
        }),
        intent: None,
        tools: Some(Box::new(tools)),
        firewall: None,
    }
}

fn row(record: &mut EnvironmentRecord) -> &mut Environment {
    match &mut record.subject {
        Subject::Row(row) => row,
        Subject::Tombstone(_) => panic!("the row is deleted"),
    }
}

fn tools(record: &mut EnvironmentRecord) -> &mut Tools {
    record.tools.as_mut().unwrap()
}

fn seen(firewall: Observation<Known>) -> Observed {
    Observed {
        firewall: Seen {
            firewall: match firewall {
                Observation::Unknown => Observation::Unknown,
                Observation::Absent => Observation::Absent,
                Observation::Present(known) => Observation::Present(Arc::new(known)),
            },
            settling_since: None,
            read_at: Some(noon()),
            trust: Trust::Trusted,
        },
        droplet: Observation::Unknown,
        base: Observation::Present(true),
        short: false,
    }
}

/// One environment and the cloud's side of its firewall.
struct World {
    record: EnvironmentRecord,
    cloud: Observation<Known>,
    /// Every port that was ever opened without being on record.
    unrecorded: BTreeSet<u16>,
}

impl World {
    fn new() -> Self {
        Self {
            record: record(),
            cloud: Observation::Absent,
            unrecorded: BTreeSet::new(),
        }
    }

    fn plan(&self) -> Plan<Action, FirewallState> {
        decide(&policy(), &self.record, &seen(self.cloud.clone()), noon())
    }

    /// One pass, and what was changed is in force after it.
    fn pass(&mut self) {
        let plan = self.plan();
        for action in &plan.actions {
            self.carry_out(action);
        }
        if let (Some(state), Some(firewall)) = (plan.status, self.record.firewall.as_mut()) {
            (firewall.state, firewall.reason, firewall.message) = (state.state, state.reason, state.message);
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Announce { epoch, ports, .. } => {
                let firewall = self.record.firewall.get_or_insert_with(|| Box::new(recorded(*epoch)));
                if firewall.epoch != *epoch {
                    **firewall = recorded(*epoch);
                }
                firewall.ports.extend(ports);
            }
            Action::Settle { id, epoch, ports, .. } => {
                let firewall = self.record.firewall.as_mut().unwrap();
                (firewall.id, firewall.epoch, firewall.ports) = (id.clone().or(firewall.id.take()), *epoch, ports.clone());
            }
            Action::Forget { .. } => self.record.firewall = None,
            Action::Cloud(action) => self.ask(action),
        }
    }

    fn ask(&mut self, action: &CloudAction) {
        self.cloud = match action {
            CloudAction::Look { .. } | CloudAction::EnsureTag { .. } => return,
            CloudAction::Create { spec, .. } => {
                assert_eq!(self.cloud, Observation::Absent, "a second firewall of the same name");
                present("fw", spec)
            }
            CloudAction::Update { id, spec, .. } => present(id, spec),
            CloudAction::Delete { .. } => Observation::Absent,
        };
        let recorded = self
            .record
            .firewall
            .as_ref()
            .map(|firewall| firewall.ports.clone())
            .unwrap_or_default();
        self.unrecorded.extend(self.open().difference(&recorded));
    }

    fn settle(&mut self) {
        for _ in 0..6 {
            self.pass();
        }
        assert!(self.plan().is_noop(), "{:?}", self.plan());
    }

    fn open(&self) -> BTreeSet<u16> {
        let Observation::Present(known) = &self.cloud else {
            return BTreeSet::new();
        };
        let rules = known.spec.inbound_rules.iter();
        rules
            .flat_map(|rule| match &rule.ports {
                Ports::All | Ports::Unknown(_) => Vec::new(),
                Ports::One(port) => vec![*port],
                Ports::Range(low, high) => (*low..=*high).collect(),
            })
            .collect()
    }

    fn recorded(&self) -> BTreeSet<u16> {
        self.record.open_ports()
    }

    fn delete_row(&mut self) {
        let deleted = row(&mut self.record).clone();
        self.record.subject = Subject::Tombstone(Tombstone {
            environment_id: deleted.id,
            user_id: deleted.spec.user_id,
            droplet_id: deleted.status.droplet_id,
            ip_address: None,
            agent_epoch: 1,
            deleted_at: noon(),
        });
    }
}

fn recorded(epoch: i64) -> RecordedFirewall {
    RecordedFirewall {
        id: None,
        announced_at: noon(),
        epoch,
        ports: BTreeSet::new(),
        closing: BTreeMap::new(),
        state: ConditionStatus::Unknown,
        reason: "Announced".into(),
        message: String::new(),
    }
}

fn present(id: &str, spec: &digitalocean::FirewallSpec) -> Observation<Known> {
    Observation::Present(Known {
        id: id.to_owned(),
        spec: spec.clone(),
        settled: true,
    })
}

fn standing() -> World {
    let mut world = World::new();
    world.settle();
    assert_eq!(world.open(), BTreeSet::from([31_000, 31_001]));
    world
}

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
        base::decide(&policy(), &doubt(Observation::Absent).firewall, noon()).actions,
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

#[test]
fn the_base_firewall_s_tag_is_made_first_and_its_want_is_seen_on_environments() {
    let policy = policy();
    let plan = base::decide(&policy, &seen(Observation::Absent).firewall, noon());
    assert!(
        matches!(&plan.actions[..], [CloudAction::EnsureTag { tag, .. }, CloudAction::Create { .. }]
        if tag == "toolplane:installation:demo")
    );
    let right = present("base", &rules::base(&policy.installation, &policy.sources));
    assert!(base::decide(&policy, &seen(right).firewall, noon()).is_noop());
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

//! `decide`, case by case, and against a cloud that anybody may edit.

use super::{Action, Policy, decide};
use crate::rules::{self, Sources};
use digitalocean::Ports;
use fleet::{
    Trust,
    firewalls::{Known, Observed},
    spelling::normalised,
};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, DesiredInstance, DesiredSet, DropletId, DropletVitals, Environment, EnvironmentDesiredState, EnvironmentId,
    EnvironmentPhase, EnvironmentRecord, EnvironmentSpec, EnvironmentStatus, Instance, InstanceDesiredState, InstanceId,
    InstanceReport, InstanceSpec, InstanceState, InstanceStatus, ReceivedReport, Stamp, Tombstone, Tools, UserId,
    container::ContainerDefaults, desired::RunState, record::Subject,
};
use proptest::prelude::*;
use runtime::{Observation, Plan};
use std::sync::Arc;

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
        container: ContainerDefaults::default().into_spec("acme/echo:1".to_owned()),
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
    }
}

fn row(record: &mut EnvironmentRecord) -> &mut Environment {
    match &mut record.subject {
        Subject::Row(row) => row,
        Subject::Tombstone(_) => panic!("the row is deleted"),
    }
}

fn observed(firewall: Observation<Known>) -> Observed {
    Observed {
        firewall: match firewall {
            Observation::Unknown => Observation::Unknown,
            Observation::Absent => Observation::Absent,
            Observation::Present(known) => Observation::Present(Arc::new(known)),
        },
        read_at: Some(noon()),
        trust: Trust::Trusted,
    }
}

fn plan(record: &EnvironmentRecord, firewall: Observation<Known>) -> Plan<Action, ()> {
    decide(&policy(), record, &observed(firewall), noon())
}

/// What the cloud has once a plan was carried out.
fn carry_out(plan: &Plan<Action, ()>, before: Observation<Known>) -> Observation<Known> {
    let mut cloud = before;
    for action in &plan.actions {
        cloud = match action {
            Action::EnsureTag { .. } => cloud,
            Action::Create { spec, .. } => {
                assert_eq!(cloud, Observation::Absent, "a second firewall of the same name");
                Observation::Present(Known {
                    id: "fw".to_owned(),
                    spec: spec.clone(),
                })
            }
            Action::Update { id, spec, .. } => Observation::Present(Known {
                id: id.clone(),
                spec: spec.clone(),
            }),
            Action::Delete { .. } => Observation::Absent,
        };
    }
    cloud
}

fn ports(cloud: &Observation<Known>) -> Vec<String> {
    match cloud {
        Observation::Present(known) => {
            let rules = known.spec.inbound_rules.iter().map(|rule| &rule.ports);
            rules.filter(|ports| **ports != Ports::All).map(ToString::to_string).collect()
        }
        Observation::Unknown | Observation::Absent => Vec::new(),
    }
}

#[test]
fn running_tools_are_let_in_and_then_nothing_is_done() {
    let record = record();
    let cloud = carry_out(&plan(&record, Observation::Absent), Observation::Absent);
    assert_eq!(ports(&cloud), ["31000-31001"]);
    assert!(plan(&record, cloud).is_noop());
}

#[test]
fn a_port_is_open_only_for_a_tool_that_is_wanted_told_and_ready() {
    type Edit = fn(&mut EnvironmentRecord);
    let edits: [(&str, Edit); 6] = [
        ("not wanted", |record| {
            record.tools.as_mut().unwrap().instances[0].spec.desired_state = InstanceDesiredState::Stopped;
        }),
        ("not told", |record| {
            record.tools.as_mut().unwrap().desired.as_mut().unwrap().instances[0].run = RunState::Stopped;
        }),
        ("not ready", |record| {
            record.tools.as_mut().unwrap().report.as_mut().unwrap().report.instances[0].state = InstanceState::Starting;
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
        let mut record = record();
        edit(&mut record);
        let cloud = carry_out(&plan(&record, Observation::Absent), Observation::Absent);
        assert!(!ports(&cloud).concat().contains("31000"), "{why}: {:?}", ports(&cloud));
    }
}

#[test]
fn nothing_known_means_nothing_done() {
    let mut record = record();
    let unknown = plan(&record, Observation::Unknown);
    assert!(unknown.is_noop() && unknown.requeue.is_some());
    let mut old = observed(Observation::Absent);
    old.read_at = Some(noon() - SignedDuration::from_secs(121));
    assert!(decide(&policy(), &record, &old, noon()).is_noop());
    row(&mut record).status.droplet_id = None;
    row(&mut record).spec.desired_state = EnvironmentDesiredState::Deleted;
    assert!(plan(&record, Observation::Unknown).is_noop());
}

#[test]
fn it_goes_with_the_environment() {
    let mut record = record();
    let cloud = carry_out(&plan(&record, Observation::Absent), Observation::Absent);
    row(&mut record).spec.desired_state = EnvironmentDesiredState::Deleted;
    let cloud = carry_out(&plan(&record, cloud.clone()), cloud);
    assert_eq!(ports(&cloud), Vec::<String>::new(), "closed before the tools stop");
    row(&mut record).status.droplet_id = None;
    let plan_then = plan(&record, cloud.clone());
    assert_eq!(plan_then.actions, [Action::Delete { id: "fw".to_owned() }]);

    let deleted = row(&mut record).clone();
    record.subject = Subject::Tombstone(Tombstone {
        environment_id: deleted.id,
        user_id: deleted.spec.user_id,
        droplet_id: Some(DropletId(17)),
        ip_address: None,
        agent_epoch: 1,
        deleted_at: noon(),
    });
    assert_eq!(plan(&record, cloud).actions, [Action::Delete { id: "fw".to_owned() }]);
}

#[test]
fn between_two_droplets_and_while_paused_it_is_left_as_it_is() {
    let mut record = record();
    let cloud = carry_out(&plan(&record, Observation::Absent), Observation::Absent);
    row(&mut record).status.droplet_id = None;
    assert!(plan(&record, cloud.clone()).is_noop());
    row(&mut record).status.droplet_id = Some(DropletId(18));
    assert!(matches!(plan(&record, cloud.clone()).actions[..], [Action::Update { .. }]));
    row(&mut record).spec.paused = true;
    assert!(plan(&record, cloud).is_noop());
}

#[test]
fn the_base_firewall_s_tag_is_made_first() {
    let policy = policy();
    let spec = rules::base(&policy.installation, &policy.sources);
    let wanted = super::Wanted::Firewall {
        spec: spec.clone(),
        closed: 0,
    };
    let plan = super::settle(&wanted, &observed(Observation::Absent), policy.max_age, noon());
    let tag = "toolplane:installation:demo".to_owned();
    assert_eq!(plan.actions, [Action::EnsureTag { tag }, Action::Create { spec, closed: 0 }]);
}

proptest! {
    /// Whatever anybody makes of it, one pass puts it right, and the next has nothing to do.
    #[test]
    fn edits_are_undone(
        droplets in prop::collection::vec(1_u64..5, 0..3),
        tags in prop::collection::vec("[a-z]{1,3}", 0..2),
        drop_rule in any::<bool>(),
        port in 1_u16..100,
        gone in any::<bool>(),
    ) {
        let record = record();
        let right = carry_out(&plan(&record, Observation::Absent), Observation::Absent);
        let edited = match (&right, gone) {
            (Observation::Present(known), false) => {
                let mut known = known.clone();
                known.spec.droplet_ids = droplets;
                known.spec.tags = tags;
                if drop_rule {
                    known.spec.inbound_rules.pop();
                } else {
                    known.spec.inbound_rules[0].ports = Ports::One(port);
                }
                known.spec = normalised(known.spec);
                Observation::Present(known)
            }
            (Observation::Present(_) | Observation::Unknown | Observation::Absent, _) => Observation::Absent,
        };
        let mended = carry_out(&plan(&record, edited.clone()), edited);
        prop_assert!(plan(&record, mended.clone()).is_noop());
        prop_assert_eq!(mended, right);
    }
}

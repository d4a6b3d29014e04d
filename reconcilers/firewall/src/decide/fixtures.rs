//! Rows, and a model of the cloud's side of a firewall, for tests.

use super::{Policy, decide};
use crate::{Action, CloudAction, Observed, rules::Sources};
use digitalocean::Ports;
use fleet::{
    Trust,
    firewalls::{Known, Observed as Seen},
};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, ConditionStatus, DesiredInstance, DesiredSet, DropletId, DropletVitals, Environment, EnvironmentDesiredState,
    EnvironmentId, EnvironmentPhase, EnvironmentRecord, EnvironmentSpec, EnvironmentStatus, Instance, InstanceDesiredState,
    InstanceId, InstanceReport, InstanceSpec, InstanceState, InstanceStatus, ReceivedReport, RecordedFirewall, Stamp, Tombstone,
    Tools, UserId, container::ContainerDefaults, desired::RunState, record::Subject,
};
use runtime::{Observation, Plan};
use schema::FirewallState;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(super) fn policy() -> Policy {
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

pub(super) fn instance(environment_id: EnvironmentId) -> Instance {
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
pub(super) fn record() -> EnvironmentRecord {
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

pub(super) fn row(record: &mut EnvironmentRecord) -> &mut Environment {
    match &mut record.subject {
        Subject::Row(row) => row,
        Subject::Tombstone(_) => panic!("the row is deleted"),
    }
}

pub(super) fn tools(record: &mut EnvironmentRecord) -> &mut Tools {
    record.tools.as_mut().unwrap()
}

pub(super) fn seen(firewall: Observation<Known>) -> Observed {
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
        base_failure: None,
        short: false,
    }
}

/// One environment and the cloud's side of its firewall.
pub(super) struct World {
    pub(super) record: EnvironmentRecord,
    pub(super) cloud: Observation<Known>,
    /// Every port that was ever opened without being on record.
    pub(super) unrecorded: BTreeSet<u16>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            record: record(),
            cloud: Observation::Absent,
            unrecorded: BTreeSet::new(),
        }
    }

    pub(super) fn plan(&self) -> Plan<Action, FirewallState> {
        decide(&policy(), &self.record, &seen(self.cloud.clone()), noon())
    }

    /// One pass, and what was changed is in force after it.
    pub(super) fn pass(&mut self) {
        let plan = self.plan();
        for action in &plan.actions {
            self.carry_out(action);
        }
        if let (Some(state), Some(firewall)) = (plan.status, self.record.firewall.as_mut()) {
            (firewall.state, firewall.reason, firewall.message) = (state.state, state.reason, state.message);
        }
    }

    pub(super) fn carry_out(&mut self, action: &Action) {
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

    pub(super) fn ask(&mut self, action: &CloudAction) {
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

    pub(super) fn settle(&mut self) {
        for _ in 0..6 {
            self.pass();
        }
        assert!(self.plan().is_noop(), "{:?}", self.plan());
    }

    pub(super) fn open(&self) -> BTreeSet<u16> {
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

    pub(super) fn recorded(&self) -> BTreeSet<u16> {
        self.record.open_ports()
    }

    pub(super) fn delete_row(&mut self) {
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

pub(super) fn recorded(epoch: i64) -> RecordedFirewall {
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

pub(super) fn present(id: &str, spec: &digitalocean::FirewallSpec) -> Observation<Known> {
    Observation::Present(Known {
        id: id.to_owned(),
        spec: spec.clone(),
        settled: true,
    })
}

pub(super) fn standing() -> World {
    let mut world = World::new();
    world.settle();
    assert_eq!(world.open(), BTreeSet::from([31_000, 31_001]));
    world
}

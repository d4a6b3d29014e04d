//! Rows, and a model of the agent, for tests.

use super::{Action, Policy, decide};
use crate::{Desired, observe::Observed, status::Statuses};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, CatalogEntry, CatalogId, ConditionStatus, DesiredInstance, DesiredSet, DropletId, DropletVitals, Environment,
    EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, EnvironmentRecord, EnvironmentSpec, EnvironmentStatus, Instance,
    InstanceDesiredState, InstanceId, InstanceReport, InstanceSpec, InstanceState, InstanceStatus, ReceivedReport,
    RecordedFirewall, Tools, UserId, desired::RunState, record::Subject,
};
use runtime::Plan;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn catalog_entry() -> CatalogEntry {
    serde_json::from_value(json!({
        "id": "00000000-0000-4000-8000-000000000001", "tool_name": "Echo", "description": null,
        "packaging_type": "docker_image", "package_identifier": "acme/echo",
        "version_info": {"available_versions": ["1", "2"], "default_version": "1"},
        "default_config_template": {"container_port": 8080, "probe": {"type": "mcp", "path": "/mcp"}},
        "required_secrets_schema": [], "resource_requirements": {}, "status": "available"
    }))
    .unwrap()
}

pub(crate) fn instance() -> Instance {
    Instance {
        id: InstanceId::random(),
        generation: 1,
        spec: InstanceSpec {
            environment_id: EnvironmentId::random(),
            catalog_id: catalog_entry().id,
            instance_name: None,
            version_to_run: "1".to_owned(),
            config_values_override: json!({}),
            desired_state: InstanceDesiredState::Running,
            paused: false,
        },
        status: InstanceStatus::default(),
        created_at: noon(),
        updated_at: noon(),
    }
}

fn recorded(epoch: i64, now: Timestamp) -> RecordedFirewall {
    RecordedFirewall {
        id: None,
        announced_at: now,
        epoch,
        ports: BTreeSet::new(),
        closing: BTreeMap::new(),
        state: ConditionStatus::Unknown,
        reason: "Announced".into(),
        message: String::new(),
    }
}

/// The port of a container that runs what the set says of it now.
fn ready(container: &InstanceReport, set: &DesiredSet) -> Option<u16> {
    let entry = set
        .instances
        .iter()
        .find(|entry| entry.instance_id == container.instance_id)?;
    let runs = container.state == InstanceState::Running && container.generation >= entry.generation;
    (runs && entry.run == RunState::Running).then_some(entry.port)
}

/// One environment, its agent, and the process that reconciles it.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) record: EnvironmentRecord,
    pub(crate) catalog: Vec<Arc<CatalogEntry>>,
    pub(crate) pushed: Observed,
    /// The set that the agent holds.
    pub(crate) agent: Option<DesiredSet>,
    /// What the agent's containers do.
    pub(crate) containers: Vec<InstanceReport>,
    pub(crate) reachable: bool,
}

impl World {
    /// A launched environment with this many instances.
    pub(crate) fn new(instances: usize) -> Self {
        let id = EnvironmentId::random();
        let environment = Environment {
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
                droplet_id: Some(DropletId(1)),
                ip_address: Some("127.1.2.3".parse().unwrap()),
                agent_epoch: 1,
                ..EnvironmentStatus::default()
            },
            last_heartbeat_at: None,
            created_at: noon(),
            updated_at: noon(),
        };
        let mut world = Self {
            now: noon(),
            record: EnvironmentRecord {
                subject: Subject::Row(environment),
                intent: None,
                tools: Some(Box::default()),
                firewall: None,
            },
            catalog: vec![Arc::new(catalog_entry())],
            pushed: Observed::default(),
            agent: None,
            containers: Vec::new(),
            reachable: true,
        };
        for _ in 0..instances {
            world.add();
        }
        world.heartbeat();
        world
    }

    pub(crate) fn add(&mut self) -> InstanceId {
        let mut row = instance();
        row.spec.environment_id = self.record.id();
        let id = row.id;
        let rows = &mut self.tools().instances;
        rows.push(row);
        rows.sort_unstable_by_key(|row| row.id);
        id
    }

    pub(crate) fn tools(&mut self) -> &mut Tools {
        self.record.tools.as_mut().unwrap()
    }

    pub(crate) fn environment(&mut self) -> &mut Environment {
        match &mut self.record.subject {
            Subject::Row(row) => row,
            Subject::Tombstone(_) => panic!("the row is deleted"),
        }
    }

    /// Changes a row's specification.
    pub(crate) fn edit(&mut self, nth: usize, edit: impl FnOnce(&mut InstanceSpec)) {
        let row = &mut self.tools().instances[nth];
        edit(&mut row.spec);
        row.generation += 1;
    }

    pub(crate) fn row(&self, nth: usize) -> &Instance {
        &self.record.tools.as_ref().unwrap().instances[nth]
    }

    pub(crate) fn set(&self) -> Option<&DesiredSet> {
        self.record.tools.as_ref().unwrap().desired.as_ref()
    }

    pub(crate) fn entry(&self, nth: usize) -> &DesiredInstance {
        let id = self.row(nth).id;
        let mut instances = self.set().unwrap().instances.iter();
        instances.find(|instance| instance.instance_id == id).unwrap()
    }

    pub(crate) fn plan(&self) -> Plan<Action, Statuses> {
        let desired = Desired {
            record: Arc::new(self.record.clone()),
            catalog: self.catalog.clone(),
        };
        decide(&Policy::default(), &desired, &self.pushed, self.now)
    }

    /// One pass.
    pub(crate) fn pass(&mut self) {
        let plan = self.plan();
        for action in plan.actions {
            match action {
                Action::StoreDesiredSet {
                    expected,
                    set,
                    left_open,
                    ..
                } => {
                    assert_eq!(self.set().map(|set| set.stamp), expected);
                    assert!(expected.is_none_or(|expected| expected < set.stamp), "stamps rise");
                    self.assert_no_change_behind_open_port(&set, &left_open);
                    self.tools().desired = Some(set);
                }
                Action::ClosePorts { ports, .. } => {
                    let now = self.now;
                    let firewall = self.record.firewall.as_mut().unwrap();
                    let since = |port: &u16| firewall.closing.get(port).copied().unwrap_or(now);
                    firewall.closing = ports.iter().map(|port| (*port, since(port))).collect();
                }
                Action::PushDesiredSet { set, .. } => {
                    if !self.reachable {
                        break;
                    }
                    self.pushed.pushed = Some(set.stamp);
                    self.take(set);
                }
            }
        }
        for (id, generation, status) in plan.status.unwrap_or_default() {
            let rows = &mut self.tools().instances;
            let row = rows.iter_mut().find(|row| row.id == id).unwrap();
            assert_eq!(row.generation, generation);
            row.status = status;
        }
    }

    /// What the database refuses.
    fn assert_no_change_behind_open_port(&self, set: &DesiredSet, left_open: &BTreeSet<u16>) {
        let at = |set: &DesiredSet, port: u16| set.instances.iter().find(|entry| entry.port == port).cloned();
        for port in self.record.open_ports() {
            let before = self.set().and_then(|held| at(held, port));
            let asked = self.record.firewall.as_ref().unwrap().closing.contains_key(&port);
            assert!(
                before == at(set, port) || (asked && left_open.contains(&port)),
                "{port} may be open"
            );
        }
    }

    /// The firewall reconciler, as far as its record tells: what is asked for is closed, what is ready is opened.
    pub(crate) fn firewall(&mut self) {
        let epoch = self.record.agent_epoch();
        let ready: BTreeSet<u16> = self
            .containers
            .iter()
            .filter_map(|container| ready(container, self.set()?))
            .collect();
        let now = self.now;
        let firewall = self.record.firewall.get_or_insert_with(|| Box::new(recorded(epoch, now)));
        if firewall.epoch != epoch {
            **firewall = recorded(epoch, now);
        }
        firewall.ports = ready
            .into_iter()
            .filter(|port| !firewall.closing.contains_key(port))
            .collect();
    }

    fn take(&mut self, set: DesiredSet) {
        if self.agent.as_ref().is_none_or(|held| held.stamp <= set.stamp) {
            self.agent = Some(set);
        }
    }

    /// The agent does one step for each container.
    pub(crate) fn agent(&mut self) {
        let Some(set) = &self.agent else { return };
        self.containers
            .retain(|container| set.instances.iter().any(|wanted| wanted.instance_id == container.instance_id));
        for wanted in &set.instances {
            let known = self
                .containers
                .iter()
                .position(|container| container.instance_id == wanted.instance_id);
            let state = match (wanted.run, known.map(|known| self.containers[known].state)) {
                (RunState::Running, Some(InstanceState::Starting | InstanceState::Running)) => InstanceState::Running,
                (RunState::Running, _) => InstanceState::Starting,
                (RunState::Stopped, Some(InstanceState::Running | InstanceState::Starting)) => InstanceState::Stopping,
                (RunState::Stopped, _) => InstanceState::Stopped,
            };
            let report = InstanceReport {
                instance_id: wanted.instance_id,
                generation: wanted.generation,
                state,
                version: (state == InstanceState::Running).then(|| wanted.version.clone()),
                image_digest: Some("sha256:00".to_owned()),
                container_id: Some("c0ffee".to_owned()),
                port: Some(wanted.port),
                restarts: 0,
                exit_code: None,
                reason: None,
                message: None,
            };
            match known {
                Some(known) => self.containers[known] = report,
                None => self.containers.push(report),
            }
        }
    }

    /// The agent reports, and asks for a set that it does not have.
    pub(crate) fn heartbeat(&mut self) {
        self.now += SignedDuration::from_secs(10);
        let epoch = self.record.agent_epoch();
        let report = AgentReport {
            boot_id: self.record.id().0,
            sequence: 1,
            applied: self.agent.as_ref().map(|set| set.stamp),
            agent_version: "0.1.0".into(),
            vitals: DropletVitals::default(),
            instances: self.containers.clone(),
            received_at: self.now,
        };
        self.tools().report = Some(ReceivedReport { epoch, report });
        if let Some(set) = self.set().cloned() {
            self.take(set);
        }
    }

    /// Passes, the agent's steps and heartbeats, until all is quiet.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.pass();
            self.agent();
            self.heartbeat();
            self.firewall();
        }
        self.pass();
        assert!(self.plan().is_noop(), "not settled: {:#?}", self.plan());
    }

    /// The droplet is gone, and with it the agent.
    pub(crate) fn lose_droplet(&mut self) {
        let status = &mut self.environment().status;
        status.droplet_id = None;
        status.ip_address = None;
        self.agent = None;
        self.containers.clear();
    }

    /// Another droplet is there.
    pub(crate) fn gain_droplet(&mut self) {
        let status = &mut self.environment().status;
        status.agent_epoch += 1;
        status.droplet_id = Some(DropletId(2));
        status.ip_address = Some("127.1.2.4".parse().unwrap());
        status.phase = EnvironmentPhase::Active;
        self.heartbeat();
    }

    pub(crate) fn unknown_catalog(&mut self, nth: usize) {
        self.edit(nth, |spec| spec.catalog_id = CatalogId::random());
    }
}

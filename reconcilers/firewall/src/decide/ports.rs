//! Which ports should be open. Owns: the conditions for that. Promises: a port whose tool is not known to be ready, as it is told
//! to be now, is not among them.

use model::{
    Cause, Environment, EnvironmentPhase, EnvironmentRecord, InstanceDesiredState, InstanceState, RecordedFirewall,
    desired::RunState,
};
use std::collections::BTreeSet;

/// The ports that should be open, and why they are not those that may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wished {
    /// The ports.
    pub(super) open: BTreeSet<u16>,
    /// How many more there is no room for.
    pub(super) unfit: usize,
    /// What made them differ from those on record.
    pub(super) cause: Cause,
}

impl Wished {
    /// Takes out what there is no room for.
    pub(super) fn leave_out(&mut self, unfit: &BTreeSet<u16>) {
        self.open.retain(|port| !unfit.contains(port));
        self.unfit = unfit.len();
    }
}

/// The ports of the tools that are wanted, told to run, ready by the current droplet's last word about what they are told now, and
/// not asked to close.
pub(super) fn wished(record: &EnvironmentRecord, row: &Environment) -> Wished {
    let open = open(record, row);
    let recorded = record.open_ports();
    let cause = Cause::observation(cause(record, &open, &recorded));
    Wished { open, unfit: 0, cause }
}

fn open(record: &EnvironmentRecord, row: &Environment) -> BTreeSet<u16> {
    let (Some(tools), Some(report)) = (record.tools.as_deref(), record.current_report()) else {
        return BTreeSet::new();
    };
    let (true, Some(set)) = (launched(row.status.phase), &tools.desired) else {
        return BTreeSet::new();
    };
    let told = set.instances.iter().filter(|entry| {
        let current = set.stamp.epoch == record.agent_epoch();
        current && entry.run == RunState::Running && entry.container.container_port.is_some()
    });
    told.filter(|entry| {
        let wanted = tools
            .instances
            .iter()
            .any(|row| row.id == entry.instance_id && row.spec.desired_state == InstanceDesiredState::Running);
        let ready = report
            .instance(entry.instance_id)
            .is_some_and(|reported| reported.state == InstanceState::Running && reported.generation >= entry.generation);
        wanted && ready
    })
    .map(|entry| entry.port)
    .filter(|port| !asked_to_close(record.firewall.as_deref(), *port))
    .collect()
}

fn asked_to_close(recorded: Option<&RecordedFirewall>, port: u16) -> bool {
    recorded.is_some_and(|recorded| recorded.closing.contains_key(&port))
}

fn launched(phase: EnvironmentPhase) -> bool {
    match phase {
        EnvironmentPhase::Active | EnvironmentPhase::Unresponsive => true,
        EnvironmentPhase::PendingCreation
        | EnvironmentPhase::Creating
        | EnvironmentPhase::ErrorCreation
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting
        | EnvironmentPhase::Deleted
        | EnvironmentPhase::ErrorDeletion => false,
    }
}

/// Says of each port that opens or closes which tool is behind it and how that is.
fn cause(record: &EnvironmentRecord, open: &BTreeSet<u16>, recorded: &BTreeSet<u16>) -> String {
    let words: Vec<String> = open
        .symmetric_difference(recorded)
        .map(|port| match (open.contains(port), instance(record, *port)) {
            (true, Some(instance)) => format!("instance {instance} on port {port} is ready"),
            (false, Some(instance)) if asked_to_close(record.firewall.as_deref(), *port) => {
                format!("instance {instance} on port {port} is to stop, to change or to go")
            }
            (false, Some(instance)) => format!("instance {instance} on port {port} is not ready, or not wanted"),
            (true | false, None) => format!("no tool is told to be on port {port}"),
        })
        .collect();
    if words.is_empty() {
        "the environment has a droplet".to_owned()
    } else {
        words.join(", ")
    }
}

fn instance(record: &EnvironmentRecord, port: u16) -> Option<model::InstanceId> {
    let set = record.tools.as_ref()?.desired.as_ref()?;
    let told = set.instances.iter().find(|entry| entry.port == port)?;
    Some(told.instance_id)
}

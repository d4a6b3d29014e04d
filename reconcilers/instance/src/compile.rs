//! An environment's instance rows, compiled into the desired set of its agent. Owns: what is in the set. Must not: know what the
//! agent made of it. Promises: rows that did not change give the same set; a row that cannot be run as it is harms no other,
//! and what it ran before goes on running; a tool whose port may be open is neither stopped, replaced nor removed before that
//! port is closed, or was waited for long enough.

use crate::{
    Desired,
    container::{Refusal, container},
    ports::Ports,
};
use jiff::{SignedDuration, Timestamp};
use model::{
    DesiredInstance, DesiredSet, EnvironmentDesiredState, EnvironmentRecord, Instance, InstanceDesiredState, InstanceId, Stamp,
    Tools, desired::RunState, record::Subject,
};
use std::collections::{BTreeMap, BTreeSet};

/// While an environment has this condition, its tools are stopped, or are to stop: its droplet goes, or is about to be switched
/// off.
const TOOLS_STOPPED: &str = "ToolsStopped";

/// What rows come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compilation {
    /// The content of the set, ordered by id.
    pub(crate) instances: Vec<DesiredInstance>,
    /// The rows that cannot be run as they are.
    pub(crate) refusals: BTreeMap<InstanceId, Refusal>,
    /// Rows whose catalog entry is not known here yet: what they say is unknown, not wrong.
    pub(crate) unread: Vec<InstanceId>,
    /// The ports that have to close before the set can say what the rows say.
    pub(crate) closing: BTreeSet<u16>,
    /// The ports that were waited for long enough: their tools change although they may be open.
    pub(crate) left_open: BTreeSet<u16>,
    /// When the wait for the next port is over.
    pub(crate) patience: Option<SignedDuration>,
}

impl Compilation {
    /// One instance of the set.
    pub(crate) fn get(&self, id: InstanceId) -> Option<&DesiredInstance> {
        find(&self.instances, id)
    }

    /// The set to store in place of `previous`, if it says something else. A set for another epoch is another set: it goes to
    /// another droplet.
    pub(crate) fn successor(&self, record: &EnvironmentRecord, previous: Option<&DesiredSet>) -> Option<DesiredSet> {
        let epoch = record.agent_epoch();
        let unchanged = match previous {
            Some(previous) => previous.stamp.epoch == epoch && previous.instances == self.instances,
            None => self.instances.is_empty(),
        };
        (!unchanged).then(|| DesiredSet {
            environment_id: record.id(),
            stamp: Stamp {
                epoch,
                generation: previous.map_or(1, |previous| previous.stamp.generation + 1),
            },
            instances: self.instances.clone(),
        })
    }
}

/// Whether an environment's tools may run at all.
pub(crate) fn hosts(record: &EnvironmentRecord) -> bool {
    match &record.subject {
        Subject::Row(row) => match row.spec.desired_state {
            EnvironmentDesiredState::Active => row.status.conditions.get(TOOLS_STOPPED).is_none(),
            EnvironmentDesiredState::Deleted => false,
        },
        Subject::Tombstone(_) => false,
    }
}

/// Compiles the rows. `patience` is how long a port is waited for.
pub(crate) fn compile(desired: &Desired, tools: &Tools, patience: SignedDuration, now: Timestamp) -> Compilation {
    let hosted = hosts(&desired.record);
    let previous = tools.desired.as_ref().map_or(&[][..], |set| &set.instances[..]);
    let mut ports = ports(&desired.record, tools, previous);
    let mut compilation = Compilation {
        instances: Vec::with_capacity(tools.instances.len()),
        refusals: BTreeMap::new(),
        unread: Vec::new(),
        closing: BTreeSet::new(),
        left_open: BTreeSet::new(),
        patience: None,
    };
    for row in &tools.instances {
        let before = find(previous, row.id);
        let run = match row.spec.desired_state {
            InstanceDesiredState::Running if hosted => RunState::Running,
            InstanceDesiredState::Running | InstanceDesiredState::Stopped => RunState::Stopped,
            InstanceDesiredState::Removed => continue,
        };
        let compiled = if row.spec.paused && hosted {
            before.cloned()
        } else {
            let made = one(desired, row, run, &mut ports, &mut compilation);
            made.or_else(|| before.map(|before| with_run(before, row, run)))
        };
        compilation.instances.extend(compiled);
    }
    for instance in &mut compilation.instances {
        if let Some(before) = find(previous, instance.instance_id) {
            instance.generation = generation(instance, before);
        }
    }
    compilation.hold(&desired.record, previous, patience, now);
    compilation.instances.sort_unstable_by_key(|instance| instance.instance_id);
    compilation
}

/// A row whose effect did not change keeps the generation that it was compiled from, so that renaming an instance costs its
/// droplet nothing. One whose effect changed has a higher one than ever before, also when the row itself did not change (but its
/// catalog entry, or whether its environment is wanted): a report of an earlier generation never speaks of it.
fn generation(instance: &DesiredInstance, before: &DesiredInstance) -> i64 {
    let as_before = DesiredInstance {
        generation: before.generation,
        ..instance.clone()
    };
    if as_before == *before {
        before.generation
    } else {
        instance.generation.max(before.generation + 1)
    }
}

impl Compilation {
    /// Leaves tools whose port may be open as they were, until that is closed.
    fn hold(&mut self, record: &EnvironmentRecord, previous: &[DesiredInstance], patience: SignedDuration, now: Timestamp) {
        let open = record.open_ports();
        let asked = record.firewall.as_ref().map(|firewall| &firewall.closing);
        for before in previous.iter().filter(|before| open.contains(&before.port)) {
            let after = self
                .instances
                .iter_mut()
                .find(|after| after.instance_id == before.instance_id);
            if after.as_ref().is_some_and(|after| **after == *before) {
                continue;
            }
            let since = asked.and_then(|asked| asked.get(&before.port));
            let left = patience - since.map_or(SignedDuration::ZERO, |since| now.duration_since(*since));
            if !left.is_positive() {
                self.left_open.insert(before.port);
                continue;
            }
            self.closing.insert(before.port);
            self.patience = self.patience.map_or(Some(left), |least| Some(least.min(left)));
            match after {
                Some(after) => *after = before.clone(),
                None => self.instances.push(before.clone()),
            }
        }
    }
}

/// One row, or `None` with a note of why not.
fn one(
    desired: &Desired,
    row: &Instance,
    run: RunState,
    ports: &mut Ports,
    compilation: &mut Compilation,
) -> Option<DesiredInstance> {
    let Some(entry) = desired.entry(row.spec.catalog_id) else {
        compilation.unread.push(row.id);
        return None;
    };
    let made = container(&row.spec, entry).and_then(|container| {
        let port = ports.assign(row.id).ok_or_else(|| Refusal {
            field: "account_tool_environment_id".to_owned(),
            message: "every port of the environment's droplet is taken; remove an instance".to_owned(),
        })?;
        Ok(DesiredInstance {
            instance_id: row.id,
            generation: row.generation,
            run,
            version: row.spec.version_to_run.clone(),
            port,
            container,
        })
    });
    match made {
        Ok(instance) => Some(instance),
        Err(refusal) => {
            compilation.refusals.insert(row.id, refusal);
            None
        }
    }
}

/// What ran before, told to run or not as the row says now.
fn with_run(before: &DesiredInstance, row: &Instance, run: RunState) -> DesiredInstance {
    DesiredInstance {
        generation: row.generation,
        run,
        ..before.clone()
    }
}

/// The ports that are spoken for: by the previous set, by the rows' own word (where the set was lost), by what the agent has not
/// removed yet, and by the firewall, where one may be open still although its tool is gone.
fn ports(record: &EnvironmentRecord, tools: &Tools, previous: &[DesiredInstance]) -> Ports {
    let mut ports = Ports::default();
    let stays = |id: InstanceId| {
        let mut rows = tools.instances.iter();
        rows.any(|row| row.id == id && row.spec.desired_state != InstanceDesiredState::Removed)
    };
    for before in previous.iter().filter(|before| stays(before.instance_id)) {
        ports.keep(before.instance_id, before.port);
    }
    for row in tools.instances.iter().filter(|row| stays(row.id)) {
        let recorded = row.status.runtime_details.get("port").and_then(serde_json::Value::as_u64);
        if let Some(port) = recorded.and_then(|port| u16::try_from(port).ok()) {
            ports.keep(row.id, port);
        }
    }
    for reported in record.current_report().map_or(&[][..], |report| &report.instances[..]) {
        if let Some(port) = reported.port {
            ports.keep(reported.instance_id, port);
        }
    }
    for port in record.open_ports() {
        ports.reserve(port);
    }
    ports
}

fn find(instances: &[DesiredInstance], id: InstanceId) -> Option<&DesiredInstance> {
    instances.iter().find(|instance| instance.instance_id == id)
}

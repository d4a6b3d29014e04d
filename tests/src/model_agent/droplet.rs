//! A machine whose tools take their time to start, are replaced, and crash.
//!
//! Owns: the truth about every tool. Must not: know firewalls. Promises: a port counts as allowed from the moment its tool is
//! ready for the first time after Toolplane had it started, until the moment at which Toolplane has it stopped, replaced or
//! removed; a crash, which nobody ordered, changes nothing about that.

use super::{Machine, Machines};
use model::{DesiredInstance, DesiredSet, EnvironmentId, InstanceId, InstanceReport, InstanceState, Stamp, desired::RunState};
use rand::Rng;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Between two looks at what has changed by itself.
const STEP: Duration = Duration::from_millis(10);

/// Whether a port may be open, and how often that changed.
type Allowed = (bool, u64);

/// Which port on which droplet is allowed to be open.
#[derive(Clone, Default)]
pub struct Truth(Arc<Mutex<HashMap<(u64, u16), Allowed>>>);

impl Truth {
    /// Whether a port may be open now, and how often that has changed.
    pub fn get(&self, droplet: u64, port: u16) -> Allowed {
        self.lock().get(&(droplet, port)).copied().unwrap_or_default()
    }

    fn set(&self, droplet: u64, port: u16, allowed: bool) {
        let mut lock = self.lock();
        let entry = lock.entry((droplet, port)).or_default();
        if entry.0 != allowed {
            *entry = (allowed, entry.1 + 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u16), Allowed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Crashes a ready tool of an environment, if it has one.
pub fn crash(machines: &Machines<Droplet>, environment: EnvironmentId) {
    for machine in machines.all().iter().filter(|machine| machine.environment == environment) {
        machine.crash();
    }
}

/// The ports of an environment's tools that are ready, with their droplet.
pub fn ready(machines: &Machines<Droplet>, environment: EnvironmentId) -> Vec<(u64, u16)> {
    let machines = machines.all();
    let own = machines.iter().filter(|machine| machine.environment == environment);
    own.flat_map(|machine| machine.ready()).collect()
}

/// One droplet's containers.
pub struct Droplet {
    id: u64,
    environment: EnvironmentId,
    truth: Truth,
    /// How many milliseconds a tool takes to be ready.
    starts_in: Range<u64>,
    state: Mutex<MachineState>,
    changed: Notify,
}

#[derive(Default)]
struct MachineState {
    held: Option<DesiredSet>,
    tools: BTreeMap<InstanceId, Tool>,
}

/// A container.
struct Tool {
    told: DesiredInstance,
    life: Life,
}

#[derive(Clone, Copy)]
enum Life {
    /// Its probe has not passed yet.
    Starting(Instant),
    Ready,
    /// Its process is gone by itself, until the agent starts it again.
    Crashed(Instant),
    Stopped,
}

impl Droplet {
    /// Without tools. Which ports may be open is told to `truth`.
    pub fn new(id: u64, environment: EnvironmentId, truth: Truth) -> Self {
        Self {
            id,
            environment,
            truth,
            starts_in: 10..60,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// With tools that take so many milliseconds to be ready.
    #[must_use]
    pub fn starting_in(self, milliseconds: Range<u64>) -> Self {
        Self {
            starts_in: milliseconds,
            ..self
        }
    }

    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens by itself.
    fn step(&self) {
        let now = Instant::now();
        let mut changed = false;
        for tool in self.lock().tools.values_mut() {
            tool.life = match tool.life {
                Life::Starting(until) if until <= now => {
                    self.truth.set(self.id, tool.told.port, true);
                    Life::Ready
                }
                Life::Crashed(until) if until <= now => Life::Starting(soon(&self.starts_in)),
                Life::Starting(_) | Life::Ready | Life::Crashed(_) | Life::Stopped => continue,
            };
            changed = true;
        }
        if changed {
            self.changed.notify_one();
        }
    }

    fn crash(&self) {
        let mut state = self.lock();
        if let Some(tool) = state.tools.values_mut().find(|tool| matches!(tool.life, Life::Ready)) {
            tool.life = Life::Crashed(soon(&(20..120)));
            self.changed.notify_one();
        }
    }

    fn ready(&self) -> Vec<(u64, u16)> {
        let state = self.lock();
        let ready = state.tools.values().filter(|tool| matches!(tool.life, Life::Ready));
        ready.map(|tool| (self.id, tool.told.port)).collect()
    }
}

impl Machine for Droplet {
    /// Stops at once what is to stop.
    fn take(&self, set: DesiredSet) -> Option<Stamp> {
        let mut state = self.lock();
        if let Some(newer) = state.held.as_ref().map(|held| held.stamp).filter(|held| *held > set.stamp) {
            return Some(newer);
        }
        let MachineState { held, tools } = &mut *state;
        tools.retain(|id, tool| {
            let stays = set.instances.iter().any(|instance| instance.instance_id == *id);
            if !stays {
                self.truth.set(self.id, tool.told.port, false);
            }
            stays
        });
        for told in &set.instances {
            let tool = tools.entry(told.instance_id).or_insert_with(|| Tool {
                told: told.clone(),
                life: Life::Stopped,
            });
            let same = tool.told.container == told.container && tool.told.port == told.port;
            let stopped = matches!(tool.life, Life::Stopped);
            if told.run == RunState::Stopped || !same {
                self.truth.set(self.id, tool.told.port, false);
            }
            tool.life = match (told.run, same, stopped) {
                (RunState::Stopped, _, _) => Life::Stopped,
                (RunState::Running, true, false) => tool.life,
                (RunState::Running, _, _) => Life::Starting(soon(&self.starts_in)),
            };
            tool.told = told.clone();
        }
        *held = Some(set);
        self.changed.notify_one();
        None
    }

    fn report(&self) -> (Option<Stamp>, Vec<InstanceReport>) {
        let state = self.lock();
        let tools = state.tools.values().map(report);
        (state.held.as_ref().map(|set| set.stamp), tools.collect())
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    async fn run(&self) {
        loop {
            self.step();
            tokio::time::sleep(STEP).await;
        }
    }
}

fn report(tool: &Tool) -> InstanceReport {
    InstanceReport {
        instance_id: tool.told.instance_id,
        generation: tool.told.generation,
        state: match tool.life {
            Life::Starting(_) => InstanceState::Starting,
            Life::Ready => InstanceState::Running,
            Life::Crashed(_) => InstanceState::Failed,
            Life::Stopped => InstanceState::Stopped,
        },
        version: matches!(tool.life, Life::Ready).then(|| tool.told.version.clone()),
        image_digest: None,
        container_id: None,
        port: Some(tool.told.port),
        restarts: 0,
        exit_code: None,
        reason: None,
        message: None,
    }
}

fn soon(milliseconds: &Range<u64>) -> Instant {
    Instant::now() + Duration::from_millis(rand::rng().random_range(milliseconds.clone()))
}

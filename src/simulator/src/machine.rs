//! The machines behind the droplets: a folder for a disk, an address on the loopback interface, and the agent's process.
//!
//! Owns: booting, halting and destroying, as a real droplet's power, operating system and `cloud-init` would have it. Must not: know
//! the API. Promises:
//!
//! - a machine knows nothing but its user data: the agent comes from where that says, and only with the hash that it says;
//! - a machine that is halted runs nothing: its agent is dead, and the engine's containers of the droplet are killed, as in a
//!   power cut. They stay there as exited containers, and it is the next boot's agent that deals with them;
//! - a destroyed machine leaves nothing: `dtma purge` removes its containers, then its disk is deleted;
//! - an agent dies with the simulator, however that ends; containers that a killed simulator left are purged at the next start.
//!
//! What fails in a boot is tried again after a pause, as the droplet's systemd unit does it; the console tells.

mod agent;
mod console;
mod disk;
mod download;
mod engine;
mod leftovers;
mod nursery;
mod user_data;

pub(crate) use leftovers::clear as clear_leftovers;

use crate::config::Dial;
use agent::Supervisor;
use console::Console;
use disk::Disk;
use engine::Engine;
use nursery::Nursery;
use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// Of how many destroyed machines the consoles are kept.
const DESTROYED_KEPT: usize = 1_000;

/// What a machine boots with.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(crate) id: u64,
    pub(crate) address: Ipv4Addr,
    pub(crate) user_data: Option<Arc<str>>,
    pub(crate) metadata_url: String,
}

/// How a machine ends to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The plug is pulled.
    PowerOff,
    /// The agent is asked first, and has this long.
    Shutdown(Duration),
}

/// All machines.
#[derive(Debug)]
pub(crate) struct Machines {
    state_dir: PathBuf,
    docker_host: String,
    engine: Engine,
    nursery: Nursery,
    settings: Dial,
    known: Mutex<HashMap<u64, Arc<Machine>>>,
    /// The latest destroyed machines, whose consoles can still be read.
    destroyed: Mutex<VecDeque<u64>>,
    closed: AtomicBool,
}

/// One machine. Its power is switched by one at a time.
#[derive(Debug)]
struct Machine {
    console: Console,
    disk: Disk,
    power: tokio::sync::Mutex<Power>,
}

#[derive(Debug)]
enum Power {
    Off,
    On {
        halt: watch::Sender<Option<Halt>>,
        supervisor: JoinHandle<()>,
    },
    Destroyed,
}

impl Machines {
    pub(crate) fn new(state_dir: &Path, docker_host: &str, settings: Dial) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            docker_host: docker_host.to_owned(),
            engine: Engine::new(docker_host),
            nursery: Nursery::start(),
            settings,
            known: Mutex::new(HashMap::new()),
            destroyed: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Powers a machine on. One that runs already, or is destroyed, is left as it is; and so are all where agents are not wanted.
    pub(crate) async fn boot(&self, boot: Boot) {
        if !self.settings.get().boot_agents {
            return;
        }
        let machine = self.machine(boot.id);
        let mut power = machine.power.lock().await;
        if !matches!(*power, Power::Off) || self.closed.load(Ordering::SeqCst) {
            return;
        }
        let (halt, halted) = watch::channel(None);
        let supervisor = Supervisor {
            environment: machine.disk.environment(&boot, &self.docker_host),
            boot,
            disk: machine.disk.clone(),
            console: machine.console.clone(),
            nursery: self.nursery.clone(),
            settings: self.settings.clone(),
            halted,
        };
        let supervisor = tokio::spawn(supervisor.run());
        *power = Power::On { halt, supervisor };
    }

    /// Powers a machine off.
    pub(crate) async fn halt(&self, id: u64, how: Halt) {
        let machine = self.machine(id);
        let mut power = machine.power.lock().await;
        if Self::stop(&machine, &mut power, how).await {
            machine.console.line("power off");
            self.engine.kill_containers(id, &machine.console).await;
        }
    }

    /// Powers a machine off and empties its disk; what ran on it is gone.
    pub(crate) async fn wipe(&self, id: u64) {
        let machine = self.machine(id);
        let mut power = machine.power.lock().await;
        Self::stop(&machine, &mut power, Halt::PowerOff).await;
        self.purge(&machine).await;
        machine.disk.wipe();
    }

    /// Ends a machine for good.
    pub(crate) async fn destroy(&self, id: u64) {
        let machine = self.machine(id);
        let mut power = machine.power.lock().await;
        Self::stop(&machine, &mut power, Halt::PowerOff).await;
        if !matches!(*power, Power::Destroyed) {
            self.purge(&machine).await;
            machine.console.keep();
            machine.disk.delete();
            *power = Power::Destroyed;
            self.bury(id);
        }
    }

    /// Forgets the machine that was destroyed longest ago, when there are more than are kept.
    fn bury(&self, id: u64) {
        let mut destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        destroyed.push_back(id);
        if destroyed.len() > DESTROYED_KEPT
            && let Some(first) = destroyed.pop_front()
        {
            self.lock().remove(&first);
        }
    }

    /// Ends all machines for good, and lets none boot any more.
    pub(crate) async fn destroy_all(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let ids: Vec<u64> = self.lock().keys().copied().collect();
        futures::future::join_all(ids.into_iter().map(|id| self.destroy(id))).await;
    }

    /// What a machine's console shows; `None` for one that never booted.
    pub(crate) fn console(&self, id: u64) -> Option<String> {
        let machine = self.lock().get(&id).cloned()?;
        Some(machine.console.read())
    }

    /// The agent's process, while there is one.
    pub(crate) fn agent(&self, id: u64) -> Option<u32> {
        let machine = self.lock().get(&id).cloned()?;
        machine.console.agent()
    }

    /// Ends the agent of a machine that is on. Whether it was.
    async fn stop(machine: &Machine, power: &mut Power, how: Halt) -> bool {
        let (halt, supervisor) = match std::mem::replace(power, Power::Off) {
            Power::On { halt, supervisor } => (halt, supervisor),
            other @ (Power::Off | Power::Destroyed) => {
                *power = other;
                return false;
            }
        };
        // The supervisor may have ended by itself: a machine without an agent has nothing to supervise.
        let _ = halt.send(Some(how));
        if let Err(error) = supervisor.await {
            machine.console.line(&format!("the supervisor broke: {error}"));
        }
        true
    }

    async fn purge(&self, machine: &Machine) {
        if let Some(environment) = machine.disk.recorded_environment() {
            leftovers::purge(&self.nursery, &machine.disk, &environment, &machine.console).await;
        }
    }

    fn machine(&self, id: u64) -> Arc<Machine> {
        let mut known = self.lock();
        let machine = known.entry(id).or_insert_with(|| {
            let disk = Disk::new(&self.state_dir, id);
            Arc::new(Machine {
                console: Console::new(disk.console_path()),
                disk,
                power: tokio::sync::Mutex::new(Power::Off),
            })
        });
        Arc::clone(machine)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Machine>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

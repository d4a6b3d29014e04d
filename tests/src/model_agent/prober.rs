//! Asks the simulator all the time which connections would be let in, and compares that with what the tools are really doing.
//!
//! Owns: what was seen. Must not: change anything. Promises: only what an environment's own firewall lets in counts; what somebody
//! else opens is not ours.

use super::droplet::Truth;
use simulator::{Connection, Passage, Protocol};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// More of them tell nothing more.
const TOLD: usize = 10;

/// What is asked, and how often.
#[derive(Clone, Debug)]
pub struct Prober {
    /// With what the names of the installation's firewalls begin.
    pub firewalls: String,
    /// The ports that tools ever have.
    pub ports: Range<u16>,
    /// Between two rounds.
    pub pause: Duration,
}

/// What the prober saw; a cheap clone of one memory.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Sightings>>);

/// See [`Seen`].
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    open: HashSet<(u64, u16)>,
    /// How often a port opened.
    pub opened: usize,
    /// How often one closed.
    pub closed: usize,
    /// How many connections were asked for.
    pub probes: usize,
    /// The first ports that were open while their tool was not ready.
    pub violations: Vec<String>,
}

impl Seen {
    /// Up to now.
    pub fn lock(&self) -> MutexGuard<'_, Sightings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prober {
    /// Asks for every port of every droplet, for as long as it is polled.
    pub async fn run(self, simulator: Arc<simulator::Handle>, truth: Truth, seen: Seen) {
        loop {
            for droplet in simulator.droplets() {
                for port in self.ports.clone() {
                    let before = truth.get(droplet.id, port);
                    let connection = Connection {
                        droplet: droplet.id,
                        port,
                        protocol: Protocol::Tcp,
                        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
                    };
                    let open = self.is_ours(simulator.connection(&connection));
                    let after = truth.get(droplet.id, port);
                    // The same twice: the tool was not ready in the whole time between.
                    let unready = !before.0 && before == after;
                    seen.lock().note(droplet.id, port, open, unready);
                }
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    fn is_ours(&self, passage: Option<Passage>) -> bool {
        let by = passage.and_then(|passage| passage.by);
        by.is_some_and(|by| by.starts_with(&self.firewalls))
    }
}

impl Sightings {
    fn note(&mut self, droplet: u64, port: u16, open: bool, unready: bool) {
        self.probes += 1;
        if open && self.open.insert((droplet, port)) {
            self.opened += 1;
        } else if !open && self.open.remove(&(droplet, port)) {
            self.closed += 1;
        }
        if open && unready && self.violations.len() < TOLD {
            let told = format!("droplet {droplet} lets port {port} in, and its tool is not ready");
            self.violations.push(told);
        }
    }
}

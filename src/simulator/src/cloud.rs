//! The simulator's state, and what happens in it by and by.
//!
//! Owns: the world behind its lock, the machines, and the timers between a request and its effect. Promises: what is scheduled
//! happens once, or not at all when the simulator stops.

use crate::{
    config::{Config, Dial},
    fault::{Asked, Fault, Faults},
    journal::{Counts, Journal, What},
    machine::{Boot, Halt, Machines},
    rate::Rates,
    world::{World, action::Order, droplet::Droplet, firewall::Applied},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a timer brings about.
#[derive(Debug)]
pub(crate) enum Event {
    /// A new droplet's machine is there.
    Active(u64),
    /// An active droplet has its addresses.
    Addressed(u64),
    /// A create comes to nothing.
    Vanished(u64),
    /// An action is to be carried out.
    Act { action: u64, droplet: u64, order: Order },
    /// An action has failed.
    Errored { action: u64 },
    /// A droplet's farewell has ended.
    Gone(u64),
    /// A firewall is in force.
    Applied(Applied),
}

/// Everything that the parts of a simulator share.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Dial,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) rates: Rates,
    pub(crate) machines: Machines,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    world: Mutex<World>,
}

impl Cloud {
    pub(crate) fn new(config: Config, address: SocketAddr, settings: Dial, world: World, machines: Machines) -> Self {
        Self {
            config,
            address,
            settings,
            machines,
            journal: Journal::default(),
            faults: Faults::default(),
            rates: Rates::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            world: Mutex::new(world),
        }
    }

    /// The account. Never held across an await.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings something about after a while.
    pub(crate) fn schedule(self: &Arc<Self>, after: Duration, event: Event) {
        let cloud = Arc::clone(self);
        self.tasks.spawn(async move {
            let stopped = cloud.stop.cancelled();
            // Only the waiting is given up at a stop: what has begun ends well.
            if tokio::time::timeout(after, stopped).await.is_err() {
                cloud.happen(event).await;
            }
        });
    }

    /// Brings firewalls into force after a while.
    pub(crate) fn schedule_applied(self: &Arc<Self>, after: Duration, changes: impl IntoIterator<Item = Applied>) {
        for applied in changes {
            self.schedule(after, Event::Applied(applied));
        }
    }

    /// What a fault makes of a request, in milliseconds, or what the settings say.
    pub(crate) fn twisted(&self, asked: &Asked, fault: impl Fn(&Fault) -> Option<u64>, usual: Duration) -> Duration {
        self.faults.strike(asked, fault).map_or(usual, Duration::from_millis)
    }

    /// Writes an entry into the journal.
    pub(crate) fn write(&self, what: What) {
        self.journal.write(what, self.settings.get().journal_kept);
    }

    /// How often what happened.
    pub(crate) fn counts(&self) -> Counts {
        let struck = self.faults.struck().into_iter();
        Counts {
            limits: self.rates.limited(),
            faults: struck.map(|(kind, count)| (kind.to_owned(), count)).collect(),
            actions_dropped: self.world().actions.dropped(),
            ..self.journal.counts()
        }
    }

    /// Writes down which droplets share a watched tag with one of these.
    pub(crate) fn watch_twins(&self, droplets: &[u64]) {
        let prefix = &self.config.watched_tag_prefix;
        let world = self.world();
        let twins: Vec<_> = droplets.iter().flat_map(|id| world.twins(prefix, *id)).collect();
        drop(world);
        for (tag, droplets) in twins {
            self.write(What::Twins { tag, droplets });
        }
    }

    /// Destroys a droplet at once, as if somebody else had done it.
    pub(crate) async fn destroy(self: &Arc<Self>, droplet: u64) {
        self.write(What::Destroyed { droplet });
        self.world().droplets.change(droplet, |droplet| droplet.destroying = true);
        self.happen(Event::Gone(droplet)).await;
    }

    /// Removes a droplet whose create comes to nothing.
    pub(crate) fn vanish(&self, droplet: u64) {
        if self.world().droplet_vanish(droplet) {
            self.write(What::Vanished { droplet });
        }
    }

    async fn happen(self: &Arc<Self>, event: Event) {
        match event {
            Event::Active(id) => {
                let active = self.world().droplet_active(id);
                if let Some(droplet) = active {
                    if !droplet.addressed {
                        let usual = self.settings.get().addressless();
                        self.schedule(droplet.fate.addressless.unwrap_or(usual), Event::Addressed(id));
                    }
                    self.machines.boot(self.boot_of(&droplet)).await;
                }
            }
            Event::Addressed(id) => self.world().droplet_addressed(id),
            Event::Vanished(id) => self.vanish(id),
            Event::Act { action, droplet, order } => {
                self.act(droplet, &order).await;
                self.world().action_done(action, &order);
            }
            Event::Errored { action } => self.world().action_end(action, false),
            Event::Gone(id) => {
                self.machines.destroy(id).await;
                self.world().droplet_gone(id);
            }
            Event::Applied(applied) => self.world().firewall_applied(applied),
        }
    }

    /// Carries an order out on the machine.
    async fn act(&self, id: u64, order: &Order) {
        let known = self.world().droplets.get(id).cloned();
        let Some(boot) = known.map(|droplet| self.boot_of(&droplet)) else {
            return;
        };
        let asked = Halt::Shutdown(self.settings.get().shutdown());
        match order {
            Order::PowerOn => self.machines.boot(boot).await,
            Order::PowerOff => self.machines.halt(id, Halt::PowerOff).await,
            Order::Shutdown => self.machines.halt(id, asked).await,
            Order::PowerCycle => {
                self.machines.halt(id, Halt::PowerOff).await;
                self.machines.boot(boot).await;
            }
            Order::Reboot => {
                self.machines.halt(id, asked).await;
                self.machines.boot(boot).await;
            }
            Order::Rebuild { .. } => {
                self.machines.wipe(id).await;
                self.machines.boot(boot).await;
            }
            Order::Resize { .. } | Order::Rename { .. } | Order::Snapshot { .. } => {}
        }
    }

    fn boot_of(&self, droplet: &Droplet) -> Boot {
        Boot {
            id: droplet.id,
            address: droplet.address,
            user_data: droplet.user_data.clone(),
            metadata_url: format!("http://{}/metadata/{}/v1", self.address, droplet.id),
        }
    }
}

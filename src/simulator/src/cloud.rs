//! The simulator's state, and what happens in it by and by.
//!
//! Owns: the world behind its lock, the machines, and the timers between a request and its effect. Promises: what is scheduled
//! happens once, or not at all when the simulator stops.

use crate::{
    config::{Config, Dial},
    fault::Faults,
    journal::{Journal, What},
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
    /// An action is to be carried out.
    Act { action: u64, droplet: u64, order: Order },
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

    /// Brings firewalls into force after their delay.
    pub(crate) fn schedule_applied(self: &Arc<Self>, changes: impl IntoIterator<Item = Applied>) {
        for applied in changes {
            self.schedule(self.settings.get().firewall(), Event::Applied(applied));
        }
    }

    /// Writes down which droplets share a watched tag with one of these.
    pub(crate) fn watch_twins(&self, droplets: &[u64]) {
        let prefix = &self.config.watched_tag_prefix;
        let world = self.world();
        let twins: Vec<_> = droplets.iter().flat_map(|id| world.twins(prefix, *id)).collect();
        drop(world);
        for (tag, droplets) in twins {
            self.journal.write(What::Twins { tag, droplets });
        }
    }

    /// Destroys a droplet at once, as if somebody else had done it.
    pub(crate) async fn destroy(&self, droplet: u64) {
        self.journal.write(What::Destroyed { droplet });
        if let Some(droplet) = self.world().droplets.get_mut(&droplet) {
            droplet.destroying = true;
        }
        self.happen(Event::Gone(droplet)).await;
    }

    async fn happen(&self, event: Event) {
        match event {
            Event::Active(id) => {
                let active = self.world().droplet_active(id);
                if let Some(droplet) = active {
                    self.machines.boot(self.boot_of(&droplet)).await;
                }
            }
            Event::Act { action, droplet, order } => {
                self.act(droplet, &order).await;
                self.world().action_done(action, &order);
            }
            Event::Gone(id) => {
                self.machines.destroy(id).await;
                self.world().droplet_gone(id);
            }
            Event::Applied(applied) => self.world().firewall_applied(applied),
        }
    }

    /// Carries an order out on the machine.
    async fn act(&self, id: u64, order: &Order) {
        let known = self.world().droplets.get(&id).cloned();
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

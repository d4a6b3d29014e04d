//! What has to hold in the moment of an effect, whatever crashed before; and what others do in just that moment.
//!
//! Owns: looking at the world when an effect begins. Must not: count or crash, which the witness behind it does. Promises: the effect
//! begins only after the look.

use crate::witness::Crasher;
use digitalocean::{Client, Resource};
use effects::{Effect, Moment, System, Witness};
use futures::{FutureExt, future::BoxFuture};
use model::{InstallationId, tags};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module; one for the life of a world.
pub(crate) struct Watch {
    simulator: Arc<simulator::Handle>,
    /// The console of whoever takes droplets away.
    cloud: Client,
    installation: InstallationId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The droplet that is given away in the moment before it is deleted.
    coveted: Option<u64>,
    violations: Vec<String>,
}

/// The watch over one replica.
struct Over {
    watch: Arc<Watch>,
    witness: Arc<Crasher>,
}

impl Watch {
    pub(crate) fn new(simulator: Arc<simulator::Handle>, cloud: Client, installation: InstallationId) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self {
            simulator,
            cloud,
            installation,
            state,
        })
    }

    /// Looks whenever this witness is asked.
    pub(crate) fn over(self: &Arc<Self>, witness: Arc<Crasher>) -> Arc<dyn Witness> {
        let watch = Arc::clone(self);
        Arc::new(Over { watch, witness })
    }

    /// What did not hold.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Has a droplet given to another installation when it is about to be deleted: right before the last look at its tags, or right
    /// before the delete if there is no such look.
    pub(crate) fn covet(&self, droplet: u64) {
        self.lock().coveted = Some(droplet);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an effect needs that is about to begin.
    fn look(&self, effect: Effect) {
        if effect.system != System::Postgres || !matches!(effect.name, "tombstone_droplet_gone" | "tombstone_finish") {
            return;
        }
        let droplets = self.simulator.droplets();
        let ours = droplets.iter().filter(|droplet| {
            let owner = tags::owner(droplet.tags.iter().map(String::as_str), &self.installation);
            owner.is_some()
        });
        let told = ours.map(|droplet| format!("{effect} while droplet {} is there", droplet.id));
        self.lock().violations.extend(told);
    }

    /// Another installation takes the droplet over.
    async fn take(&self, droplet: u64) {
        give(&self.cloud, droplet, &self.installation, &another()).await;
    }

    /// And gives it back.
    pub(crate) async fn give_back(&self, droplet: u64) {
        give(&self.cloud, droplet, &another(), &self.installation).await;
    }
}

/// Others have an installation in the account, too.
pub(crate) fn another() -> InstallationId {
    "another".parse().unwrap()
}

async fn give(cloud: &Client, droplet: u64, from: &InstallationId, to: &InstallationId) {
    let droplet = [Resource::droplet(droplet)];
    cloud.tag_create(&tags::installation(to)).await.unwrap();
    cloud.tag_resources_remove(&tags::installation(from), &droplet).await.unwrap();
    cloud.tag_resources_add(&tags::installation(to), &droplet).await.unwrap();
}

impl Witness for Over {
    fn moment(&self, effect: Effect, moment: Moment<'_>) -> BoxFuture<'static, ()> {
        let deletes = effect.system == System::DigitalOcean && matches!(effect.name, "droplet_get" | "droplet_delete");
        let mut coveted = None;
        if let Moment::Before = moment {
            self.watch.look(effect);
            if deletes {
                coveted = self.watch.lock().coveted.take();
            }
        }
        let passed = self.witness.moment(effect, moment);
        let Some(droplet) = coveted else { return passed };
        let watch = Arc::clone(&self.watch);
        // On its own: it is not the replica's doing, and does not end with it.
        let taking = tokio::spawn(async move { watch.take(droplet).await });
        async move {
            taking.await.unwrap();
            passed.await;
        }
        .boxed()
    }
}

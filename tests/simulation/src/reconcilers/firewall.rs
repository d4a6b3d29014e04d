//! The firewall reconciler: its decisions, with its effects said to the models.

use super::sweep::shown;
use crate::{cloud::Refusal, invariants::open_ports, process::Process, world::World};
use digitalocean::{Firewall, FirewallSpec};
use firewall_reconciler::{
    Observed,
    action::{Action, CloudAction},
    decide, observe,
};
use fleet::{Freshness, firewalls, names};
use jiff::Timestamp;
use model::{DropletId, EnvironmentId, EnvironmentRecord};
use runtime::{Clock, Error, Failure, Observation, Plan, Read, Reconciler};
use schema::FirewallState;
use std::{collections::BTreeSet, sync::Arc};

/// See the module.
pub struct FirewallModel(Arc<Process>);

impl FirewallModel {
    /// One pass's.
    pub fn new(process: Arc<Process>) -> Self {
        Self(process)
    }

    fn name(&self, id: EnvironmentId) -> String {
        names::environment(&self.0.setup.installation, id)
    }

    /// `Sources::read`: what is remembered where that serves, else from the cloud.
    async fn observed(&self, id: EnvironmentId, record: &EnvironmentRecord) -> Result<Observed, Error> {
        let remembered = self.0.firewalls.observed(&self.name(id));
        let firewall = if Freshness::default().firewall_serves(observe::need(Some(record)), &remembered, self.0.now()) {
            remembered
        } else {
            let recorded = record.firewall.as_ref().and_then(|recorded| recorded.id.clone());
            self.read(id, recorded).await?
        };
        let droplet = match observe::droplet(Some(record)) {
            Some(droplet) if !observe::applies(&firewall, droplet) => self.droplet(id, droplet).await?,
            Some(_) | None => Observation::Unknown,
        };
        Ok(Observed {
            firewall,
            droplet,
            // The base firewall is no part of a story.
            base: Observation::Present(true),
            base_failure: None,
            short: false,
        })
    }

    /// `FirewallLooks::read`: by its id where that is known, else among all.
    async fn read(&self, id: EnvironmentId, recorded: Option<String>) -> Result<firewalls::Observed, Error> {
        let (began, name) = (self.0.now(), self.name(id));
        let remembered = match self.0.firewalls.observed(&name).firewall {
            Observation::Present(known) => Some(known.id.clone()),
            Observation::Unknown | Observation::Absent => None,
        };
        let mut found: Option<Firewall> = None;
        if let Some(known) = remembered.or(recorded) {
            let got = self.0.read_cloud(format!("get {known}"), move |world| {
                world.cloud.firewall_get(world.now, &known)
            });
            found = got.await?.filter(|firewall| firewall.spec.name == name);
        }
        if found.is_none() {
            let listed = self
                .0
                .read_cloud("list all firewalls".to_owned(), |world| world.cloud.firewall_list(world.now));
            found = listed.await?.into_iter().find(|firewall| firewall.spec.name == name);
        }
        Ok(self.0.firewalls.learn(&name, found, began))
    }

    /// Whether its droplet is there: it is only asked for when it is not in sight.
    async fn droplet(&self, id: EnvironmentId, droplet: DropletId) -> Result<Observation<()>, Error> {
        if observe::in_sight(&self.0.fleet, id, droplet) == Observation::Present(()) {
            return Ok(Observation::Present(()));
        }
        let got = self.0.read_cloud(format!("get droplet {droplet}"), move |world| {
            world.cloud.get(world.now, droplet.0).is_ok()
        });
        Ok(if got.await? {
            Observation::Present(())
        } else {
            Observation::Absent
        })
    }

    async fn request(&self, id: EnvironmentId, recorded: Option<String>, action: &CloudAction) -> Result<(), Error> {
        match action {
            CloudAction::Look { .. } => self.read(id, recorded).await.map(drop),
            // The environment's firewall applies by id and names no tag.
            CloudAction::EnsureTag { .. } => Ok(()),
            CloudAction::Create { spec, .. } => self.create(id, spec).await,
            CloudAction::Update { id: firewall, spec, .. } => self.update(id, firewall, spec).await,
            CloudAction::Delete { id: firewall, .. } => self.delete(id, firewall).await,
        }
    }

    /// Changes a firewall, and has what opens in it judged.
    async fn order<T: std::fmt::Debug + Send + 'static>(
        &self,
        told: String,
        spec: FirewallSpec,
        effect: impl FnOnce(&mut World, FirewallSpec) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Result<T, Refusal>, Error> {
        let ordered = self.0.change_cloud(told, move |world, arrival| {
            world.invariants.touching_firewall(&world.installation, &spec.name);
            let (now, ordered) = (world.now, spec.clone());
            let droplets = ordered.droplet_ids.iter();
            let before: Vec<(&u64, BTreeSet<u16>)> = droplets
                .map(|droplet| (droplet, open_ports(&world.cloud, now, *droplet)))
                .collect();
            let done = effect(world, spec);
            for (droplet, before) in &before {
                if let Some(agent) = world.agents.get(droplet) {
                    let cloud = (&world.cloud, now);
                    world.invariants.opened(cloud, agent, before, &ordered, arrival);
                }
            }
            done
        });
        ordered.await.map_err(|trouble| self.0.trouble(trouble))
    }

    async fn create(&self, id: EnvironmentId, spec: &FirewallSpec) -> Result<(), Error> {
        let began = self.0.now();
        let made = self.order("create a firewall".to_owned(), spec.clone(), |world, spec| {
            world.cloud.firewall_create(world.now, &mut world.dice, spec)
        });
        match made.await? {
            Ok(made) => {
                self.0.firewalls.learn(&self.name(id), Some(shown(&made, spec, false)), began);
                Ok(())
            }
            Err(Refusal::Duplicate) => {
                self.read(id, None).await?;
                Err(Error::retriable("FirewallExists", "it is there already"))
            }
            Err(_) => Err(Error::retriable("DigitalOceanInvalid", "the droplet is not known yet")),
        }
    }

    async fn update(&self, id: EnvironmentId, firewall: &str, spec: &FirewallSpec) -> Result<(), Error> {
        let (began, which) = (self.0.now(), firewall.to_owned());
        let told = format!(
            "set {firewall} to {} rules for {:?}",
            spec.inbound_rules.len(),
            spec.droplet_ids
        );
        let updated = self.order(told, spec.clone(), move |world, spec| {
            world.cloud.firewall_update(world.now, &mut world.dice, &which, spec)
        });
        match updated.await? {
            Ok(settled) => {
                self.0
                    .firewalls
                    .learn(&self.name(id), Some(shown(firewall, spec, settled)), began);
                Ok(())
            }
            Err(_) => Err(Error::terminal("DigitalOceanNotFound", "there is no such firewall")),
        }
    }

    async fn delete(&self, id: EnvironmentId, firewall: &str) -> Result<(), Error> {
        let (began, which, name) = (self.0.now(), firewall.to_owned(), self.name(id));
        let deleted = self.0.change_cloud(format!("delete {firewall}"), move |world, _| {
            if let Some(wall) = world.cloud.firewalls.get(&which) {
                let name = wall.spec.name.clone();
                world.invariants.touching_firewall(&world.installation, &name);
            }
            world.cloud.firewalls.remove(&which).is_some()
        });
        deleted.await.map_err(|trouble| self.0.trouble(trouble))?;
        self.0.firewalls.learn(&name, None, began);
        Ok(())
    }
}

impl Reconciler for FirewallModel {
    type Key = EnvironmentId;
    type Desired = Arc<EnvironmentRecord>;
    type Observed = Observed;
    type Action = Action;
    type Status = FirewallState;

    const KIND: &'static str = "firewall";

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Arc<EnvironmentRecord>>, Error> {
        self.0.record(*key, read).await
    }

    async fn observe(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, read: Read) -> Result<Observed, Error> {
        match read {
            Read::Cached => Ok(Observed {
                firewall: self.0.firewalls.observed(&self.name(*key)),
                droplet: observe::droplet(Some(desired)).map_or(Observation::Unknown, |droplet| {
                    observe::in_sight(&self.0.fleet, *key, droplet)
                }),
                base: Observation::Present(true),
                base_failure: None,
                short: false,
            }),
            Read::Authoritative => self.observed(*key, desired).await,
        }
    }

    fn decide(&self, desired: &Arc<EnvironmentRecord>, observed: &Observed, now: Timestamp) -> Plan<Action, FirewallState> {
        decide::decide(&self.0.setup.firewalls, desired, observed, now)
    }

    async fn act(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, action: &Action) -> Result<(), Error> {
        let (id, fence) = (*key, self.0.fence(*key)?);
        match action {
            Action::Announce {
                epoch,
                told,
                ports,
                cause: _,
            } => {
                let (epoch, told, ports) = (*epoch, *told, ports.clone());
                let announced = self.0.write(format!("announce ports {ports:?}"), move |world| {
                    world.effect();
                    world.database.firewall_announce(world.now, &fence, id, epoch, told, &ports)
                });
                announced.await
            }
            Action::Settle {
                id: firewall,
                epoch,
                ports,
                cause: _,
            } => {
                let (firewall, epoch, ports) = (firewall.clone(), *epoch, ports.clone());
                let settled = self.0.write(format!("record that ports {ports:?} are open"), move |world| {
                    world.effect();
                    world.database.firewall_settle(world.now, &fence, id, firewall, epoch, &ports)
                });
                settled.await
            }
            Action::Forget { cause: _ } => {
                let forgotten = self.0.write("forget the firewall".to_owned(), move |world| {
                    world.effect();
                    world.database.firewall_forget(world.now, &fence, id)
                });
                forgotten.await
            }
            Action::Cloud(action) => {
                let recorded = desired.firewall.as_ref().and_then(|recorded| recorded.id.clone());
                self.request(id, recorded, action).await
            }
        }
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        _: &Arc<EnvironmentRecord>,
        status: Option<FirewallState>,
        _: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        let Some(FirewallState { state, reason, message }) = status else {
            return Ok(());
        };
        let (id, fence) = (*key, self.0.fence(*key)?);
        let written = self.0.write(format!("record that the firewall is {reason}"), move |world| {
            world
                .database
                .firewall_state_write(world.now, &fence, id, (state, reason, message))
        });
        written.await
    }
}

//! The environment reconciler: its decisions and its outbox, with its effects said to the models.

mod change;

use super::looks;
use crate::{cloud::Refusal, database::Denied, process::Process, wire::Trouble};
use digitalocean::Droplet;
use environment_reconciler::{Action, Observed, StatusWrite, decide, outbox::Sending, status::with_failure};
use jiff::Timestamp;
use model::{DropletId, Environment, EnvironmentId, EnvironmentRecord, IntentOutcome, record::Subject, tags};
use runtime::{Clock, Error, Failure, Plan, Read, Reconciler};
use schema::Fence;
use std::{collections::BTreeSet, sync::Arc};

/// See the module.
pub struct EnvironmentModel(Arc<Process>);

impl EnvironmentModel {
    /// One pass's.
    pub fn new(process: Arc<Process>) -> Self {
        Self(process)
    }

    async fn announce(&self, id: EnvironmentId, record: &EnvironmentRecord) -> Result<(), Error> {
        let row = row(record)?.clone();
        let (fence, began) = (self.0.fence(id)?, self.0.moment());
        let announced = self.0.write("announce a create".to_owned(), move |world| {
            world.effect();
            world.database.intent_announce(world.now, &mut world.dice, &fence, &row)
        });
        self.0.outbox.announced(announced.await?, began);
        Ok(())
    }

    async fn create(&self, id: EnvironmentId, record: &EnvironmentRecord) -> Result<(), Error> {
        let fence = self.0.fence(id)?;
        let row = row(record)?;
        let Some(intent) = self.0.outbox.take(id) else {
            return Err(Error::retriable("NotAnnounced", "no announced create is at hand"));
        };
        let (size, made_for) = (row.spec.size.to_string(), intent.id);
        let answer = self
            .0
            .change_cloud(format!("CREATE a droplet for intent {made_for}"), move |world, arrival| {
                let (name, now) = (tags::droplet_name(id), world.now);
                if world.dice.permille(world.faults.refused) {
                    return Err(Refusal::Capacity);
                }
                world
                    .invariants
                    .creating(now, &world.cloud, &world.agents, (id, made_for), arrival);
                let vanishes = world.dice.permille(world.faults.vanishing);
                let carried = vec![
                    tags::TOOLPLANE.to_owned(),
                    tags::installation(&world.installation),
                    tags::environment(id),
                    tags::intent(made_for),
                ];
                Ok(world.cloud.create(now, &mut world.dice, name, carried, &size, vanishes).id)
            });
        let answer = answer.await;
        let sending = match &answer {
            Ok(_) => Sending::Sent,
            Err(trouble) => sending(*trouble),
        };
        self.0.outbox.ended(intent, sending, self.0.moment());
        match answer {
            Ok(Ok(made)) => self.name(&fence, made_for, DropletId(made)).await,
            Ok(Err(refusal)) => {
                self.resolve(fence, made_for, IntentOutcome::Refused).await?;
                Err(refused(refusal))
            }
            Err(trouble) => Err(self.0.trouble(trouble)),
        }
    }

    async fn name(&self, fence: &Fence, intent: model::IntentId, droplet: DropletId) -> Result<(), Error> {
        let fence = *fence;
        let named = self
            .0
            .write(format!("record droplet {droplet} as the intent's"), move |world| {
                world.database.intent_droplet(world.now, &fence, intent, droplet)
            });
        named.await
    }

    async fn resolve(&self, fence: Fence, intent: model::IntentId, outcome: IntentOutcome) -> Result<(), Error> {
        let resolved = self.0.write(format!("close the intent: {outcome:?}"), move |world| {
            world.database.intent_resolve(world.now, &fence, intent, outcome)
        });
        resolved.await
    }

    async fn delete(&self, id: EnvironmentId, droplet: DropletId) -> Result<(), Error> {
        self.0.fence(id)?;
        let accepted = self.destroy(id, droplet).await?;
        self.0.outbox.deleted(id, droplet, accepted, self.0.moment());
        Ok(())
    }

    /// Whether the delete was accepted; if not, there was no such droplet.
    pub(super) async fn destroy(&self, id: EnvironmentId, droplet: DropletId) -> Result<bool, Error> {
        let Some(seen) = self.get(droplet).await? else {
            return Ok(false);
        };
        let carried = seen.tags.iter().map(String::as_str);
        let owner = tags::owner(carried, &self.0.setup.installation);
        if owner != Some(id) && !self.0.setup.sabotage.tag_check {
            return Err(Error::retriable(
                "TagsMissing",
                "the droplet does not carry our tags any more",
            ));
        }
        let checked: BTreeSet<u64> = if owner == Some(id) {
            BTreeSet::from([droplet.0])
        } else {
            BTreeSet::new()
        };
        let deleted = self.0.change_cloud(format!("DELETE droplet {droplet}"), move |world, _| {
            world
                .invariants
                .deleting(&world.cloud, &world.installation, droplet.0, &checked);
            world.cloud.delete(world.now, &mut world.dice, droplet.0)
        });
        match deleted.await.map_err(|trouble| self.0.trouble(trouble))? {
            Ok(()) => Ok(true),
            Err(Refusal::NotFound) => Ok(false),
            Err(refusal) => Err(refused(refusal)),
        }
    }

    async fn get(&self, droplet: DropletId) -> Result<Option<Droplet>, Error> {
        let got = self.0.read_cloud(format!("get droplet {droplet}"), move |world| {
            world.cloud.get(world.now, droplet.0).ok()
        });
        got.await
    }

    async fn ask_standing(&self, id: EnvironmentId, record: &EnvironmentRecord) -> Result<(), Error> {
        let Some(intent) = &record.intent else { return Ok(()) };
        let known = self.0.outbox.outgoing(id, self.0.moment()).standing;
        if known.is_some_and(|known| known.intent == intent.id && known.unenrolled.is_some()) {
            return Ok(());
        }
        let told = self.0.database("ask how far the intent is".to_owned(), move |world| {
            world.database.intent_standing(world.now, id)
        });
        if let Some(told) = told.await? {
            self.0.outbox.learn(id, told, self.0.moment());
        }
        Ok(())
    }
}

/// The row that a droplet is created for.
fn row(record: &EnvironmentRecord) -> Result<&Environment, Error> {
    match &record.subject {
        Subject::Row(row) => Ok(row),
        Subject::Tombstone(_) => Err(Error::terminal("RowDeleted", "the row is deleted")),
    }
}

/// What a refusal of DigitalOcean means to a pass.
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotFound => Error::retriable("DigitalOceanNotFound", "there is no such thing"),
        Refusal::Pending => Error::retriable("DigitalOceanPendingEvent", "the droplet already has a pending event"),
        Refusal::Capacity => Error::retriable("DigitalOceanTryAgain", "please try again"),
        Refusal::Duplicate | Refusal::State => Error::retriable("DropletChangeRefused", "it is in no state for that"),
    }
}

/// What is surely without effect may be sent again; anything else is looked for.
fn sending(trouble: Trouble) -> Sending {
    match trouble {
        Trouble::Limited => Sending::WithoutEffect,
        Trouble::Lost | Trouble::Unavailable => Sending::Sent,
    }
}

impl Reconciler for EnvironmentModel {
    type Key = EnvironmentId;
    type Desired = Arc<EnvironmentRecord>;
    type Observed = Observed;
    type Action = Action;
    type Status = StatusWrite;

    const KIND: &'static str = "environment";

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Arc<EnvironmentRecord>>, Error> {
        self.0.record(*key, read).await
    }

    async fn observe(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, read: Read) -> Result<Observed, Error> {
        let sighting = match read {
            Read::Cached => self.0.fleet.sighting(*key),
            Read::Authoritative => {
                let sighting = looks::recent(&self.0, *key, desired).await?;
                self.follow_resize(*key).await?;
                self.ask_standing(*key, desired).await?;
                sighting
            }
        };
        Ok(self.observed(*key, sighting))
    }

    fn decide(&self, desired: &Arc<EnvironmentRecord>, observed: &Observed, now: Timestamp) -> Plan<Action, StatusWrite> {
        decide::decide(&self.0.setup.environments, desired, observed, now)
    }

    async fn act(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, action: &Action) -> Result<(), Error> {
        let id = *key;
        match action {
            Action::Look => looks::droplets(&self.0, id, desired).await.map(drop),
            Action::AnnounceIntent { cause: _ } => self.announce(id, desired).await,
            Action::CreateDroplet { cause: _ } => self.create(id, desired).await,
            Action::NameDroplet { intent, droplet } => self.name(&self.0.fence(id)?, *intent, *droplet).await,
            Action::ResolveIntent {
                intent,
                outcome,
                cause: _,
            } => {
                self.0.outbox.resolved(id, *intent);
                self.resolve(self.0.fence(id)?, *intent, *outcome).await
            }
            Action::ReadSizes { cause: _ } => self.read_sizes().await,
            Action::ChangeDroplet {
                droplet,
                change,
                cause: _,
            } => self.change(id, *droplet, change).await,
            Action::DeleteDroplet { droplet, cause: _ } => self.delete(id, *droplet).await,
            Action::RecordDropletGone { droplet: _ } => {
                let fence = self.0.fence(id)?;
                let recorded = self.0.write("record that the droplet is gone".to_owned(), move |world| {
                    world.database.tombstone_droplet_gone(world.now, &fence, id)
                });
                recorded.await
            }
            Action::FinishTombstone => {
                let fence = self.0.fence(id)?;
                let finished = self.0.write("finish the tombstone".to_owned(), move |world| {
                    world.effect();
                    world.database.tombstone_finish(world.now, &fence, id)
                });
                finished.await?;
                self.0.outbox.clear(id);
                self.0.fleet.forget(id);
                Ok(())
            }
        }
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        desired: &Arc<EnvironmentRecord>,
        status: Option<StatusWrite>,
        failure: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        let Subject::Row(row) = &desired.subject else { return Ok(()) };
        let planned = status.and_then(|write| write.status).unwrap_or_else(|| row.status.clone());
        let next = match failure {
            Some(failure) => with_failure(row, planned, failure.error, self.0.now()),
            None => planned,
        };
        if next == row.status {
            return Ok(());
        }
        let (id, generation, fence) = (*key, row.generation, self.0.fence(*key)?);
        let told = format!("write status {:?}, droplet {:?}", next.phase, next.droplet_id);
        let written = self.0.write(told, move |world| {
            match world
                .database
                .environment_status_write(world.now, &fence, id, generation, next)
            {
                Ok(()) | Err(Denied::Stale) => Ok(()),
                Err(denied) => Err(denied),
            }
        });
        written.await
    }
}

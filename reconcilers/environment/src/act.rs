//! Carrying out one action. Owns: the requests, and what is recorded about each. Must not: choose what to do. Promises: each action
//! is safe to repeat; a create is sent at most once for an intent, and its answer is recorded before anything else is done.

mod change;
#[cfg(test)]
mod tests;

use crate::{
    EnvironmentReconciler,
    action::{Action, Cause},
    failure,
    outbox::Sending,
    status::event,
};
use agent_api::Bootstrap;
use digitalocean::{Client, DropletCreate, ImageRef, Priority, Refusal};
use model::{
    DropletId, Environment, EnvironmentId, EnvironmentRecord, Event, EventType, InstallationId, Intent, IntentId, IntentKind,
    IntentOutcome, record::Subject, tags,
};
use runtime::Error;
use schema::Fence;
use secrecy::SecretString;

impl EnvironmentReconciler {
    pub(crate) async fn carry_out(&self, id: EnvironmentId, record: &EnvironmentRecord, action: &Action) -> Result<(), Error> {
        match action {
            Action::Look => self.look(record).await,
            Action::AnnounceIntent { cause } => self.announce(id, record, *cause).await,
            Action::CreateDroplet { cause } => self.create(id, record, *cause).await,
            Action::NameDroplet { intent, droplet } => {
                let named = self.database.intent_droplet(&self.fence(id)?, *intent, *droplet).await;
                named.map_err(|error| Error::from(&error))?;
                let (message, cause) = (
                    format!("droplet {droplet} is intent {intent}'s"),
                    Cause::DropletSeen(*droplet),
                );
                self.record(event(id, EventType::Normal, "DropletFound", message, cause))
                    .await;
                Ok(())
            }
            Action::ResolveIntent { intent, outcome, cause } => {
                self.outbox.resolved(id, *intent);
                let resolved = self.database.intent_resolve(&self.fence(id)?, *intent, *outcome).await;
                resolved.map_err(|error| Error::from(&error))?;
                self.record(resolution(id, *outcome, *cause)).await;
                Ok(())
            }
            Action::ReadSizes { .. } => {
                let began = self.moment();
                let sizes = self.client.size_list().await.map_err(|error| failure::cloud(&error))?;
                self.sizes.learn(&sizes, began);
                Ok(())
            }
            Action::ChangeDroplet { droplet, change, cause } => self.change(id, *droplet, change, *cause).await,
            Action::RecordDropletGone { droplet } => {
                let recorded = self.database.tombstone_droplet_gone(&self.fence(id)?, id).await;
                recorded.map_err(|error| Error::from(&error))?;
                let (message, cause) = (format!("droplet {droplet} is gone"), Cause::DropletGone(*droplet));
                self.record(event(id, EventType::Normal, "DropletGone", message, cause)).await;
                Ok(())
            }
            Action::DeleteDroplet { droplet, cause } => self.delete(id, *droplet, *cause).await,
            Action::FinishTombstone => {
                let finished = self.database.tombstone_finish(&self.fence(id)?, id).await;
                finished.map_err(|error| Error::from(&error))?;
                let message = "nothing of the deleted environment is left";
                self.record(event(id, EventType::Normal, "TombstoneFinished", message, Cause::RowDeleted))
                    .await;
                self.outbox.clear(id);
                self.fleet.forget(id);
                Ok(())
            }
        }
    }

    async fn look(&self, record: &EnvironmentRecord) -> Result<(), Error> {
        let looked = self.looks.droplets(record).await;
        looked.map(drop).map_err(|error| failure::cloud(&error))
    }

    async fn announce(&self, id: EnvironmentId, record: &EnvironmentRecord, cause: Cause) -> Result<(), Error> {
        let row = row(record)?;
        // What is announced can be sent: an intent that has to wait for requests may grow too old for it, and is lost.
        let leave = self
            .client
            .droplet_create_reserve()
            .await
            .map_err(|error| failure::cloud(&error))?;
        // From before it is asked for, so that no pause after the announcement makes it younger than others take it to be.
        let began = self.moment();
        let announced = self
            .database
            .intent_announce(&self.fence(id)?, row, IntentKind::Create, self.config.enrolment_ttl)
            .await;
        let intent = announced.map_err(|error| Error::from(&error))?;
        let message = format!("intent {} of epoch {} is announced", intent.id, intent.epoch);
        self.reserved.put(intent.id, leave);
        self.outbox.announced(intent, began);
        self.record(event(id, EventType::Normal, "CreateAnnounced", message, cause))
            .await;
        Ok(())
    }

    async fn create(&self, id: EnvironmentId, record: &EnvironmentRecord, cause: Cause) -> Result<(), Error> {
        let fence = self.fence(id)?;
        let row = row(record)?;
        let Some(intent) = self.outbox.take(id) else {
            return Err(Error::retriable(
                "NotAnnounced",
                "no announced create is at hand; the next pass looks by tag",
            ));
        };
        let create = match self.droplet_create(row, &intent) {
            Ok(create) => create,
            Err(error) => {
                self.outbox.ended(intent, Sending::WithoutEffect, self.moment());
                return Err(Error::terminal("UserDataRefused", error.to_string()));
            }
        };
        let leave = self.reserved.take(intent.id);
        let answer = self.client.announced(leave).droplet_create(&create).await;
        let (made_for, sending) = (intent.id, answer.as_ref().map_or_else(sending, |_| Sending::Sent));
        self.outbox.ended(intent, sending, self.moment());
        match answer {
            Ok(created) => {
                let droplet = DropletId(created.droplet.id);
                let named = self.database.intent_droplet(&fence, made_for, droplet).await;
                let message = format!("droplet {droplet} is created in {}, size {}", row.spec.region, row.spec.size);
                self.record(event(id, EventType::Normal, "DropletCreated", message, cause))
                    .await;
                named.map_err(|error| Error::from(&error))
            }
            Err(error) => self.create_failed(&fence, made_for, &error).await,
        }
    }

    /// Records that a create was refused; of any other that failed there is nothing to record.
    async fn create_failed(&self, fence: &Fence, intent: IntentId, error: &digitalocean::Error) -> Result<(), Error> {
        if let digitalocean::Error::Refused { refusal, .. } = error {
            let resolved = self.database.intent_resolve(fence, intent, IntentOutcome::Refused).await;
            resolved.map_err(|error| Error::from(&error))?;
            if let Refusal::DropletLimit = refusal {
                // It goes away by itself, but somebody has to do something for that.
                let message = format!("droplet_limit: {error}; destroy droplets, or have DigitalOcean raise the limit");
                return Err(Error::terminal(error.reason(), message));
            }
        }
        Err(failure::cloud(error))
    }

    /// The body of the create: tags that say whose it is, and user data that lets its agent enrol once.
    fn droplet_create(&self, row: &Environment, intent: &Intent) -> Result<DropletCreate, cloud_init::Error> {
        let config = &self.config;
        let user_data = cloud_init::render(&Bootstrap {
            environment_id: row.id,
            intent_id: intent.id,
            backend_url: config.backend_url.clone(),
            backend_ca_pem: config.backend_ca_pem.clone(),
            enrolment_token: self.master_key.enrolment_token(row.id, intent.id),
            agent_url: config.agent_url.clone(),
            agent_sha256: config.agent_sha256.clone(),
        })?;
        Ok(DropletCreate {
            name: tags::droplet_name(row.id),
            region: row.spec.region.to_string(),
            size: row.spec.size.to_string(),
            image: ImageRef::Slug(row.spec.image.to_string()),
            tags: vec![
                tags::TOOLPLANE.to_owned(),
                tags::installation(&config.installation),
                tags::environment(row.id),
                tags::intent(intent.id),
            ],
            user_data: Some(SecretString::from(user_data)),
            vpc_uuid: None,
            ssh_keys: config.ssh_keys.clone(),
            monitoring: false,
            ipv6: false,
        })
    }

    /// Destroys a droplet, if its tags say at this moment still that it is ours: lists may be older than the last word.
    async fn delete(&self, id: EnvironmentId, droplet: DropletId, cause: Cause) -> Result<(), Error> {
        self.fence(id)?;
        let accepted = delete_ours(&self.client, &self.config.installation, id, droplet).await?;
        if accepted {
            let message = format!("the delete of droplet {droplet} was accepted");
            self.record(event(id, EventType::Normal, "DropletDeleted", message, cause))
                .await;
        }
        self.outbox.deleted(id, droplet, accepted, self.moment());
        Ok(())
    }

    /// Proof that this process works on the environment, while it does.
    pub(crate) fn fence(&self, id: EnvironmentId) -> Result<Fence, Error> {
        let fence = self.leases.fence(id.shard());
        fence.ok_or_else(|| Error::retriable("LeaseLost", format!("the lease of shard {} is not held", id.shard())))
    }

    /// Records an event. What it tells of has happened, and is not undone when the telling fails.
    pub(crate) async fn record(&self, event: Event) {
        if let Err(error) = self.database.event_record(&event).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be recorded");
        }
    }
}

/// What a failed create is known to have done: nothing, or nobody knows. One that was refused is over, and is not sent again.
fn sending(error: &digitalocean::Error) -> Sending {
    match error {
        // Not sent, or refused before it was looked at.
        digitalocean::Error::RateLimited { .. }
        | digitalocean::Error::Unauthorized { .. }
        | digitalocean::Error::NotFound { .. }
        | digitalocean::Error::Configuration { .. }
        | digitalocean::Error::Unavailable { .. } => Sending::WithoutEffect,
        // It may have been carried out: the permission is used up, and the droplet is looked for.
        digitalocean::Error::Refused { .. }
        | digitalocean::Error::Decode { .. }
        | digitalocean::Error::Incomplete { .. }
        | digitalocean::Error::Ambiguous { .. } => Sending::Sent,
    }
}

/// Deletes a droplet whose tags say at this moment that it is this environment's. Whether the delete was accepted; if not, there is
/// no such droplet any more.
pub(crate) async fn delete_ours(
    client: &Client,
    installation: &InstallationId,
    id: EnvironmentId,
    droplet: DropletId,
) -> Result<bool, Error> {
    let deleted = match client.reading_for(Priority::Delete).droplet_get(droplet.0).await {
        Ok(seen) => {
            if tags::owner(seen.tags.iter().map(String::as_str), installation) != Some(id) {
                let message = format!("droplet {droplet} does not carry this environment's tags any more, so it is not deleted");
                return Err(Error::retriable("TagsMissing", message));
            }
            client.droplet_delete(droplet.0).await
        }
        Err(error) => Err(error),
    };
    match deleted {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(failure::cloud(&error)),
    }
}

/// The row that a droplet is created for.
fn row(record: &EnvironmentRecord) -> Result<&Environment, Error> {
    match &record.subject {
        Subject::Row(row) => Ok(row),
        Subject::Tombstone(_) => Err(Error::terminal(
            "RowDeleted",
            "the row is deleted: no droplet is created for it",
        )),
    }
}

fn resolution(id: EnvironmentId, outcome: IntentOutcome, cause: Cause) -> Event {
    let (kind, reason, message) = match outcome {
        IntentOutcome::Adopted => (EventType::Normal, "CreateSeen", "the announced droplet is there"),
        IntentOutcome::Refused => (
            EventType::Warning,
            "CreateRefused",
            "DigitalOcean refused the announced droplet",
        ),
        IntentOutcome::Lost => (EventType::Warning, "CreateLost", "the announced droplet never came"),
        IntentOutcome::Abandoned => (
            EventType::Normal,
            "CreateAbandoned",
            "the announced droplet is not wanted any more",
        ),
    };
    event(id, kind, reason, message, cause)
}

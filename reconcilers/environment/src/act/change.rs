//! Carrying out one change of a droplet. Owns: the requests, and what a refusal means. Promises: a change that turns out to be made
//! already is no failure; what was accepted is remembered, and believed only once it is seen.

use crate::{
    EnvironmentReconciler,
    action::{Cause, Change},
    failure,
    status::{RESIZE_REFUSED, event},
};
use digitalocean::{DropletAction, DropletStatus, Refusal, Resource};
use fleet::Mark;
use model::{DropletId, EnvironmentId, EventType, tags};
use runtime::Error;

impl EnvironmentReconciler {
    pub(super) async fn change(&self, id: EnvironmentId, droplet: DropletId, change: &Change, cause: Cause) -> Result<(), Error> {
        self.fence(id)?;
        match change {
            Change::PowerOn => self.order(droplet, &DropletAction::PowerOn).await?,
            Change::Shutdown => self.order(droplet, &DropletAction::Shutdown).await?,
            Change::PowerOff => self.order(droplet, &DropletAction::PowerOff).await?,
            Change::Resize { size } => self.resize(id, droplet, size).await?,
            Change::Rename => {
                let name = tags::droplet_name(id);
                self.order(droplet, &DropletAction::Rename { name }).await?;
            }
            Change::Tag(mark) => {
                let tag = match mark {
                    Mark::Toolplane => tags::TOOLPLANE.to_owned(),
                    Mark::Installation => tags::installation(&self.config.installation),
                    Mark::Environment => tags::environment(id),
                };
                self.tag(droplet, &tag).await?;
            }
            Change::TagIntent(intent) => self.tag(droplet, &tags::intent(*intent)).await?,
            Change::AssignProject => self.assign(droplet).await?,
        }
        self.outbox.changed(id, droplet, change.clone(), self.moment());
        let (reason, told) = change.told();
        let kind = match change {
            Change::PowerOn | Change::PowerOff | Change::Rename | Change::Tag(_) | Change::TagIntent(_) => EventType::Warning,
            Change::Shutdown | Change::Resize { .. } | Change::AssignProject => EventType::Normal,
        };
        let message = match change {
            Change::Resize { size } => format!("droplet {droplet} {told}: {size}"),
            Change::Tag(mark) => format!("droplet {droplet} {told} ({mark:?})"),
            Change::PowerOn
            | Change::Shutdown
            | Change::PowerOff
            | Change::Rename
            | Change::TagIntent(_)
            | Change::AssignProject => format!("droplet {droplet} {told}"),
        };
        self.record(event(id, kind, reason, message, cause)).await;
        Ok(())
    }

    /// Orders what needs no following.
    async fn order(&self, droplet: DropletId, action: &DropletAction) -> Result<(), Error> {
        match self.client.droplet_action(droplet.0, action).await {
            Ok(_) => Ok(()),
            Err(error) if is_invalid(&error) => self.unless_done(droplet, action, &error).await,
            Err(error) => Err(failure::cloud(&error)),
        }
    }

    /// A refused order may have been carried out already: what was read may be old. If it was not, the next pass reads again.
    async fn unless_done(&self, droplet: DropletId, action: &DropletAction, refused: &digitalocean::Error) -> Result<(), Error> {
        let seen = self
            .client
            .droplet_get(droplet.0)
            .await
            .map_err(|error| failure::cloud(&error))?;
        let done = match action {
            DropletAction::PowerOn | DropletAction::Reboot => seen.status == DropletStatus::Active,
            DropletAction::PowerOff | DropletAction::Shutdown => seen.status == DropletStatus::Off,
            DropletAction::Resize { size, .. } => seen.size_slug == *size,
            DropletAction::Rename { name } => seen.name == *name,
        };
        if done {
            return Ok(());
        }
        Err(Error::retriable("DropletChangeRefused", refused.to_string()))
    }

    async fn resize(&self, id: EnvironmentId, droplet: DropletId, size: &str) -> Result<(), Error> {
        let action = DropletAction::Resize {
            size: size.to_owned(),
            disk: false,
        };
        match self.client.droplet_action(droplet.0, &action).await {
            Ok(begun) => {
                self.outbox.resizing(id, droplet, begun.id);
                Ok(())
            }
            Err(error) if is_invalid(&error) => {
                let seen = self
                    .client
                    .droplet_get(droplet.0)
                    .await
                    .map_err(|error| failure::cloud(&error))?;
                // It is refused for another reason than its size when it is not off any more.
                if seen.size_slug == size {
                    return Ok(());
                }
                if seen.status != DropletStatus::Off {
                    return Err(Error::retriable("DropletChangeRefused", error.to_string()));
                }
                Err(Error::terminal(RESIZE_REFUSED, format!("size_slug: {error}")))
            }
            Err(error) => Err(failure::cloud(&error)),
        }
    }

    /// Asks how a resize that this process ordered went. The droplet shows that it went well.
    pub(crate) async fn follow_resize(&self, id: EnvironmentId) -> Result<(), digitalocean::Error> {
        let Some((droplet, action)) = self.outbox.pending_resize(id) else {
            return Ok(());
        };
        match self.client.action_get(action).await?.status {
            digitalocean::ActionStatus::InProgress | digitalocean::ActionStatus::Unknown => {}
            digitalocean::ActionStatus::Completed => self.outbox.resize_ended(id, droplet, true),
            digitalocean::ActionStatus::Errored => self.outbox.resize_ended(id, droplet, false),
        }
        Ok(())
    }

    /// Tags a droplet. Whoever deleted a tag took it off everything: it is made again then.
    async fn tag(&self, droplet: DropletId, tag: &str) -> Result<(), Error> {
        let resources = [Resource::droplet(droplet.0)];
        let tagged = match self.client.tag_resources_add(tag, &resources).await {
            Err(error) if error.is_not_found() => {
                let made = self.client.tag_create(tag).await;
                made.map_err(|error| failure::cloud(&error))?;
                self.client.tag_resources_add(tag, &resources).await
            }
            other => other,
        };
        tagged.map_err(|error| failure::cloud(&error))
    }

    async fn assign(&self, droplet: DropletId) -> Result<(), Error> {
        let Some(project) = self.project.id() else {
            return Err(Error::retriable("ProjectUnknown", "the configured project was not read yet"));
        };
        let urns = [format!("do:droplet:{droplet}")];
        let assigned = self.client.project_resources_assign(&project, &urns).await;
        let outcomes = assigned.map_err(|error| failure::cloud(&error))?;
        if let Some(outcome) = outcomes.iter().find(|outcome| !outcome.is_assigned()) {
            let message = format!("{} was not taken into the project: {}", outcome.urn, outcome.status);
            return Err(Error::retriable("ProjectRefused", message));
        }
        self.project.assigned(droplet);
        Ok(())
    }
}

/// Whether DigitalOcean says that it will not do this, whatever time passes.
fn is_invalid(error: &digitalocean::Error) -> bool {
    match error {
        digitalocean::Error::Refused { refusal, .. } => match refusal {
            Refusal::Invalid { .. } | Refusal::Duplicate => true,
            Refusal::TryAgain | Refusal::PendingEvent | Refusal::DropletLimit => false,
        },
        digitalocean::Error::RateLimited { .. }
        | digitalocean::Error::Unauthorized { .. }
        | digitalocean::Error::NotFound { .. }
        | digitalocean::Error::Configuration { .. }
        | digitalocean::Error::Unavailable { .. }
        | digitalocean::Error::Decode { .. }
        | digitalocean::Error::Incomplete { .. }
        | digitalocean::Error::Ambiguous { .. } => false,
    }
}

//! Carrying out one action. Owns: the requests, and what is remembered of their answers. Must not: choose what to do. Promises: a
//! firewall that somebody else made meanwhile under the same name is found, and not made twice.

use crate::{FirewallReconciler, action::Action, action::CloudAction, failure::cloud, observe::Sources};
use digitalocean::Refusal;
use model::{EnvironmentId, EnvironmentRecord, EventType, Explain};
use runtime::Error;
use schema::{Fence, Written};

impl FirewallReconciler {
    pub(crate) async fn carry_out(
        &self,
        id: EnvironmentId,
        record: Option<&EnvironmentRecord>,
        action: &Action,
    ) -> Result<(), Error> {
        let fence = self.fence(id)?;
        let written = match action {
            Action::Announce { epoch, told, ports, .. } => {
                self.database.firewall_announce(&fence, id, *epoch, *told, ports).await
            }
            Action::Settle {
                id: firewall,
                epoch,
                ports,
                ..
            } => {
                self.database
                    .firewall_settle(&fence, id, firewall.as_deref(), *epoch, ports)
                    .await
            }
            Action::Forget { .. } => self.database.firewall_forget(&fence, id).await.map(|()| Written::Done),
            Action::Cloud(action) => return self.request(id, record, action).await,
        };
        match written.map_err(|error| Error::from(&error))? {
            Written::Done => {
                self.tell(id, action.reason(), action).await;
                Ok(())
            }
            Written::Stale => {
                let message = "what the tools are told, or the record of the firewall, has moved on; it is decided again";
                Err(Error::retriable("FirewallRecordStale", message))
            }
        }
    }

    async fn request(&self, id: EnvironmentId, record: Option<&EnvironmentRecord>, action: &CloudAction) -> Result<(), Error> {
        request(&self.sources, &self.name(id), record, action).await?;
        self.tell(id, action.reason(), action).await;
        Ok(())
    }

    /// Tells of an action that was carried out.
    async fn tell(&self, id: EnvironmentId, reason: Option<&'static str>, action: &impl Explain) {
        let Some(reason) = reason else { return };
        let explained = action.explain();
        self.record(id, EventType::Normal, reason, explained.message, &explained.cause.to_string())
            .await;
    }

    /// Proof that this process works on the environment, while it does.
    pub(crate) fn fence(&self, id: EnvironmentId) -> Result<Fence, Error> {
        let fence = self.leases.fence(id.shard());
        fence.ok_or_else(|| Error::retriable("LeaseLost", format!("the lease of shard {} is not held", id.shard())))
    }
}

/// Sends one request. `record` is that of the environment whose firewall it is.
pub(crate) async fn request(
    sources: &Sources,
    name: &str,
    record: Option<&EnvironmentRecord>,
    action: &CloudAction,
) -> Result<(), Error> {
    let (began, client, firewalls) = (sources.looks.now(), &sources.client, &sources.firewalls);
    match action {
        CloudAction::Look { .. } => sources.look(name, record).await,
        CloudAction::EnsureTag { tag, .. } => client.tag_create(tag).await.map(drop).map_err(|error| cloud(&error)),
        CloudAction::Create { spec, .. } => match client.firewall_create(spec).await {
            Ok(firewall) => {
                firewalls.learn(name, Some(firewall), began);
                Ok(())
            }
            Err(digitalocean::Error::Refused {
                refusal: Refusal::Duplicate,
                ..
            }) => {
                sources.look(name, record).await?;
                let message = format!("firewall {name} is there already; the next pass compares it");
                Err(Error::retriable("FirewallExists", message))
            }
            Err(error) => Err(cloud(&error)),
        },
        CloudAction::Update { id, spec, .. } => {
            let updated = client.firewall_update(id, spec).await.map_err(|error| cloud(&error))?;
            firewalls.learn(name, Some(updated), began);
            Ok(())
        }
        CloudAction::Delete { id, .. } => {
            match client.firewall_delete(id).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(cloud(&error)),
            }
            firewalls.learn(name, None, began);
            Ok(())
        }
    }
}

//! What is swept, at DigitalOcean. Owns: the lists, and the question what one thing looks like. Promises: only what is this
//! installation's is listed; a list whose pages don't add up is told from one that could not be read.

use super::SweepError;
use crate::{
    firewalls::Known,
    ledger::{List, Listed},
    names,
    read::seen,
};
use digitalocean::{Budget, Client, DropletFilter, Error, Priority};
use model::{InstallationId, tags};
use schema::{FleetKind, FleetRow};
use serde_json::Value;
use std::collections::BTreeMap;

/// One kind's lists.
pub(crate) struct Source {
    client: Client,
    installation: InstallationId,
    kind: FleetKind,
}

impl Source {
    pub(crate) fn new(client: &Client, installation: InstallationId, kind: FleetKind) -> Self {
        Self {
            // Everybody waits for a sweep, creates too.
            client: client.reading_for(Priority::Create),
            installation,
            kind,
        }
    }

    pub(crate) fn budget(&self) -> &Budget {
        self.client.budget()
    }

    pub(crate) fn kind(&self) -> FleetKind {
        self.kind
    }

    /// Everything of the installation.
    pub(crate) async fn list(&self) -> Result<List, SweepError> {
        let listed = match self.kind {
            FleetKind::Droplets => self.droplets().await,
            FleetKind::Firewalls => self.firewalls().await,
        };
        match listed {
            Ok(listed) => Ok(List::Whole(listed)),
            Err(SweepError::Cloud(Error::Incomplete { message, .. })) => Ok(List::Truncated(message)),
            Err(error) => Err(error),
        }
    }

    async fn droplets(&self) -> Result<BTreeMap<String, Listed>, SweepError> {
        let filter = DropletFilter::Tag(tags::installation(&self.installation));
        let droplets = self.client.droplet_list(&filter).await?;
        let mut ours = BTreeMap::new();
        for droplet in droplets {
            let tags = droplet.tags.iter().map(String::as_str);
            if let Some(owner) = tags::owner(tags, &self.installation) {
                let seen = serde_json::to_value(seen(&droplet, owner, &self.installation))?;
                let environment = Some(owner);
                ours.insert(droplet.id.to_string(), Listed { environment, seen });
            }
        }
        Ok(ours)
    }

    async fn firewalls(&self) -> Result<BTreeMap<String, Listed>, SweepError> {
        let base = names::base(&self.installation);
        let firewalls = self.client.firewall_list().await?;
        let mut ours = BTreeMap::new();
        for firewall in firewalls {
            let name = firewall.spec.name.clone();
            let environment = names::owner(&self.installation, &name);
            if environment.is_some() || name == base {
                let seen = serde_json::to_value(Known::from(firewall))?;
                ours.insert(name, Listed { environment, seen });
            }
        }
        Ok(ours)
    }

    /// What one thing looks like when it is asked for by id, whatever the lists say; `None` when it is not there.
    pub(crate) async fn look(&self, row: &FleetRow) -> Result<Option<Value>, SweepError> {
        let key = || SweepError::Key(row.key.clone());
        let asked = match self.kind {
            FleetKind::Droplets => {
                let (id, owner) = row.key.parse().ok().zip(row.environment_id).ok_or_else(key)?;
                let droplet = self.client.droplet_get(id).await;
                droplet.map(|droplet| serde_json::to_value(seen(&droplet, owner, &self.installation)))
            }
            FleetKind::Firewalls => {
                let id = row.seen.get("id").and_then(|id| id.as_str()).ok_or_else(key)?;
                let firewall = self.client.firewall_get(id).await;
                firewall.map(|firewall| serde_json::to_value(Known::from(firewall)))
            }
        };
        match asked {
            Ok(seen) => Ok(Some(seen?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

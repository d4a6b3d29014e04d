//! What there is: an environment's firewall, the droplet that it is for, and the base firewall beside it. Owns: what counts as having
//! looked. Must not: decide. Promises: in an authoritative read, "absent" was said by DigitalOcean itself, and so was that a droplet
//! is there which the firewall does not apply to yet.

use crate::{Policy, failure::cloud, rules};
use digitalocean::{Client, Firewall};
use fleet::{
    Firewalls,
    firewalls::{Known, Observed as Seen},
    names,
};
use jiff::Timestamp;
use model::{DropletId, EnvironmentId};
use runtime::{Error, Observation};

/// What decisions see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The firewall.
    pub firewall: Seen,
    /// The droplet that it is for, as far as it had to be asked for: only `Absent` says something.
    pub droplet: Observation<()>,
    /// The base firewall: whether it is as it should be.
    pub base: Observation<bool>,
}

/// From memory.
pub(crate) fn cached(policy: &Policy, firewalls: &Firewalls, id: EnvironmentId) -> Observed {
    Observed {
        firewall: firewalls.observed(&names::environment(&policy.installation, id)),
        droplet: Observation::Unknown,
        base: base(policy, firewalls),
    }
}

/// From DigitalOcean: the firewall by its id where that is known, else among its droplet's, else among all. `recorded` is the id on
/// record.
pub(crate) async fn read(
    client: &Client,
    policy: &Policy,
    firewalls: &Firewalls,
    id: EnvironmentId,
    recorded: Option<&str>,
    droplet: Option<DropletId>,
) -> Result<Observed, Error> {
    let name = names::environment(&policy.installation, id);
    let (firewall, droplet) = one(client, firewalls, &name, recorded, droplet)
        .await
        .map_err(|error| cloud(&error))?;
    Ok(Observed {
        firewall,
        droplet,
        base: base(policy, firewalls),
    })
}

/// Reads one firewall anew, and whether the droplet is there when the firewall does not apply to it.
pub(crate) async fn one(
    client: &Client,
    firewalls: &Firewalls,
    name: &str,
    recorded: Option<&str>,
    droplet: Option<DropletId>,
) -> Result<(Seen, Observation<()>), digitalocean::Error> {
    let began = Timestamp::now();
    let named = |list: Vec<Firewall>| list.into_iter().find(|firewall| firewall.spec.name == name);
    let by_id = by_id(client, firewalls, name, recorded).await?;
    let attached = by_id
        .as_ref()
        .is_some_and(|firewall| droplet.is_some_and(|droplet| firewall.spec.droplet_ids.contains(&droplet.0)));
    let (firewall, there) = match (by_id, droplet) {
        (Some(firewall), None) => (Some(firewall), Observation::Unknown),
        (Some(firewall), Some(_)) if attached => (Some(firewall), Observation::Unknown),
        (found, Some(droplet)) => match client.droplet_firewall_list(droplet.0).await {
            Ok(list) => (found.or_else(|| named(list)), Observation::Present(())),
            Err(error) if error.is_not_found() => (found, Observation::Absent),
            Err(error) => return Err(error),
        },
        (None, None) => (None, Observation::Unknown),
    };
    let firewall = match firewall {
        Some(firewall) => Some(firewall),
        // It may be there and apply to nothing: names are unique, so a second one of this name would be refused anyway.
        None => named(client.firewall_list().await?),
    };
    Ok((firewalls.learn(name, firewall, began), there))
}

async fn by_id(
    client: &Client,
    firewalls: &Firewalls,
    name: &str,
    recorded: Option<&str>,
) -> Result<Option<Firewall>, digitalocean::Error> {
    let remembered = match firewalls.observed(name).firewall {
        Observation::Present(known) => Some(known.id.clone()),
        Observation::Unknown | Observation::Absent => None,
    };
    let Some(id) = remembered.or_else(|| recorded.map(ToOwned::to_owned)) else {
        return Ok(None);
    };
    match client.firewall_get(&id).await {
        // Whoever renamed it took it from us.
        Ok(firewall) => Ok(Some(firewall).filter(|firewall| firewall.spec.name == name)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn base(policy: &Policy, firewalls: &Firewalls) -> Observation<bool> {
    let as_it_should_be = |known: &Known| known.spec == rules::base(&policy.installation, &policy.sources);
    match firewalls.observed(&names::base(&policy.installation)).firewall {
        Observation::Unknown => Observation::Unknown,
        Observation::Absent => Observation::Absent,
        Observation::Present(known) => Observation::Present(as_it_should_be(&known)),
    }
}

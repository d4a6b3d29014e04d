//! Reading and changing firewalls at DigitalOcean. Owns: the requests, and what is remembered of their answers. Must not: choose
//! what to do. Promises: a firewall that somebody else made meanwhile under the same name is found, and not made twice.

use crate::decide::Action;
use digitalocean::{Class, Client, Firewall, Refusal};
use fleet::{Firewalls, firewalls::Observed};
use jiff::Timestamp;
use model::DropletId;
use runtime::{Error, Observation};

/// Reads one firewall anew: by its id where that is known, else among its droplet's, else among all.
pub(crate) async fn read(
    client: &Client,
    firewalls: &Firewalls,
    name: &str,
    droplet: Option<DropletId>,
) -> Result<Observed, Error> {
    let began = Timestamp::now();
    let named = |list: Vec<Firewall>| list.into_iter().find(|firewall| firewall.spec.name == name);
    let found = match (firewalls.observed(name).firewall, droplet) {
        (Observation::Present(known), _) => match client.firewall_get(&known.id).await {
            Ok(firewall) => Ok(Some(firewall)),
            Err(error) if error.is_not_found() => client.firewall_list().await.map(named),
            Err(error) => Err(error),
        },
        (Observation::Absent, Some(droplet)) => match client.droplet_firewall_list(droplet.0).await {
            Ok(list) => Ok(named(list)),
            // The droplet is gone: nothing applies to it.
            Err(error) if error.is_not_found() => client.firewall_list().await.map(named),
            Err(error) => Err(error),
        },
        (Observation::Absent, None) | (Observation::Unknown, _) => client.firewall_list().await.map(named),
    };
    let firewall = found.map_err(|error| failure(&error))?;
    Ok(firewalls.learn(name, firewall, began))
}

/// Carries one action out. Returns the reason and message of the event that tells of it, if it is worth one.
pub(crate) async fn carry_out(
    client: &Client,
    firewalls: &Firewalls,
    name: &str,
    action: &Action,
) -> Result<Option<(&'static str, String)>, Error> {
    let began = Timestamp::now();
    match action {
        Action::EnsureTag { tag } => {
            client.tag_create(tag).await.map_err(|error| failure(&error))?;
            Ok(None)
        }
        Action::Create { spec, closed } => match client.firewall_create(spec).await {
            Ok(firewall) => {
                let message = format!("firewall {name} is created{}", unfit(*closed));
                firewalls.learn(name, Some(firewall), began);
                Ok(Some(("FirewallCreated", message)))
            }
            Err(error) => {
                if let digitalocean::Error::Refused {
                    refusal: Refusal::Duplicate,
                    ..
                } = &error
                {
                    let all = client.firewall_list().await.map_err(|error| failure(&error))?;
                    firewalls.sweep(all, began);
                    let message = format!("firewall {name} is there already; the next pass compares it");
                    return Err(Error::retriable("FirewallExists", message));
                }
                Err(failure(&error))
            }
        },
        Action::Update { id, spec, closed } => {
            let updated = client.firewall_update(id, spec).await.map_err(|error| failure(&error))?;
            firewalls.learn(name, Some(updated), began);
            let rules = spec.inbound_rules.len() + spec.outbound_rules.len();
            let message = format!("firewall {name} is set to {rules} rules{}", unfit(*closed));
            Ok(Some(("FirewallUpdated", message)))
        }
        Action::Delete { id } => {
            match client.firewall_delete(id).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failure(&error)),
            }
            firewalls.learn(name, None, began);
            Ok(Some(("FirewallDeleted", format!("firewall {name} is deleted"))))
        }
    }
}

/// Says which ports a firewall has no room for.
fn unfit(closed: usize) -> String {
    if closed == 0 {
        return String::new();
    }
    format!("; {closed} ports do not fit into its 50 rules and stay closed")
}

/// What an error of DigitalOcean means to a pass.
fn failure(error: &digitalocean::Error) -> Error {
    let reason = error.reason();
    // Without its time: see the environment reconciler's conditions; here the event would be another one with every try.
    let message = match error {
        digitalocean::Error::RateLimited { call, .. } => format!("{call}: the request limit of digitalocean_token is reached"),
        other => other.to_string(),
    };
    // A young droplet may not be known everywhere yet.
    let young = matches!(
        error,
        digitalocean::Error::Refused {
            refusal: Refusal::Invalid {
                field: Some("droplet_ids")
            },
            ..
        }
    );
    match error.class() {
        Class::Retriable { after } => Error::Retriable {
            reason,
            message,
            after,
            source: None,
        },
        Class::Terminal if !young => Error::terminal(reason, message),
        Class::Terminal | Class::Ambiguous => Error::retriable(reason, message),
    }
}

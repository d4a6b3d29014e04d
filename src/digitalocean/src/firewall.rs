//! Firewalls: `/v2/firewalls`. Limits: 10 droplets, 5 tags, 50 rules; tags must exist; names are unique.

mod rule;

pub use rule::{InboundRule, OutboundRule, Peers, Ports, Protocol};

use crate::{
    budget::Priority,
    client::{Client, Request},
    error::Error,
    page::Listed,
    wire::nullable,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a firewall's rules are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirewallStatus {
    /// Not everywhere yet; see the pending changes.
    Waiting,
    /// Everywhere.
    Succeeded,
    /// They could not be applied.
    Failed,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A droplet to which a firewall is being applied, or from which it is being taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PendingChange {
    /// Which.
    pub droplet_id: u64,
    /// Taken rather than applied.
    #[serde(default)]
    pub removing: bool,
    /// `waiting`, ...
    #[serde(default, deserialize_with = "nullable")]
    pub status: String,
}

/// What a firewall should be: the body of a create or an update, which replaces everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallSpec {
    /// Unique in the account.
    pub name: String,
    /// What is let in. Nothing else is.
    #[serde(default, deserialize_with = "nullable")]
    pub inbound_rules: Vec<InboundRule>,
    /// What is let out. Nothing else is.
    #[serde(default, deserialize_with = "nullable")]
    pub outbound_rules: Vec<OutboundRule>,
    /// At most 10.
    #[serde(default, deserialize_with = "nullable")]
    pub droplet_ids: Vec<u64>,
    /// At most 5, all of which exist.
    #[serde(default, deserialize_with = "nullable")]
    pub tags: Vec<String>,
}

/// A firewall as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Names it.
    pub id: String,
    /// Whether it is in force.
    #[serde(default)]
    pub status: FirewallStatus,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// Where it is not in force yet; empty once it is.
    #[serde(default, deserialize_with = "nullable")]
    pub pending_changes: Vec<PendingChange>,
    /// What it is.
    #[serde(flatten)]
    pub spec: FirewallSpec,
}

/// Rules to add to or remove from a firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRules {
    /// What is let in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound_rules: Vec<InboundRule>,
    /// What is let out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outbound_rules: Vec<OutboundRule>,
}

impl Listed for Firewall {
    const KEY: &'static str = "firewalls";
    type Id = String;

    fn id(&self) -> String {
        self.id.clone()
    }
}

#[derive(Deserialize)]
struct Answer {
    firewall: Firewall,
}

#[derive(Serialize)]
struct DropletIds<'a> {
    droplet_ids: &'a [u64],
}

#[derive(Serialize)]
struct Tags<'a> {
    tags: &'a [String],
}

const ONE: &str = "/v2/firewalls/{id}";
const DROPLETS: &str = "/v2/firewalls/{id}/droplets";
const TAGS: &str = "/v2/firewalls/{id}/tags";
const RULES: &str = "/v2/firewalls/{id}/rules";

impl Client {
    /// `POST /v2/firewalls`. A second one of the same name is refused as `Duplicate`.
    pub async fn firewall_create(&self, spec: &FirewallSpec) -> Result<Firewall, Error> {
        let request = Request::new("firewall_create", "POST", "/v2/firewalls", "/v2/firewalls", Priority::Create).body(spec)?;
        Ok(self.fetch::<Answer>(request).await?.firewall)
    }

    /// `GET /v2/firewalls/{id}`.
    pub async fn firewall_get(&self, id: &str) -> Result<Firewall, Error> {
        let request = Request::get("firewall_get", ONE, format!("/v2/firewalls/{id}"));
        Ok(self.fetch::<Answer>(request).await?.firewall)
    }

    /// `GET /v2/firewalls`, all pages.
    pub async fn firewall_list(&self) -> Result<Vec<Firewall>, Error> {
        self.list(|| Request::get("firewall_list", "/v2/firewalls", "/v2/firewalls"))
            .await
    }

    /// `PUT /v2/firewalls/{id}`: replaces everything.
    pub async fn firewall_update(&self, id: &str, spec: &FirewallSpec) -> Result<Firewall, Error> {
        let request = Request::new("firewall_update", "PUT", ONE, format!("/v2/firewalls/{id}"), Priority::Change).body(spec)?;
        Ok(self.fetch::<Answer>(request).await?.firewall)
    }

    /// `DELETE /v2/firewalls/{id}`.
    pub async fn firewall_delete(&self, id: &str) -> Result<(), Error> {
        self.submit(Request::new(
            "firewall_delete",
            "DELETE",
            ONE,
            format!("/v2/firewalls/{id}"),
            Priority::Delete,
        ))
        .await
    }

    /// `POST /v2/firewalls/{id}/droplets`.
    pub async fn firewall_droplets_add(&self, id: &str, droplet_ids: &[u64]) -> Result<(), Error> {
        self.firewall_part("firewall_droplets_add", "POST", DROPLETS, id, &DropletIds { droplet_ids })
            .await
    }

    /// `DELETE /v2/firewalls/{id}/droplets`.
    pub async fn firewall_droplets_remove(&self, id: &str, droplet_ids: &[u64]) -> Result<(), Error> {
        self.firewall_part(
            "firewall_droplets_remove",
            "DELETE",
            DROPLETS,
            id,
            &DropletIds { droplet_ids },
        )
        .await
    }

    /// `POST /v2/firewalls/{id}/tags`.
    pub async fn firewall_tags_add(&self, id: &str, tags: &[String]) -> Result<(), Error> {
        self.firewall_part("firewall_tags_add", "POST", TAGS, id, &Tags { tags })
            .await
    }

    /// `DELETE /v2/firewalls/{id}/tags`.
    pub async fn firewall_tags_remove(&self, id: &str, tags: &[String]) -> Result<(), Error> {
        self.firewall_part("firewall_tags_remove", "DELETE", TAGS, id, &Tags { tags })
            .await
    }

    /// `POST /v2/firewalls/{id}/rules`.
    pub async fn firewall_rules_add(&self, id: &str, rules: &FirewallRules) -> Result<(), Error> {
        self.firewall_part("firewall_rules_add", "POST", RULES, id, rules).await
    }

    /// `DELETE /v2/firewalls/{id}/rules`.
    pub async fn firewall_rules_remove(&self, id: &str, rules: &FirewallRules) -> Result<(), Error> {
        self.firewall_part("firewall_rules_remove", "DELETE", RULES, id, rules).await
    }

    async fn firewall_part(
        &self,
        name: &'static str,
        method: &'static str,
        endpoint: &'static str,
        id: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<(), Error> {
        let path = endpoint.replace("{id}", id);
        self.submit(Request::new(name, method, endpoint, path, Priority::Change).body(body)?)
            .await
    }
}

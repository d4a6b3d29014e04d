//! Droplets: `/v2/droplets`.

use crate::{
    budget::{Permit, Priority},
    catalog::{Image, ImageRef, Region},
    client::{Client, Request},
    error::{Call, Error},
    firewall::Firewall,
    page::Listed,
    wire::nullable,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use std::net::Ipv4Addr;

/// Where a droplet stands.
///
/// ```text
/// new -> active <-> off
///          +------> archive
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropletStatus {
    /// Being made.
    New,
    /// Powered on.
    Active,
    /// Powered off; billed all the same.
    Off,
    /// Archived.
    Archive,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Who can reach an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// The internet.
    Public,
    /// The droplet's VPC.
    Private,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// An IPv4 address of a droplet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkV4 {
    /// The address.
    pub ip_address: Ipv4Addr,
    /// Who can reach it.
    #[serde(rename = "type", default)]
    pub kind: NetworkKind,
}

/// A droplet's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// IPv4. Empty for a while after a create, sometimes also once the droplet is active.
    #[serde(default, deserialize_with = "nullable")]
    pub v4: Vec<NetworkV4>,
}

/// A droplet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Droplet {
    /// Names it. Never used twice.
    pub id: u64,
    /// The hostname; not unique.
    pub name: String,
    /// Where it stands.
    #[serde(default)]
    pub status: DropletStatus,
    /// Busy with an event; refuses others.
    #[serde(default, deserialize_with = "nullable")]
    pub locked: bool,
    /// Memory in MiB.
    #[serde(default, deserialize_with = "nullable")]
    pub memory: u64,
    /// Virtual processors.
    #[serde(default, deserialize_with = "nullable")]
    pub vcpus: u32,
    /// Disk in GiB.
    #[serde(default, deserialize_with = "nullable")]
    pub disk: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it was made from.
    pub image: Image,
    /// Its size's slug.
    pub size_slug: String,
    /// Its addresses.
    #[serde(default, deserialize_with = "nullable")]
    pub networks: Networks,
    /// Where it is.
    pub region: Region,
    /// Its tags.
    #[serde(default, deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// Its VPC.
    #[serde(default)]
    pub vpc_uuid: Option<String>,
}

impl Droplet {
    /// The first public IPv4 address, when it has one already.
    pub fn public_ipv4(&self) -> Option<Ipv4Addr> {
        let mut public = self.networks.v4.iter().filter(|network| network.kind == NetworkKind::Public);
        public.next().map(|network| network.ip_address)
    }

    /// Whether it carries a tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|carried| carried == tag)
    }
}

/// The body of `POST /v2/droplets`.
#[derive(Clone, Debug, Serialize)]
pub struct DropletCreate {
    /// Hostname characters only, at most 255.
    pub name: String,
    /// A region's slug.
    pub region: String,
    /// A size's slug.
    pub size: String,
    /// What to boot.
    pub image: ImageRef,
    /// Made on the fly when they are not there yet.
    pub tags: Vec<String>,
    /// At most 64 KiB; cannot be changed later. Secret, because it carries an enrolment token.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub user_data: Option<SecretString>,
    /// The region's default VPC when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_uuid: Option<String>,
    /// Ids or fingerprints of the account's keys. Without any, DigitalOcean mails a root password.
    pub ssh_keys: Vec<String>,
    /// Whether to install DigitalOcean's metrics agent.
    pub monitoring: bool,
    /// Whether to give it an IPv6 address.
    pub ipv6: bool,
}

#[expect(clippy::ref_option, reason = "the signature that serde wants")]
fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

/// What a create was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropletCreated {
    /// The droplet, `new` and without an address. Believed only once it is seen again.
    pub droplet: Droplet,
    /// The create action, to be asked for with [`Client::action_get`] when the droplet cannot be found.
    pub action: Option<u64>,
}

/// Which droplets to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropletFilter {
    /// Every droplet of the account.
    All,
    /// Those with this tag.
    Tag(String),
}

impl Listed for Droplet {
    const KEY: &'static str = "droplets";
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }
}

impl Client {
    /// Waits for leave to send one [`droplet_create`](Self::droplet_create), for whoever [announces](Self::announced) it first.
    pub async fn droplet_create_reserve(&self) -> Result<Permit, Error> {
        let call = Call {
            method: "POST",
            endpoint: "/v2/droplets",
        };
        self.leave(call, Priority::Create, false).await
    }

    /// `POST /v2/droplets`. There is no idempotency key: after [`Error::Ambiguous`] look by tag, and do not send it again.
    pub async fn droplet_create(&self, create: &DropletCreate) -> Result<DropletCreated, Error> {
        #[derive(Deserialize)]
        struct Answer {
            droplet: Droplet,
            #[serde(default, deserialize_with = "nullable")]
            links: Links,
        }
        #[derive(Default, Deserialize)]
        struct Links {
            #[serde(default, deserialize_with = "nullable")]
            actions: Vec<Link>,
        }
        #[derive(Deserialize)]
        struct Link {
            id: u64,
            rel: String,
        }
        let request = Request::new("droplet_create", "POST", "/v2/droplets", "/v2/droplets", Priority::Create).body(create)?;
        let answer: Answer = self.fetch(request).await?;
        let action = answer.links.actions.iter().find(|link| link.rel == "create");
        Ok(DropletCreated {
            action: action.map(|link| link.id),
            droplet: answer.droplet,
        })
    }

    /// `GET /v2/droplets/{id}`. Not found just after a create may be lag.
    pub async fn droplet_get(&self, id: u64) -> Result<Droplet, Error> {
        #[derive(Deserialize)]
        struct Answer {
            droplet: Droplet,
        }
        let request = Request::get("droplet_get", "/v2/droplets/{id}", format!("/v2/droplets/{id}"));
        let answer: Answer = self.fetch(request).await?;
        Ok(answer.droplet)
    }

    /// `GET /v2/droplets`, all pages. Lists lag: a droplet may be missing for a while after its create, and linger after its
    /// delete.
    pub async fn droplet_list(&self, filter: &DropletFilter) -> Result<Vec<Droplet>, Error> {
        self.list(|| {
            let request = Request::get("droplet_list", "/v2/droplets", "/v2/droplets");
            match filter {
                DropletFilter::All => request,
                DropletFilter::Tag(tag) => request.query("tag_name", tag.as_str()),
            }
        })
        .await
    }

    /// `DELETE /v2/droplets/{id}`. Its success means that the delete was taken, not that the droplet is gone.
    pub async fn droplet_delete(&self, id: u64) -> Result<(), Error> {
        let path = format!("/v2/droplets/{id}");
        self.submit(Request::new(
            "droplet_delete",
            "DELETE",
            "/v2/droplets/{id}",
            path,
            Priority::Delete,
        ))
        .await
    }

    /// `GET /v2/droplets/{id}/firewalls`, all pages: those that apply to it, by id or by tag.
    pub async fn droplet_firewall_list(&self, id: u64) -> Result<Vec<Firewall>, Error> {
        self.list(|| {
            Request::get(
                "droplet_firewall_list",
                "/v2/droplets/{id}/firewalls",
                format!("/v2/droplets/{id}/firewalls"),
            )
        })
        .await
    }
}

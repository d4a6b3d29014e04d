//! What droplets can be made of: `/v2/sizes`, `/v2/images`, `/v2/regions`.

use crate::{
    client::{Client, Request},
    error::Error,
    page::Listed,
    wire::nullable,
};
use serde::{Deserialize, Serialize};

/// A size of droplet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// `s-1vcpu-1gb`.
    pub slug: String,
    /// Memory in MiB.
    pub memory: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// Disk in GiB.
    pub disk: u64,
    /// US dollars.
    pub price_monthly: f64,
    /// US dollars.
    pub price_hourly: f64,
    /// The slugs of the regions that offer it now.
    #[serde(default, deserialize_with = "nullable")]
    pub regions: Vec<String>,
    /// Whether it is offered at all.
    #[serde(default)]
    pub available: bool,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// `fra1`.
    pub slug: String,
    /// `Frankfurt 1`.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Whether new droplets are taken.
    #[serde(default)]
    pub available: bool,
    /// The slugs of the sizes that it offers.
    #[serde(default, deserialize_with = "nullable")]
    pub sizes: Vec<String>,
    /// `metadata`, `ipv6`, ...
    #[serde(default, deserialize_with = "nullable")]
    pub features: Vec<String>,
}

/// An image to boot from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Names it.
    pub id: u64,
    /// `ubuntu-24-04-x64`; none for snapshots and custom images.
    #[serde(default)]
    pub slug: Option<String>,
    /// `24.04 (LTS) x64`.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// `Ubuntu`.
    #[serde(default, deserialize_with = "nullable")]
    pub distribution: String,
    /// The slugs of the regions that have it.
    #[serde(default, deserialize_with = "nullable")]
    pub regions: Vec<String>,
    /// The smallest disk that it fits on, in GiB.
    #[serde(default)]
    pub min_disk_size: Option<u64>,
    /// `available`, `pending`, ...
    #[serde(default, deserialize_with = "nullable")]
    pub status: String,
}

/// Names an image in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageRef {
    /// By its id.
    Id(u64),
    /// By its slug.
    Slug(String),
}

/// Which images to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFilter {
    /// Plain operating systems.
    Distribution,
    /// One-click applications.
    Application,
    /// The account's own.
    Private,
}

impl Listed for Size {
    const KEY: &'static str = "sizes";
    type Id = String;

    fn id(&self) -> String {
        self.slug.clone()
    }
}

impl Listed for Region {
    const KEY: &'static str = "regions";
    type Id = String;

    fn id(&self) -> String {
        self.slug.clone()
    }
}

impl Listed for Image {
    const KEY: &'static str = "images";
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }
}

impl Client {
    /// `GET /v2/sizes`, all pages.
    pub async fn size_list(&self) -> Result<Vec<Size>, Error> {
        self.list(|| Request::get("size_list", "/v2/sizes", "/v2/sizes")).await
    }

    /// `GET /v2/regions`, all pages.
    pub async fn region_list(&self) -> Result<Vec<Region>, Error> {
        self.list(|| Request::get("region_list", "/v2/regions", "/v2/regions")).await
    }

    /// `GET /v2/images`, all pages.
    pub async fn image_list(&self, filter: ImageFilter) -> Result<Vec<Image>, Error> {
        self.list(|| {
            let request = Request::get("image_list", "/v2/images", "/v2/images");
            match filter {
                ImageFilter::Distribution => request.query("type", "distribution"),
                ImageFilter::Application => request.query("type", "application"),
                ImageFilter::Private => request.query("private", "true"),
            }
        })
        .await
    }
}

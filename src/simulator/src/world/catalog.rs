//! Sizes, regions, images and the regions' default VPCs. A small, plausible selection: prices and numbers are illustrative.

use crate::problem::Problem;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// A size.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Size {
    pub(crate) slug: String,
    pub(crate) memory: u64,
    pub(crate) vcpus: u32,
    pub(crate) disk: u64,
    pub(crate) transfer: f64,
    pub(crate) price_monthly: f64,
    pub(crate) price_hourly: f64,
    pub(crate) regions: Vec<String>,
    pub(crate) available: bool,
    pub(crate) description: String,
    pub(crate) disk_info: Value,
}

/// A region.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) features: Vec<String>,
    pub(crate) available: bool,
    pub(crate) sizes: Vec<String>,
}

/// An image.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Image {
    pub(crate) id: u64,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) distribution: String,
    pub(crate) slug: Option<String>,
    pub(crate) public: bool,
    pub(crate) regions: Vec<String>,
    pub(crate) created_at: String,
    pub(crate) min_disk_size: u64,
    pub(crate) size_gigabytes: f64,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) status: String,
    pub(crate) error_message: String,
    #[serde(skip)]
    pub(crate) application: bool,
}

/// A VPC.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Vpc {
    pub(crate) id: Uuid,
    pub(crate) urn: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) region: String,
    pub(crate) ip_range: String,
    pub(crate) created_at: String,
    pub(crate) default: bool,
}

/// What droplets can be made of.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) sizes: Vec<Size>,
    pub(crate) regions: Vec<Region>,
    pub(crate) images: Vec<Arc<Image>>,
    pub(crate) vpcs: Vec<Vpc>,
}

/// Slug, memory in MiB, processors, disk in GiB, dollars a month.
const SIZES: [(&str, u64, u32, u64, f64); 7] = [
    ("s-1vcpu-512mb-10gb", 512, 1, 10, 4.0),
    ("s-1vcpu-1gb", 1_024, 1, 25, 6.0),
    ("s-1vcpu-2gb", 2_048, 1, 50, 12.0),
    ("s-2vcpu-2gb", 2_048, 2, 60, 18.0),
    ("s-2vcpu-4gb", 4_096, 2, 80, 24.0),
    ("s-4vcpu-8gb", 8_192, 4, 160, 48.0),
    ("s-8vcpu-16gb", 16_384, 8, 320, 96.0),
];

/// Slug, name, whether droplets are taken.
const REGIONS: [(&str, &str, bool); 12] = [
    ("nyc1", "New York 1", true),
    ("nyc2", "New York 2", false),
    ("nyc3", "New York 3", true),
    ("ams3", "Amsterdam 3", true),
    ("sfo2", "San Francisco 2", true),
    ("sfo3", "San Francisco 3", true),
    ("sgp1", "Singapore 1", true),
    ("lon1", "London 1", true),
    ("fra1", "Frankfurt 1", true),
    ("tor1", "Toronto 1", true),
    ("blr1", "Bangalore 1", true),
    ("syd1", "Sydney 1", true),
];

/// Id, distribution, name, slug, whether it is an application.
const IMAGES: [(u64, &str, &str, &str, bool); 5] = [
    (112_929_454, "Ubuntu", "22.04 (LTS) x64", "ubuntu-22-04-x64", false),
    (155_133_621, "Ubuntu", "24.04 (LTS) x64", "ubuntu-24-04-x64", false),
    (133_511_530, "Debian", "12 x64", "debian-12-x64", false),
    (142_564_471, "Rocky Linux", "9 x64", "rockylinux-9-x64", false),
    (
        157_588_013,
        "Ubuntu",
        "WordPress 6.6 on Ubuntu 24.04",
        "wordpress-24-04",
        true,
    ),
];

/// The smallest size is not offered everywhere, as on the real thing.
const SMALLEST_ONLY_IN: [&str; 6] = ["nyc1", "nyc3", "ams3", "fra1", "lon1", "sgp1"];

impl Catalog {
    pub(crate) fn new() -> Self {
        let open: Vec<&str> = REGIONS.iter().filter(|region| region.2).map(|region| region.0).collect();
        let sizes: Vec<Size> = SIZES.iter().map(|size| size_of(*size, &open)).collect();
        let regions = REGIONS.iter().map(|region| region_of(*region, &sizes)).collect();
        let images = IMAGES.iter().map(|image| Arc::new(image_of(*image))).collect();
        let vpcs = open.iter().zip(0_u8..).map(|(slug, number)| vpc_of(slug, number)).collect();
        Self {
            sizes,
            regions,
            images,
            vpcs,
        }
    }

    pub(crate) fn size(&self, slug: &str) -> Option<&Size> {
        self.sizes.iter().find(|size| size.slug == slug)
    }

    pub(crate) fn region(&self, slug: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.slug == slug)
    }

    /// By id or slug, as requests name images.
    pub(crate) fn image(&self, named: &Value) -> Option<&Arc<Image>> {
        self.images.iter().find(|image| match named {
            Value::String(text) => image.slug.as_ref() == Some(text) || image.id.to_string() == *text,
            Value::Number(id) => id.as_u64() == Some(image.id),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        })
    }

    /// The VPC that was asked for, or the region's default one.
    pub(crate) fn vpc(&self, region: &str, wanted: Option<&str>) -> Result<Uuid, Problem> {
        let found = self.vpcs.iter().find(|vpc| match wanted {
            Some(id) => vpc.region == region && vpc.id.to_string() == id,
            None => vpc.region == region,
        });
        found
            .map(|vpc| vpc.id)
            .ok_or_else(|| Problem::unprocessable("The VPC could not be found in this region."))
    }
}

fn size_of((slug, memory, vcpus, disk, price): (&str, u64, u32, u64, f64), open: &[&str]) -> Size {
    let offered = |region: &&&str| memory > 512 || SMALLEST_ONLY_IN.contains(region);
    Size {
        slug: slug.to_owned(),
        memory,
        vcpus,
        disk,
        transfer: f64::from(vcpus),
        price_monthly: price,
        price_hourly: (price / 672.0 * 100_000.0).round() / 100_000.0,
        regions: open.iter().filter(offered).map(|region| (*region).to_owned()).collect(),
        available: true,
        description: "Basic".to_owned(),
        disk_info: json!([{"type": "local", "size": {"amount": disk, "unit": "gib"}}]),
    }
}

fn region_of((slug, name, available): (&str, &str, bool), sizes: &[Size]) -> Region {
    let features = ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"];
    let offered = sizes.iter().filter(|size| size.regions.iter().any(|region| region == slug));
    Region {
        name: name.to_owned(),
        slug: slug.to_owned(),
        features: features.map(str::to_owned).to_vec(),
        available,
        sizes: offered.map(|size| size.slug.clone()).collect(),
    }
}

fn image_of((id, distribution, name, slug, application): (u64, &str, &str, &str, bool)) -> Image {
    Image {
        id,
        name: name.to_owned(),
        kind: "base".to_owned(),
        distribution: distribution.to_owned(),
        slug: Some(slug.to_owned()),
        public: true,
        regions: REGIONS.iter().map(|region| region.0.to_owned()).collect(),
        created_at: "2024-05-15T05:47:50Z".to_owned(),
        min_disk_size: 7,
        size_gigabytes: 2.36,
        description: format!("{distribution} {name}"),
        tags: Vec::new(),
        status: "available".to_owned(),
        error_message: String::new(),
        application,
    }
}

fn vpc_of(region: &str, number: u8) -> Vpc {
    let id = Uuid::new_v4();
    Vpc {
        id,
        urn: format!("do:vpc:{id}"),
        name: format!("default-{region}"),
        description: String::new(),
        region: region.to_owned(),
        ip_range: format!("10.{}.0.0/20", 100 + number),
        created_at: "2024-01-01T00:00:00Z".to_owned(),
        default: true,
    }
}

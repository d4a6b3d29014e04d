//! What a life begins with: a database with a catalog, an account at a simulated DigitalOcean, and what is written into both.

use digitalocean::{Budget, BudgetConfig, DropletCreate, ImageRef};
use model::{CatalogEntry, CatalogId, EnvironmentId, EnvironmentSpec, InstanceSpec, UserId};
use schema::{ConnectOptions, Database, Role};
use simulator::Simulator;
use std::{
    num::NonZeroU32,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};
use url::Url;
use uuid::Uuid;

/// DigitalOcean's token.
const TOKEN: &str = "token-of-the-simulated-account";
/// Who has the tool.
const USER: UserId = UserId(Uuid::from_u128(0xa11ce));
/// What everyone's tool is.
const CATALOG: CatalogId = CatalogId(Uuid::from_u128(0xca7));

/// Droplets of different lives run on different addresses, which follow from their ids.
static NEXT_DROPLET: AtomicU64 = AtomicU64::new(0);

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn prepare(url: String) -> Result<(), Failure> {
    let owner = Database::connect(&ConnectOptions::new(url.clone().into(), None)).await?;
    owner.migrate().await?;
    owner.close().await;
    let service = Database::connect(&ConnectOptions::new(url.into(), Some(Role::Service))).await?;
    service.user_ensure(USER).await?;
    let entry: CatalogEntry = serde_json::from_value(serde_json::json!({
        "id": CATALOG, "tool_name": "Echo", "description": null, "packaging_type": "docker_image", "package_identifier": "acme/echo",
        "version_info": {"available_versions": ["1", "2"], "default_version": "1"},
        "default_config_template": {"container_port": 8080}, "required_secrets_schema": [], "resource_requirements": {},
        "status": "available"
    }))?;
    service.apply_catalog_entry(&entry).await?;
    service.close().await;
    Ok(())
}

pub(crate) async fn simulator(folder: &Path) -> Result<simulator::Handle, simulator::Error> {
    let mut config = simulator::Config::new(TOKEN.into(), folder);
    config.first_droplet_id =
        Some(700_000_000 + u64::from(std::process::id()) * 40_000 % 200_000_000 + NEXT_DROPLET.fetch_add(100, Ordering::Relaxed));
    let settings = &mut config.settings;
    settings.boot_agents = false;
    settings.boot_ms = 60;
    settings.action_ms = 40;
    settings.delete_ms = 300;
    settings.firewall_ms = 40;
    settings.requests_per_minute = 1_000_000;
    settings.requests_per_hour = 1_000_000;
    Simulator::start(config).await
}

pub(crate) fn cloud(url: &Url) -> digitalocean::Config {
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    digitalocean::Config {
        budget: Budget::new(BudgetConfig {
            per_minute: plenty,
            per_hour: plenty,
            ..BudgetConfig::default()
        }),
        ..digitalocean::Config::new(url.clone(), TOKEN.into())
    }
}

pub(crate) fn droplet(name: &str, tags: Vec<String>) -> DropletCreate {
    DropletCreate {
        name: name.to_owned(),
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-22-04-x64".to_owned()),
        tags,
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    }
}

pub(crate) fn environment() -> EnvironmentSpec {
    serde_json::from_value(serde_json::json!({
        "user_id": USER, "region_slug": "nyc3", "size_slug": "s-1vcpu-1gb", "image_slug": "ubuntu-22-04-x64",
        "desired_state": "active", "paused": false
    }))
    .unwrap()
}

pub(crate) fn tool(environment: EnvironmentId) -> InstanceSpec {
    serde_json::from_value(serde_json::json!({
        "account_tool_environment_id": environment, "tool_catalog_id": CATALOG, "instance_name": "echo", "version_to_run": "1",
        "config_values_override": {}, "desired_state": "running", "paused": false
    }))
    .unwrap()
}

//! A simulator for one test, and the ways to talk to it.

use digitalocean::{Budget, BudgetConfig, Client, Droplet, DropletCreate, ImageRef};
use secrecy::SecretString;
use serde_json::{Value, json};
use simulator::{Config, Handle, Settings, Simulator};
use std::{num::NonZeroU32, time::Duration};
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "dop_v1_test";

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bed {
    pub(crate) simulator: Handle,
    pub(crate) client: Client,
    http: reqwest::Client,
    pub(crate) folder: TempDir,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Bed {
    /// A quick simulator.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        // Another test may have installed it already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(SecretString::from(TOKEN), folder.path().join("state"));
        "tcp://127.0.0.1:1".clone_into(&mut config.docker_host);
        config.settings = Settings {
            boot_ms: 20,
            action_ms: 20,
            delete_ms: 20,
            firewall_ms: 20,
            agent_restart_ms: 50,
            ..Settings::default()
        };
        change(&mut config);
        let simulator = Simulator::start(config).await.unwrap();
        let mut config = digitalocean::Config::new(simulator.base_url().clone(), SecretString::from(TOKEN));
        // The tests are about the simulator's limits, not about the client's.
        let plenty = NonZeroU32::new(1_000_000).unwrap();
        config.budget = Budget::new(BudgetConfig {
            per_minute: plenty,
            per_hour: plenty,
            patience: PATIENCE,
            ..BudgetConfig::default()
        });
        Self {
            client: Client::new(config).unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            simulator,
            folder,
        }
    }

    /// A request as an unknown client sends it.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_as(TOKEN, method, path, body).await.unwrap()
    }

    pub(crate) async fn ask_as(&self, token: &str, method: &str, path: &str, body: Value) -> reqwest::Result<Answer> {
        let url = self.simulator.base_url().join(path).unwrap();
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, Value::Null).await.body
    }

    /// A droplet, once it is active.
    pub(crate) async fn active(&self, create: &DropletCreate) -> Droplet {
        let id = self.client.droplet_create(create).await.unwrap().droplet.id;
        self.until("active", async || {
            let droplet = self.client.droplet_get(id).await.unwrap();
            (droplet.status == digitalocean::DropletStatus::Active).then_some(droplet)
        })
        .await
    }

    /// Looks again and again until there is something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("never came: {what}"))
    }
}

/// A plain droplet.
pub(crate) fn plain(name: &str, tags: &[&str]) -> DropletCreate {
    DropletCreate {
        name: name.to_owned(),
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-24-04-x64".to_owned()),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    }
}

/// The same as a body.
pub(crate) fn plain_body(name: &str) -> Value {
    json!({"name": name, "region": "fra1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"})
}

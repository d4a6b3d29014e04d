//! The Docker engine that the droplets share, as far as a power cut needs it: killing what runs on one of them.
//!
//! This is not how tools are run; that is the agent's. A power cut stops containers without asking the agent.

use super::console::Console;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// The label that agents put on the containers of their droplet.
const LABEL: &str = "io.toolplane.droplet";

#[derive(Debug)]
pub(super) struct Engine {
    /// `None` when the engine is not behind a socket on this machine.
    client: Option<reqwest::Client>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "Id")]
    id: String,
}

impl Engine {
    pub(super) fn new(docker_host: &str) -> Self {
        let client = docker_host.strip_prefix("unix://").and_then(|path| {
            let builder = reqwest::Client::builder().unix_socket(path).timeout(Duration::from_secs(20));
            builder.build().ok()
        });
        Self { client }
    }

    /// Kills what runs of a droplet. The containers stay, as exited.
    pub(super) async fn kill_containers(&self, droplet: u64, console: &Console) {
        match self.try_kill(droplet).await {
            Ok(0) => {}
            Ok(count) => console.line(&format!("{count} containers lost their power")),
            Err(error) => console.line(&format!("the engine could not be told of the power cut: {error}")),
        }
    }

    async fn try_kill(&self, droplet: u64) -> Result<usize, reqwest::Error> {
        let Some(client) = &self.client else { return Ok(0) };
        let filters = json!({"label": [format!("{LABEL}={droplet}")]}).to_string();
        let listed = client.get("http://docker/containers/json").query(&[("filters", filters)]);
        let running: Vec<Container> = listed.send().await?.error_for_status()?.json().await?;
        for container in &running {
            // One that has ended meanwhile answers 409, and that is as well.
            let url = format!("http://docker/containers/{}/kill", container.id);
            client.post(url).send().await?;
        }
        Ok(running.len())
    }
}

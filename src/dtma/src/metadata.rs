//! The droplet's metadata service: which droplet this is.

use crate::config::Surroundings;
use anyhow::{Context, anyhow};
use backon::{ExponentialBuilder, Retryable};
use model::DropletId;
use std::time::Duration;

/// This droplet's id. Asks until it is answered: without it, nothing on the engine could be told to be ours.
pub(crate) async fn droplet_id(surroundings: &Surroundings) -> anyhow::Result<DropletId> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .context("the metadata client")?;
    let url = format!("{}/id", surroundings.metadata_url.as_str().trim_end_matches('/'));
    let schedule = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
        .without_max_times();
    (|| ask(&client, &url))
        .retry(schedule)
        .notify(|error, after| tracing::warn!(error = format!("{error:#}"), ?after, "waiting for the metadata service"))
        .await
}

async fn ask(client: &reqwest::Client, url: &str) -> anyhow::Result<DropletId> {
    let answer = client.get(url).send().await?.error_for_status()?.text().await?;
    let id = answer.trim().parse().map_err(|_| anyhow!("{url} answered no droplet id"))?;
    Ok(DropletId(id))
}

//! `dtma purge`: the end of a droplet's containers, when the droplet itself is to go.

use crate::{config::PurgeSettings, metadata};
use anyhow::Context;
use container_reconciler::{Engine, Purged, purge};
use std::time::Duration;
use tokio::time::timeout;

/// How long the metadata service may take: whoever purges waits for it.
const METADATA_PATIENCE: Duration = Duration::from_secs(20);

/// Removes what carries this droplet's label, and says how much it was.
pub(crate) async fn run(settings: PurgeSettings) -> anyhow::Result<()> {
    let droplet = match settings.droplet {
        Some(droplet) => droplet,
        None => timeout(METADATA_PATIENCE, metadata::droplet_id(&settings.surroundings))
            .await
            .context("the metadata service does not say which droplet this is; name it with --droplet")??,
    };
    let engine = Engine::new(settings.surroundings.docker_host);
    let Purged { containers, networks } = purge(&engine, droplet)
        .await
        .with_context(|| format!("removing what belongs to droplet {droplet}"))?;
    tracing::info!(%droplet, containers, networks, "purged");
    Ok(())
}

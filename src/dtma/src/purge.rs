//! `dtma purge`: the end of a droplet's containers, when the droplet itself is to go.

use crate::{config::PurgeSettings, metadata};
use anyhow::Context;
use container_reconciler::{Engine, Purged, purge};

/// Removes what carries this droplet's label, and says how much it was.
pub(crate) async fn run(settings: PurgeSettings) -> anyhow::Result<()> {
    let droplet = match settings.droplet {
        Some(droplet) => droplet,
        None => metadata::droplet_id(&settings.surroundings).await?,
    };
    let engine = Engine::new(settings.surroundings.docker_host);
    let Purged { containers, networks } = purge(&engine, droplet)
        .await
        .with_context(|| format!("removing what belongs to droplet {droplet}"))?;
    tracing::info!(%droplet, containers, networks, "purged");
    Ok(())
}

//! Removing everything of one droplet from the engine.
//!
//! Owns: the end of a droplet's containers and network. Must not: touch what lacks the droplet's label. Promises: safe to repeat;
//! when it returns without error, nothing that carried the label is left.

use crate::{
    container::ContainerId,
    engine::{Engine, EngineError, label_filters},
};
use model::DropletId;

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
}

/// Removes every container and network that carries the droplet's label: kills what runs, without grace.
pub async fn purge(engine: &Engine, droplet: DropletId) -> Result<Purged, EngineError> {
    let mut purged = Purged::default();
    // 1. Containers, because a network in use cannot be removed.
    for container in engine.containers(label_filters(droplet, None)).await? {
        if let Some(id) = container.id.map(ContainerId) {
            engine.remove(&id, true).await?;
            purged.containers += 1;
        }
    }
    // 2. The network.
    for network in engine.networks(droplet).await? {
        if let Some(id) = network.id {
            engine.remove_network(&id).await?;
            purged.networks += 1;
        }
    }
    Ok(purged)
}

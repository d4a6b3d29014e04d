//! Removing everything of one droplet from the engine.
//!
//! Owns: the end of a droplet's containers and network. Must not: touch what lacks the droplet's label. Promises: safe to repeat;
//! when it returns without error, nothing that carried the label is left.

use crate::{
    container::ContainerId,
    engine::{Engine, EngineError, label_filters},
};
use model::DropletId;
use std::time::Duration;
use tokio::time::sleep;

/// Between two rounds after a refusal, such as of a network that something was just attached to.
const PAUSE: Duration = Duration::from_millis(200);

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
}

/// How often it looks again. A request of an agent that was killed meanwhile may still be at work on the engine.
const ROUNDS: usize = 10;

/// Removes every container and network that carries the droplet's label: kills what runs, without grace. The droplet's agent
/// must not run any more.
pub async fn purge(engine: &Engine, droplet: DropletId) -> Result<Purged, EngineError> {
    let mut purged = Purged::default();
    let mut rounds = ROUNDS;
    loop {
        rounds -= 1;
        match round(engine, droplet, &mut purged).await {
            // Done is only what a look at everything found to be done.
            Ok(0) => return Ok(purged),
            Ok(_) if rounds > 0 => {}
            Err(EngineError::Refused { .. }) if rounds > 0 => sleep(PAUSE).await,
            Err(error) => return Err(error),
            Ok(_) => {
                let message = format!("containers of droplet {droplet} keep coming back: its agent still runs");
                return Err(EngineError::Failed { message });
            }
        }
    }
}

/// Removes what there is, and says how much that was.
async fn round(engine: &Engine, droplet: DropletId, purged: &mut Purged) -> Result<usize, EngineError> {
    let before = *purged;
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
    Ok(purged.containers - before.containers + purged.networks - before.networks)
}

//! The droplet's vital signs.
//!
//! Owns: reading them. Must not: fail or wait for long; what cannot be read now is zero or absent, and the heartbeat goes out.

use container_reconciler::Engine;
use model::DropletVitals;
use nix::sys::statvfs::statvfs;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Where Docker keeps its data unless it is told otherwise.
const ENGINE_DATA: &str = "/var/lib/docker";

/// How long the engine may take to say its version.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);

/// What is read.
#[derive(Clone, Debug)]
pub(crate) struct Vitals {
    engine: Engine,
    state_dir: PathBuf,
}

impl Vitals {
    /// The engine's disk is the one that fills; where it cannot be seen, the state directory's has to do.
    pub(crate) fn new(engine: Engine, state_dir: PathBuf) -> Self {
        Self { engine, state_dir }
    }

    /// All of them, now.
    pub(crate) async fn read(&self) -> DropletVitals {
        let (memory_total, memory_available) = memory().unwrap_or_default();
        let (disk_total, disk_available) = disk(Path::new(ENGINE_DATA))
            .or_else(|| disk(&self.state_dir))
            .unwrap_or_default();
        DropletVitals {
            memory_total,
            memory_available,
            disk_total,
            disk_available,
            load_1m: System::load_average().map(|load| load.one).unwrap_or_default(),
            engine_version: self.engine_version().await.as_deref().map(model::Word::new),
        }
    }

    /// The engine's version; `None` while it does not answer.
    pub(crate) async fn engine_version(&self) -> Option<String> {
        tokio::time::timeout(ENGINE_PATIENCE, self.engine.version()).await.ok()?.ok()
    }
}

/// Bytes in all, and those that can be had.
fn memory() -> Option<(u64, u64)> {
    let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok()?;
    Some((system.total_memory(), system.available_memory()))
}

/// Bytes in all, and those that can be had.
fn disk(path: &Path) -> Option<(u64, u64)> {
    let disk = statvfs(path).ok()?;
    let unit = disk.fragment_size();
    Some((disk.blocks() * unit, disk.blocks_available() * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_are_read_without_an_engine() {
        let vitals = Vitals::new(Engine::new("unix:///nowhere/docker.sock"), PathBuf::from("/"));
        let read = vitals.read().await;
        assert!(
            read.memory_total >= read.memory_available && read.memory_available > 0,
            "{read:?}"
        );
        assert!(read.disk_total >= read.disk_available && read.disk_total > 0, "{read:?}");
        assert_eq!(read.engine_version, None);
    }
}

//! The desired set, on disk and in force.
//!
//! Owns: `desired-set.json` in the state directory. Must not: decide anything about containers. Promises: a set is written before it
//! comes into force, as long as the disk takes it; an older one never replaces a newer one; whatever the file holds, the agent starts.

use crate::file;
use container_reconciler::{DesiredHandle, Offer};
use model::{DesiredSet, EnvironmentId, Stamp};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, watch};

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct DesiredStore {
    environment: EnvironmentId,
    handle: DesiredHandle,
    file: Arc<Mutex<PathBuf>>,
}

/// The set is another environment's.
#[derive(Debug, thiserror::Error)]
#[error("the desired set is environment {theirs}'s, and this droplet is {ours}'s")]
pub(crate) struct Foreign {
    theirs: EnvironmentId,
    ours: EnvironmentId,
}

impl DesiredStore {
    /// Takes up what was stored last. A file that is missing, torn or not ours is as good as none: the control plane has the set.
    pub(crate) fn open(state_dir: &Path, environment: EnvironmentId, handle: DesiredHandle) -> Self {
        let path = state_dir.join("desired-set.json");
        let store = Self {
            environment,
            handle,
            file: Arc::new(Mutex::new(path.clone())),
        };
        match file::read(&path).map(|content| content.map(|content| serde_json::from_slice::<DesiredSet>(&content))) {
            Ok(None) => tracing::info!("no desired set is stored yet"),
            Ok(Some(Ok(set))) if set.environment_id == environment => {
                tracing::info!(stamp = ?set.stamp, instances = set.instances.len(), "took up the stored desired set");
                store.handle.offer(set);
            }
            Ok(Some(Ok(set))) => {
                tracing::warn!(environment = %set.environment_id, "the stored desired set is another environment's: ignored");
            }
            Ok(Some(Err(error))) => tracing::warn!(%error, "the stored desired set cannot be understood: ignored"),
            Err(error) => tracing::warn!(%error, "the stored desired set cannot be read: ignored"),
        }
        store
    }

    /// Stores a set and puts it in force, unless a newer one is.
    pub(crate) async fn accept(&self, set: DesiredSet) -> Result<Offer, Foreign> {
        if set.environment_id != self.environment {
            return Err(Foreign {
                theirs: set.environment_id,
                ours: self.environment,
            });
        }
        // Held until the set is in force, so that the file never ends with the older of two.
        let path = self.file.lock().await;
        match self.handle.stamp() {
            Some(held) if set.stamp < held => return Ok(Offer::Older { held }),
            Some(held) if set.stamp == held => return Ok(Offer::Unchanged),
            Some(_) | None => {}
        }
        if let Err(error) = write(path.clone(), &set).await {
            // It goes in force all the same: it may be what frees a full disk, and after a restart the next heartbeat fetches it.
            tracing::error!(%error, stamp = ?set.stamp, "the desired set could not be stored");
        }
        tracing::info!(stamp = ?set.stamp, instances = set.instances.len(), "a new desired set is in force");
        Ok(self.handle.offer(set))
    }

    /// The set in force.
    pub(crate) fn current(&self) -> Option<Arc<DesiredSet>> {
        self.handle.current()
    }

    /// Follows it.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Arc<DesiredSet>>> {
        self.handle.subscribe()
    }

    /// Its stamp.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.handle.stamp()
    }
}

async fn write(path: PathBuf, set: &DesiredSet) -> std::io::Result<()> {
    let content = serde_json::to_vec(set)?;
    tokio::task::spawn_blocking(move || file::replace(&path, &content))
        .await
        .map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn set(environment_id: EnvironmentId, generation: i64) -> DesiredSet {
        DesiredSet {
            environment_id,
            stamp: Stamp { epoch: 1, generation },
            instances: Vec::new(),
        }
    }

    fn open(folder: &Path, environment: EnvironmentId) -> DesiredStore {
        DesiredStore::open(folder, environment, DesiredHandle::new())
    }

    #[tokio::test]
    async fn a_set_survives_a_restart_and_an_older_one_is_refused() {
        let (folder, environment) = (tempfile::tempdir().unwrap(), EnvironmentId::random());
        let store = open(folder.path(), environment);
        assert_eq!(store.stamp(), None);
        assert_eq!(store.accept(set(environment, 2)).await.unwrap(), Offer::Accepted);
        assert_eq!(store.accept(set(environment, 2)).await.unwrap(), Offer::Unchanged);
        let held = Stamp { epoch: 1, generation: 2 };
        assert_eq!(store.accept(set(environment, 1)).await.unwrap(), Offer::Older { held });
        assert_eq!(open(folder.path(), environment).stamp(), Some(held));
    }

    #[tokio::test]
    async fn another_environments_set_is_refused_from_the_wire_and_from_disk() {
        let (folder, environment) = (tempfile::tempdir().unwrap(), EnvironmentId::random());
        let store = open(folder.path(), environment);
        store.accept(set(EnvironmentId::random(), 1)).await.unwrap_err();
        assert_eq!(store.stamp(), None);
        store.accept(set(environment, 1)).await.unwrap();
        assert_eq!(open(folder.path(), EnvironmentId::random()).stamp(), None);
    }

    #[tokio::test]
    async fn a_torn_file_is_no_set_and_is_replaced_by_the_next() {
        let (folder, environment) = (tempfile::tempdir().unwrap(), EnvironmentId::random());
        let path = folder.path().join("desired-set.json");
        open(folder.path(), environment).accept(set(environment, 1)).await.unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open(folder.path(), environment).stamp(), None, "torn after {length} bytes");
        }
        let store = open(folder.path(), environment);
        store.accept(set(environment, 3)).await.unwrap();
        let stored = open(folder.path(), environment);
        assert_eq!(stored.stamp(), Some(Stamp { epoch: 1, generation: 3 }));
    }

    #[tokio::test]
    async fn a_set_that_cannot_be_stored_is_in_force_all_the_same() {
        let (folder, environment) = (tempfile::tempdir().unwrap(), EnvironmentId::random());
        let store = open(&folder.path().join("missing"), environment);
        assert_eq!(store.accept(set(environment, 1)).await.unwrap(), Offer::Accepted);
        assert_eq!(store.current().unwrap().stamp.generation, 1);
    }
}

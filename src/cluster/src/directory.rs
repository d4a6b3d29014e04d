//! The directory that one cluster lives in, and the sweeping up after runs that were killed.
//!
//! Each run makes its own, with a lock file that it holds for as long as it lives. A directory whose lock can be taken has no
//! owner any more.

use crate::{Error, account::Account};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::{Pid, chown},
};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const PREFIX: &str = "toolplane-cluster-";
const LOCK: &str = "lock";

#[derive(Debug)]
pub(crate) struct Directory {
    // Dropped first: only an unlocked directory may be taken for a leftover, and by then it is empty or being removed by us.
    directory: TempDir,
    _lock: Flock<File>,
}

impl Directory {
    /// Makes a fresh directory under `base`, for the account alone, after removing those that nobody owns any more.
    pub(crate) fn create(base: &Path, account: Account) -> Result<Self, Error> {
        sweep(base);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Directory { path, source }
        };
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(base)
            .map_err(failed(base))?;
        let path = directory.path();
        // Locked before it gets its name, so that a sweep of somebody else never sees it unlocked.
        let unnamed = path.join("lock.new");
        let lock = File::create(&unnamed).map_err(failed(path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| failed(path)(errno.into()))?;
        fs::rename(&unnamed, path.join(LOCK)).map_err(failed(path))?;
        if let Some((uid, gid)) = account.ids() {
            chown(path, Some(uid), Some(gid)).map_err(|errno| failed(path)(errno.into()))?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed(path))?;
        Ok(Self { directory, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// PostgreSQL's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// What `postgres` prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("postgres.log")
    }

    /// The end of the log, for errors.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Removes every directory under `base` whose owner is gone. What cannot be removed is left: it is in nobody's way.
pub(crate) fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK)) else {
            continue; // another's, or one that is being made this very moment
        };
        if Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_ok() {
            end_orphan(&path.join("data"));
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::debug!(path = %path.display(), %error, "a leftover cluster directory could not be removed");
            }
        }
    }
}

/// Ends the `postgres` of an ownerless data directory, should its death signal have missed it. The process is believed to be
/// that one only if it stands in the directory.
fn end_orphan(data: &Path) {
    let pid = fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse().ok());
    if let Some(pid) = pid
        && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)
    {
        // It may have ended since: then there is nothing left to do.
        let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_is_removed_and_a_living_ones_directory_is_not() {
        let base = tempfile::tempdir().unwrap();
        let living = Directory::create(base.path(), Account::Own).unwrap();
        let leftover = base.path().join("toolplane-cluster-dead");
        fs::create_dir_all(leftover.join("data")).unwrap();
        File::create(leftover.join(LOCK)).unwrap();
        let strange = base.path().join("somebody-elses");
        fs::create_dir(&strange).unwrap();

        let another = Directory::create(base.path(), Account::Own).unwrap();
        assert!(!leftover.exists(), "nobody held its lock");
        assert!(living.path().exists() && another.path().exists() && strange.exists());

        let path = living.path().to_path_buf();
        drop(living);
        assert!(!path.exists(), "it goes with its owner");
    }
}

//! Where the demo keeps its data, its secrets and its logs.

use miette::{Context, IntoDiagnostic};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The folder, ours as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder this demo's own. What a killed demo left is removed, but for the engine's data, which only an engine can
    /// take apart.
    pub(super) fn claim(path: Option<PathBuf>) -> miette::Result<Self> {
        let path = path.unwrap_or_else(default_path);
        let unusable = || format!("--state-dir: {} cannot be used", path.display());
        fs::create_dir_all(&path).into_diagnostic().wrap_err_with(unusable)?;
        let path = fs::canonicalize(&path).into_diagnostic().wrap_err_with(unusable)?;
        let lock = lock(&path)?;
        for left in ["registry", "secrets", "logs"] {
            let left = path.join(left);
            if left.exists() {
                fs::remove_dir_all(&left).into_diagnostic().wrap_err_with(unusable)?;
            }
        }
        for made in ["secrets", "logs"] {
            fs::create_dir_all(path.join(made))
                .into_diagnostic()
                .wrap_err_with(unusable)?;
        }
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Writes a secret into a file that nobody else can read.
    pub(super) fn keep_secret(&self, name: &str, secret: &SecretString) -> miette::Result<PathBuf> {
        let path = self.path.join("secrets").join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path);
        let written = file.and_then(|mut file| file.write_all(secret.expose_secret().as_bytes()));
        written
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Removes everything but the logs.
    pub(super) fn clear(&self) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name() != "logs" && entry.file_name() != "lock") {
            let path = entry.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "left behind");
            }
        }
    }
}

fn lock(path: &Path) -> miette::Result<File> {
    let file = path.join("lock");
    let mut opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&file)
        .into_diagnostic()
        .wrap_err_with(|| format!("--state-dir: cannot write {}", file.display()))?;
    match opened.try_lock() {
        Ok(()) => {
            let written = opened
                .set_len(0)
                .and_then(|()| opened.write_all(std::process::id().to_string().as_bytes()));
            written.into_diagnostic().wrap_err("--state-dir: cannot be written to")?;
            Ok(opened)
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = opened.read_to_string(&mut owner);
            Err(miette::miette!(
                help = "end it, or give this one a folder of its own with --state-dir",
                "another demo is running in {} (process {owner})",
                path.display()
            ))
        }
        Err(TryLockError::Error(error)) => Err(error).into_diagnostic().wrap_err("--state-dir: cannot be locked"),
    }
}

/// A container engine's data needs a real file system, which a folder for temporary files often has not.
fn default_path() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/var/lib/toolplane-demo");
    }
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    let state = std::env::var_os("XDG_STATE_HOME").map_or_else(|| home.join(".local/state"), PathBuf::from);
    state.join("toolplane-demo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn two_demos_do_not_share_a_folder_and_a_killed_one_is_tidied_up_after() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("demo");
        let first = Folder::claim(Some(path.clone())).unwrap();
        let secret = first.keep_secret("master-key", &"hush".to_owned().into()).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(first.log("serve"), "old").unwrap();
        let refused = Folder::claim(Some(path.clone())).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");

        drop(first); // As by a kill: nothing is cleared.
        let second = Folder::claim(Some(path.clone())).unwrap();
        assert!(!secret.exists() && !second.log("serve").exists());
        fs::write(second.log("serve"), "new").unwrap();
        second.clear();
        assert!(second.log("serve").exists() && !path.join("secrets").exists());
    }
}

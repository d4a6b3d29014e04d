//! Where the server's binaries are.

use crate::Error;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Names a folder of binaries that is taken before any other.
pub(crate) const VARIABLE: &str = "TOOLPLANE_POSTGRES_BIN";

/// The three programs that a cluster is made with, from one folder, so that their versions agree.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) initdb: PathBuf,
    pub(crate) postgres: PathBuf,
    pub(crate) psql: PathBuf,
}

impl Binaries {
    /// Looks in `TOOLPLANE_POSTGRES_BIN` (and then nowhere else), `pg_config --bindir`, every folder of `PATH`, and the folders
    /// of Debian, newest first.
    pub(crate) fn find() -> Result<Self, Error> {
        if let Some(named) = env::var_os(VARIABLE) {
            return Self::find_in(&[PathBuf::from(named)]);
        }
        let mut folders: Vec<PathBuf> = pg_config_bindir().into_iter().collect();
        folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        folders.extend(debian_folders());
        Self::find_in(&folders)
    }

    /// The first of `folders` that has all three.
    pub(crate) fn find_in(folders: &[PathBuf]) -> Result<Self, Error> {
        let missing = |folder: &Path| {
            ["initdb", "postgres", "psql"]
                .into_iter()
                .find(|name| !folder.join(name).is_file())
        };
        if let Some(folder) = folders.iter().find(|folder| missing(folder).is_none()) {
            return Ok(Self {
                initdb: folder.join("initdb"),
                postgres: folder.join("postgres"),
                psql: folder.join("psql"),
            });
        }
        let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        // `psql` is often installed without the server, so the binary that is missing from the most telling place comes first.
        let binary = folders.iter().find_map(|folder| missing(folder)).unwrap_or("initdb");
        Err(Error::BinaryMissing {
            binary,
            searched: searched.join(", "),
        })
    }
}

/// The folder of the binaries that a cluster would be made with.
pub fn installed_in() -> Result<PathBuf, Error> {
    let binaries = Binaries::find()?;
    Ok(binaries.postgres.parent().map(Path::to_path_buf).unwrap_or_default())
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(folder.trim()))
}

/// `/usr/lib/postgresql/<major>/bin`, the highest major version first.
fn debian_folders() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .collect();
    versions.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_named_with_the_places_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("initdb"), "").unwrap();
        let refused = Binaries::find_in(&[folder.path().to_path_buf()]).unwrap_err().to_string();
        assert!(refused.contains("no `postgres` in"), "{refused}");
        assert!(refused.contains(folder.path().to_str().unwrap()), "{refused}");
        assert!(refused.contains("apt install postgresql"), "{refused}");
    }

    #[test]
    fn the_first_complete_folder_wins() {
        let (half, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(half.path().join("psql"), "").unwrap();
        for name in ["initdb", "postgres", "psql"] {
            std::fs::write(whole.path().join(name), "").unwrap();
        }
        let found = Binaries::find_in(&[half.path().to_path_buf(), whole.path().to_path_buf()]).unwrap();
        assert_eq!(found.psql, whole.path().join("psql"));
    }
}

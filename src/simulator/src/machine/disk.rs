//! A machine's disk: a folder that stands for the root file system.
//!
//! ```text
//! <state dir>/agents/<sha256>                agents that were verified; disks share them by hard links
//! <state dir>/droplets/<id>/console.log
//! <state dir>/droplets/<id>/environment.json what `dtma purge` needs, also after the simulator was killed
//! <state dir>/droplets/<id>/root/            what cloud-init and the agent see as /
//! ```

use super::{Boot, user_data::WriteFile};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

/// The environment variables of an agent's process.
pub(super) type Environment = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    agents: PathBuf,
}

impl Disk {
    pub(super) fn new(state_dir: &Path, id: u64) -> Self {
        Self {
            folder: state_dir.join("droplets").join(id.to_string()),
            agents: state_dir.join("agents"),
        }
    }

    /// The disk in a folder that another simulator left.
    pub(super) fn left(state_dir: &Path, folder: PathBuf) -> Self {
        Self {
            folder,
            agents: state_dir.join("agents"),
        }
    }

    /// The droplet's id, which its folder is named by.
    pub(super) fn id(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(super) fn console_path(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.root().join("etc/toolplane/agent.json")
    }

    pub(super) fn agent_path(&self) -> PathBuf {
        self.root().join("usr/local/bin/dtma")
    }

    pub(super) fn is_booted_before(&self) -> bool {
        self.root().exists()
    }

    /// What the agent is started with. Its own folder, address and metadata; the machine's engine.
    pub(super) fn environment(&self, boot: &Boot, docker_host: &str) -> Environment {
        let state = self.root().join("var/lib/toolplane");
        let inherited = ["PATH", "RUST_LOG", "RUST_BACKTRACE"];
        let inherited = inherited
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let own = [
            ("HOME", self.root().display().to_string()),
            ("DTMA_CONFIG", self.config_path().display().to_string()),
            ("DTMA_STATE_DIR", state.display().to_string()),
            ("DTMA_LISTEN", boot.address.to_string()),
            ("DTMA_METADATA_URL", boot.metadata_url.clone()),
            ("DOCKER_HOST", docker_host.to_owned()),
        ];
        inherited.chain(own.map(|(name, value)| (name.to_owned(), value))).collect()
    }

    /// Prepares the folders, and writes down the environment before anything is started with it.
    pub(super) fn prepare(&self, environment: &Environment) -> io::Result<()> {
        fs::create_dir_all(self.root().join("var/lib/toolplane"))?;
        fs::create_dir_all(self.root().join("usr/local/bin"))?;
        fs::write(self.folder.join("environment.json"), serde_json::to_vec(environment)?)
    }

    pub(super) fn recorded_environment(&self) -> Option<Environment> {
        serde_json::from_slice(&fs::read(self.folder.join("environment.json")).ok()?).ok()
    }

    /// Writes a file of the user data, inside the root whatever its path says.
    pub(super) fn write_file(&self, file: &WriteFile) -> io::Result<()> {
        let inside = Path::new(&file.path)
            .components()
            .filter(|part| matches!(part, Component::Normal(_)));
        let path = self.root().join(inside.collect::<PathBuf>());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, file.bytes()?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode()))
    }

    /// Where a download goes until it is verified.
    pub(super) fn download_path(&self) -> PathBuf {
        self.root().join("usr/local/bin/dtma.download")
    }

    /// Puts a verified download in place. Droplets with the same agent share its bytes.
    pub(super) fn install(&self, sha256: &str) -> io::Result<()> {
        fs::create_dir_all(&self.agents)?;
        let (download, shared) = (self.download_path(), self.agents.join(sha256));
        fs::set_permissions(&download, fs::Permissions::from_mode(0o755))?;
        if shared.exists() {
            fs::remove_file(&download)?;
        } else {
            fs::rename(&download, &shared)?;
        }
        fs::hard_link(&shared, self.agent_path())
    }

    /// Forgets everything but the console. What cannot be deleted is left for the next start to clear.
    pub(super) fn wipe(&self) {
        let _ = fs::remove_dir_all(self.root());
    }

    pub(super) fn delete(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}

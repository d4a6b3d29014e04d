//! Clearing up after droplets: `dtma purge` with the environment that their agent ran with.

use super::{
    console::Console,
    disk::{Disk, Environment},
    nursery::Nursery,
};
use std::{fs, path::Path, process::Stdio, time::Duration};

/// How long a purge may take: it talks to the engine only.
const PATIENCE: Duration = Duration::from_mins(1);

/// Has the agent remove every container and network of its droplet. A droplet that never got its agent has none.
pub(super) async fn purge(nursery: &Nursery, disk: &Disk, environment: &Environment, console: &Console) {
    if !disk.agent_path().exists() {
        return;
    }
    let mut command = Nursery::command(&disk.agent_path());
    // By its id: the metadata service that could tell it may have ended before the droplet.
    command.args(["purge", "--droplet", &disk.id()]).envs(environment);
    let output = |file: Option<fs::File>| file.map_or_else(Stdio::null, Stdio::from);
    command.stdout(output(console.append())).stderr(output(console.append()));
    let purged = tokio::time::timeout(PATIENCE, async { nursery.spawn(command).await?.wait().await }).await;
    let problem = match purged {
        Ok(Ok(status)) if status.success() => return,
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    console.line(&format!("dtma purge failed: {problem}"));
    tracing::warn!(agent = %disk.agent_path().display(), problem, "containers of a destroyed droplet may be left");
}

/// Clears what a simulator that was killed left in this folder: the droplets' containers first, then their disks.
pub(crate) async fn clear(state_dir: &Path) {
    let Ok(folders) = fs::read_dir(state_dir.join("droplets")) else {
        return;
    };
    let nursery = Nursery::start();
    for folder in folders.flatten() {
        let disk = Disk::left(state_dir, folder.path());
        let console = Console::new(disk.console_path());
        if let Some(environment) = disk.recorded_environment() {
            tracing::info!(folder = %folder.path().display(), "clearing a droplet that an earlier simulator left");
            purge(&nursery, &disk, &environment, &console).await;
        }
        disk.delete();
    }
}

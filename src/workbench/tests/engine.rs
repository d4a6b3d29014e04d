//! A private engine's whole life: packing, pulling, running, being killed, starting over what that left, and ending.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nix::sys::signal::{Signal, kill};
use std::path::Path;
use workbench::{
    Engine, Registry,
    images::{self, Package},
};

#[tokio::test]
async fn a_private_engine_leaves_nothing_behind() {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: only root can start a private engine");
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path()).await.unwrap();
    let registry = Registry::start(folder.path(), 0).await.unwrap();

    // This very test is a static binary, so it can be packed; with `--list` it runs and ends.
    let this = std::env::current_exe().unwrap();
    let recipe = "FROM scratch\nARG VERSION\nCOPY * /\nENV TOOL_VERSION=$VERSION\nENTRYPOINT [\"/{}\"]\n";
    let recipe = recipe.replace("{}", this.file_name().unwrap().to_str().unwrap());
    let package = Package {
        name: "acme/tool",
        version: "1.0.0",
        recipe: &recipe,
        binary: &this,
    };
    let image = images::pack(&engine, &registry, package).await.unwrap();
    assert_eq!(
        engine.docker(&["images", "--quiet", &image]).await.unwrap(),
        "",
        "it has to be pulled"
    );
    let listed = engine
        .docker(&["run", "--rm", "--network", "none", &image, "--list"])
        .await
        .unwrap();
    assert!(listed.contains("a_private_engine_leaves_nothing_behind"), "{listed}");
    let version = engine
        .docker(&["inspect", "--format", "{{index .Config.Env 1}}", &image])
        .await
        .unwrap();
    assert_eq!(version, "TOOL_VERSION=1.0.0");

    let network = engine.docker(&["network", "create", "left-behind"]).await.unwrap();
    engine
        .docker(&["create", "--name", "left-behind", "--network", "left-behind", &image])
        .await
        .unwrap();
    let killed = processes_of(folder.path(), "dockerd");
    let [unshare_or_shell, ..] = killed[..] else {
        panic!("no engine among the processes")
    };
    std::mem::forget(engine); // As a killed run does: nothing is tidied up.
    kill(nix::unistd::Pid::from_raw(unshare_or_shell), Signal::SIGKILL).unwrap();
    while !processes_of(folder.path(), "")
        .iter()
        .all(|id| processes_of(folder.path(), "docker-registry").contains(id))
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // What the next engine takes for a living containerd, should it believe it: the first process of its namespace always lives.
    let left = folder.path().join("engine/exec/containerd/containerd.pid");
    assert!(left.exists(), "where the engine keeps this has moved");
    std::fs::write(left, "1").unwrap();

    let engine = Engine::start(folder.path()).await.unwrap();
    assert_eq!(engine.docker(&["ps", "--all", "--quiet"]).await.unwrap(), "");
    assert!(!bridge_exists(&network), "the bridge of the killed run is still there");
    drop(engine);
    drop(registry);
    assert_eq!(processes_of(folder.path(), ""), [] as [i32; 0]);
    assert!(!folder.path().join("engine").exists());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(folder.path().to_str().unwrap()), "{mounts}");
}

/// Living processes that have both `folder` and `name` in their command line, oldest first.
fn processes_of(folder: &Path, name: &str) -> Vec<i32> {
    let mut ids: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    ids.retain(|id| {
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.contains(folder.to_str().unwrap()) && line.contains(name)
    });
    ids
}

fn bridge_exists(network: &str) -> bool {
    Path::new("/sys/class/net").join(format!("br-{}", &network[..12])).exists()
}

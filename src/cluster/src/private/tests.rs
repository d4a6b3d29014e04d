//! Over real servers.

use super::*;
use nix::sys::signal::kill;
use std::io::{BufRead, BufReader};

async fn answers(cluster: &Cluster) -> bool {
    cluster.execute("select 1").await.is_ok()
}

#[tokio::test]
async fn it_starts_restarts_survives_a_kill_and_leaves_nothing() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    cluster.create_database("it's \"quoted\"").await.unwrap();
    let refused = cluster.create_database("it's \"quoted\"").await.unwrap_err().to_string();
    assert!(refused.contains("already exists"), "{refused}");

    let url = cluster.url("postgres");
    cluster.restart().await.unwrap();
    assert!(answers(&cluster).await);
    cluster.execute("create table committed ()").await.unwrap();
    cluster.kill().await;
    assert!(!answers(&cluster).await);
    cluster.start_again().await.unwrap();
    cluster.execute("select from committed").await.unwrap();
    assert_eq!(cluster.url("postgres"), url);
    cluster.copy_database("copy", "it's \"quoted\"").await.unwrap();

    let (path, pid) = (cluster.path().to_path_buf(), cluster.pid().await.unwrap());
    drop(cluster);
    assert!(!path.exists());
    assert!(kill(pid, None).is_err(), "postgres ended");
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let mut cluster = Cluster::start(Options::default()).await.unwrap();
    cluster.password = "wrong".to_owned();
    let refused = cluster.execute("select 1").await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[tokio::test]
async fn a_broken_setting_is_reported_with_the_log() {
    let options = Options {
        settings: vec![("shared_buffers".to_owned(), "much".to_owned())],
        ..Options::default()
    };
    let refused = Cluster::start(options).await.unwrap_err().to_string();
    assert!(
        refused.contains("invalid value for parameter \"shared_buffers\""),
        "{refused}"
    );
}

/// Not a test of its own: the process that the next one kills.
#[tokio::test]
#[ignore = "started by the_server_dies_with_a_killed_process"]
async fn start_and_wait() {
    let Some(base) = env::var_os("CLUSTER_TEST_BASE") else {
        return;
    };
    let options = Options {
        base: base.into(),
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.unwrap();
    println!("\npostgres {} {}", cluster.pid().await.unwrap(), cluster.path().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_server_dies_with_a_killed_process_and_the_next_start_sweeps_up() {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let mut child = std::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "private::tests::start_and_wait", "--ignored", "--nocapture"])
        .env("CLUSTER_TEST_BASE", base.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("postgres ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let pid = nix::unistd::Pid::from_raw(words.next().unwrap().parse().unwrap());
    let path = PathBuf::from(words.next().unwrap());
    assert!(kill(pid, None).is_ok() && path.exists());

    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while kill(pid, None).is_ok() {
        assert!(Instant::now() < deadline, "postgres outlived its owner");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(path.exists(), "nobody was left to remove it");
    crate::directory::sweep(base.path());
    assert!(!path.exists());
}

//! Over a cluster of its own: before the first migration, and while the server crashes and comes back.

use crate::support::{Scene, connect, refused};
use cluster::{Cluster, Options};
use runtime::{ReflectorConfig, reflector};
use schema::{ConnectOptions, Database, LeaseConfig, LeaseKeeper, RecordSource, Records, Role};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Bounds a hang.
const PATIENCE: Duration = Duration::from_mins(1);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_crash_of_the_server_costs_time_and_nothing_else() {
    let server = Cluster::start(Options::default()).await.unwrap();
    let url = server.create_database("toolplane").await.unwrap();
    let serving = ConnectOptions::new(url.as_str().into(), Some(Role::Controller));
    let refusal = refused(Database::connect(&serving).await.unwrap_err());
    assert!(refusal.to_string().contains("run `toolplane migrate`"), "{refusal}");

    let migrating = connect(&url, None).await;
    migrating.migrate().await.unwrap();
    migrating.close().await;
    let scene = Scene::over(url).await;
    let before = scene.environment().await;
    let config = LeaseConfig {
        ttl: Duration::from_secs(2),
        name: "one".to_owned(),
    };
    let keeper = LeaseKeeper::new(scene.controller.clone(), config);
    let source = RecordSource::new(scene.controller.clone(), Records::owned_by(&keeper));
    let (store, reflector) = reflector(source, ReflectorConfig::default());
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn(keeper.clone().run(shutdown.clone()));
    let reflecting = tokio::spawn(reflector.run(shutdown.clone()));
    until("listed", || store.get(&before).is_some()).await;
    let epoch = keeper.fence(before.shard()).unwrap().epoch;

    server.kill().await;
    until("let go", || keeper.owned().is_empty()).await;
    assert_eq!(keeper.fence(before.shard()), None);
    server.start_again().await.unwrap();

    until("held again", || keeper.owned().len() == 64).await;
    assert!(keeper.fence(before.shard()).unwrap().epoch > epoch);
    let after = scene.environment().await;
    until("told of what came after", || {
        store.get(&after).is_some() && store.get(&before).is_some()
    })
    .await;
    shutdown.cancel();
    keeping.await.unwrap();
    reflecting.await.unwrap();
}

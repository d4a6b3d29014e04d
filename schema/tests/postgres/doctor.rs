//! What is asked before a database is relied on.

use crate::support::{Scene, connect};
use schema::{ConnectOptions, Database, Error, Role};
use std::time::Duration;

#[tokio::test]
async fn a_plain_server_passes() {
    let scene = Scene::new().await;
    assert!(!scene.controller.is_transaction_pooler().await.unwrap());
    assert!(scene.controller.listen_delivers(Duration::from_secs(30)).await.unwrap());
    let version = scene.controller.server_version().await.unwrap();
    assert!(version.split('.').next().unwrap().parse::<u32>().unwrap() >= 14, "{version}");
}

#[tokio::test]
async fn each_connection_has_its_role_and_name() {
    let scene = Scene::new().await;
    for (role, name) in [
        (Some(Role::Controller), "toolplane_controller"),
        (Some(Role::Service), "service_role"),
        (None, "none"),
    ] {
        let mut options = ConnectOptions::new(scene.url.as_str().into(), role);
        options.application_name = format!("doctor {name}");
        let database = Database::connect(&options).await.unwrap();
        let shown = scene
            .read(format!(
                "select count(*)::text from pg_stat_activity where application_name = 'doctor {name}'"
            ))
            .await;
        assert_eq!(shown, ["1"]);
        drop(database);
    }
    let denied = connect(&scene.url, Some(Role::Service))
        .await
        .migrate()
        .await
        .unwrap_err()
        .to_string();
    assert!(denied.contains("permission denied"), "{denied}");
}

#[tokio::test]
async fn a_bad_address_and_a_missing_server_are_told_apart() {
    let connect = async |url: &str| Database::connect(&ConnectOptions::new(url.into(), None)).await.unwrap_err();
    let error = connect("not an address").await;
    assert!(matches!(error, Error::Address(_)), "{error}");
    assert!(!error.is_retriable());
    let error = connect("postgres://nobody@127.0.0.1:1/none").await;
    assert!(matches!(error, Error::Database(_)), "{error}");
    assert!(error.is_retriable());
}

/// Before the migrations there is no role to become.
#[tokio::test]
async fn an_unmigrated_database_says_so() {
    let url = cluster::testing::empty_database().await.unwrap();
    let pending = connect(&url, None).await.migrations_pending().await.unwrap();
    assert!(!pending.is_empty());
}

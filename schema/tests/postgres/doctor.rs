//! What is asked before a database is relied on.

use crate::support::{Scene, connect};
use schema::{ConnectOptions, Database, Error, Role};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

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
        database.server_version().await.unwrap();
        let shown = scene
            .read(format!(
                "select distinct application_name from pg_stat_activity where application_name = 'doctor {name}'"
            ))
            .await;
        // The connection that `connect` tried may still be leaving.
        assert_eq!(shown, [options.application_name.as_str()]);
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

/// Speaks just enough of the protocol to be taken for a pooler that serves everybody from one backend.
async fn pooler_of_one_backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client));
        }
    });
    format!("postgres://pooled@127.0.0.1:{port}/any?sslmode=disable")
}

async fn serve(mut client: TcpStream) -> Option<()> {
    const PID: &[u8] = b"T\0\0\0\x1c\0\x01pid\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0D\0\0\0\x0c\0\x01\0\0\0\x0242";
    const DONE: &[u8] = b"C\0\0\0\x08SET\0";
    let length = client.read_u32().await.ok()?;
    let mut start_up = vec![0; usize::try_from(length).ok()? - 4];
    client.read_exact(&mut start_up).await.ok()?;
    client.write_all(b"R\0\0\0\x08\0\0\0\0").await.ok()?;
    client.write_all(b"Z\0\0\0\x05I").await.ok()?;
    loop {
        let kind = client.read_u8().await.ok()?;
        let length = client.read_u32().await.ok()?;
        let mut body = vec![0; usize::try_from(length).ok()? - 4];
        client.read_exact(&mut body).await.ok()?;
        let text = String::from_utf8_lossy(&body);
        if kind == b'Q' {
            if text.contains("pg_backend_pid") {
                client.write_all(PID).await.ok()?;
            }
            client.write_all(DONE).await.ok()?;
        }
        let state = if text.starts_with("BEGIN") { b'T' } else { b'I' };
        client.write_all(&[b'Z', 0, 0, 0, 5, state]).await.ok()?;
    }
}

#[tokio::test]
async fn a_transaction_pooler_is_found_out() {
    let pooled = connect(&pooler_of_one_backend().await, None).await;
    assert!(pooled.is_transaction_pooler().await.unwrap());
}

#[tokio::test]
async fn a_notification_that_does_not_arrive_is_found_out() {
    let pooled = connect(&pooler_of_one_backend().await, None).await;
    assert!(!matches!(pooled.listen_delivers(Duration::from_millis(300)).await, Ok(true)));
}

/// Before the migrations there is no role to become.
#[tokio::test]
async fn an_unmigrated_database_says_so() {
    let url = cluster::testing::empty_database().await.unwrap();
    let pending = connect(&url, None).await.migrations_pending().await.unwrap();
    assert!(!pending.is_empty());
}

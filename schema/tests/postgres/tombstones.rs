//! Deleted rows still cost their droplets.

use crate::support::Scene;
use model::{DesiredSet, DropletId, EnvironmentId, IntentKind, IntentOutcome, Stamp, Subject, Tombstone};
use std::{collections::BTreeSet, time::Duration};

async fn tombstone(scene: &Scene, id: EnvironmentId) -> Option<Tombstone> {
    match scene.controller.record_get(id).await.unwrap()?.subject {
        Subject::Row(_) => panic!("the row is still there"),
        Subject::Tombstone(tombstone) => Some(tombstone),
    }
}

async fn store_set(scene: &Scene, id: EnvironmentId) {
    let set = DesiredSet {
        environment_id: id,
        stamp: Stamp { epoch: 1, generation: 1 },
        instances: Vec::new(),
    };
    let fence = scene.fence(id).await;
    let written = scene
        .controller
        .desired_set_store(&fence, id, None, &set, &BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(written, schema::Written::Done);
}

#[tokio::test]
async fn a_deleted_row_with_a_droplet_leaves_a_tombstone() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let id = scene.environment_of(user).await;
    scene.instance(id, "tool").await;
    store_set(&scene, id).await;
    scene.record_droplet(id, 17).await;
    scene.as_user(user, "delete from account_tool_environments").await.unwrap();

    let left = tombstone(&scene, id).await.unwrap();
    assert_eq!(
        (left.environment_id, left.user_id, left.droplet_id),
        (id, user, Some(DropletId(17)))
    );
    assert_eq!(scene.read("select count(*)::text from account_tool_instances").await, ["0"]);
    assert!(
        scene.controller.desired_set_get(id).await.unwrap().is_some(),
        "the agent still needs it"
    );

    let fence = scene.fence(id).await;
    scene.controller.tombstone_finish(&fence, id).await.unwrap();
    assert_eq!(scene.controller.record_get(id).await.unwrap(), None);
    assert_eq!(scene.controller.desired_set_get(id).await.unwrap(), None);
    scene.controller.tombstone_finish(&fence, id).await.unwrap();
}

#[tokio::test]
async fn a_deleted_user_leaves_a_tombstone_too() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let id = scene.environment_of(user).await;
    let instance = scene.instance(id, "tool").await;
    scene.sql(format!("insert into agents (user_id) values ('{user}'); insert into agent_tool_instance_links (agent_id, account_tool_instance_id) select id, '{instance}' from agents")).await;
    scene.record_droplet(id, 17).await;
    scene.sql(format!("delete from auth.users where id = '{user}'")).await;
    assert_eq!(tombstone(&scene, id).await.unwrap().droplet_id, Some(DropletId(17)));
    for table in [
        "account_tool_environments",
        "account_tool_instances",
        "agent_tool_instance_links",
        "agents",
    ] {
        assert_eq!(
            scene.read(format!("select count(*)::text from {table}")).await,
            ["0"],
            "{table}"
        );
    }
}

/// An intent, however it ended, may have made a droplet that nobody has seen yet.
#[tokio::test]
async fn a_deleted_row_with_an_intent_leaves_a_tombstone() {
    let scene = Scene::new().await;
    for outcome in [None, Some(IntentOutcome::Lost), Some(IntentOutcome::Refused)] {
        let id = scene.environment().await;
        let fence = scene.fence(id).await;
        let ttl = Duration::from_mins(1);
        let intent = scene
            .controller
            .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, ttl)
            .await
            .unwrap();
        if let Some(outcome) = outcome {
            scene.controller.intent_resolve(&fence, intent.id, outcome).await.unwrap();
        }
        scene
            .sql(format!("delete from account_tool_environments where id = '{id}'"))
            .await;
        let left = tombstone(&scene, id).await.unwrap();
        assert_eq!((left.droplet_id, left.agent_epoch), (None, 1));
        let record = scene.controller.record_get(id).await.unwrap().unwrap();
        assert_eq!(record.intent.unwrap().id, intent.id, "the intent stays with the tombstone");
    }
}

#[tokio::test]
async fn a_deleted_row_that_never_had_a_droplet_leaves_nothing() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    store_set(&scene, id).await;
    scene
        .sql(format!("delete from account_tool_environments where id = '{id}'"))
        .await;
    assert_eq!(scene.controller.record_get(id).await.unwrap(), None);
    assert_eq!(scene.read("select count(*)::text from desired_sets").await, ["0"]);
}

#[tokio::test]
async fn an_id_cannot_come_back_while_its_droplet_is_there() {
    let scene = Scene::new().await;
    let (user, other) = (scene.user().await, scene.user().await);
    let id = scene.environment_of(user).await;
    scene.record_droplet(id, 17).await;
    scene
        .sql(format!("delete from account_tool_environments where id = '{id}'"))
        .await;
    let insert = format!(
        "insert into account_tool_environments (id, user_id, region_slug, size_slug, image_slug)
        values ('{id}', '{other}', 'nyc3', 's-1vcpu-1gb', 'ubuntu-22-04-x64')"
    );
    let refusal = scene.as_role("service_role", None, &insert).await.unwrap_err();
    assert!(refusal.message.contains("still being destroyed"), "{refusal}");
    // The account gets a fresh one meanwhile.
    scene.environment_of(user).await;

    let fence = scene.fence(id).await;
    scene.controller.tombstone_finish(&fence, id).await.unwrap();
    scene.as_role("service_role", None, &insert).await.unwrap();
}

#[tokio::test]
async fn a_tombstone_is_finished_under_its_lease_only() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    scene.record_droplet(id, 17).await;
    scene
        .sql(format!("delete from account_tool_environments where id = '{id}'"))
        .await;
    let stale = scene.fence(id).await;
    scene.fence(id).await;
    let error = scene.controller.tombstone_finish(&stale, id).await.unwrap_err();
    assert!(matches!(error, schema::Error::Fenced { .. }), "{error}");
    assert!(tombstone(&scene, id).await.is_some());
    // Nobody else may, by privilege.
    let refusal = scene
        .as_role("service_role", None, "delete from environment_tombstones")
        .await
        .unwrap_err();
    assert!(refusal.message.contains("permission denied"), "{refusal}");
}

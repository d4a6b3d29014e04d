//! What is told, and what is not.

use crate::{
    agents::{report, with_agent},
    support::Scene,
};
use model::{DesiredSet, EnvironmentStatus, IntentKind, IntentOutcome, Stamp};
use sqlx::postgres::PgListener;
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

struct Ear(PgListener);

impl Ear {
    async fn of(scene: &Scene) -> Self {
        let mut listener = PgListener::connect(&scene.url).await.unwrap();
        listener.listen("toolplane").await.unwrap();
        Self(listener)
    }

    /// Everything that was told until now: up to a mark that is sent after it.
    async fn heard(&mut self, scene: &Scene) -> Vec<String> {
        scene.sql("notify toolplane, 'mark'").await;
        let mut heard = Vec::new();
        loop {
            let notification = tokio::time::timeout(Duration::from_secs(30), self.0.recv())
                .await
                .unwrap()
                .unwrap();
            if notification.payload() == "mark" {
                return heard;
            }
            heard.push(notification.payload().to_owned());
        }
    }
}

#[tokio::test]
async fn each_real_change_is_told_once() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let mut ear = Ear::of(&scene).await;
    let tool = scene.tool().await;
    assert_eq!(ear.heard(&scene).await, [format!("catalog {tool}")]);
    let id = scene.environment_of(user).await;
    let environment = [format!("environment {id}")];
    assert_eq!(ear.heard(&scene).await, environment, "inserted");
    let instance = scene.instance(id, "one").await;
    assert_eq!(ear.heard(&scene).await, environment, "instance inserted");

    let fence = scene.fence(id).await;
    let ttl = Duration::from_mins(1);
    let intent = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, ttl)
        .await
        .unwrap();
    assert_eq!(
        ear.heard(&scene).await,
        environment,
        "announced: epoch and intent in one transaction"
    );
    scene
        .controller
        .intent_droplet(&fence, intent.id, model::DropletId(17))
        .await
        .unwrap();
    assert_eq!(ear.heard(&scene).await, environment, "answered");
    scene
        .controller
        .intent_resolve(&fence, intent.id, IntentOutcome::Adopted)
        .await
        .unwrap();
    assert_eq!(ear.heard(&scene).await, environment, "resolved");
    scene.record_droplet(id, 17).await;
    assert_eq!(ear.heard(&scene).await, environment, "status written");

    let set = DesiredSet {
        environment_id: id,
        stamp: Stamp { epoch: 1, generation: 1 },
        instances: Vec::new(),
    };
    let fence = scene.fence(id).await;
    let _ = scene
        .controller
        .desired_set_store(&fence, id, None, &set, &BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(ear.heard(&scene).await, environment, "desired set stored");

    for set in [
        "account_tool_environments set paused = true",
        "account_tool_environments set desired_state = 'deleted'",
        "account_tool_environments set status = 'pending_creation'",
        "account_tool_instances set desired_state = 'stopped'",
        "account_tool_instances set config_values_override = '{}'",
    ] {
        scene.sql(format!("update {set}")).await;
        assert_eq!(ear.heard(&scene).await, environment, "{set}");
    }
    scene.sql("update tool_catalog set description = 'x'").await;
    assert_eq!(ear.heard(&scene).await, [format!("catalog {tool}")]);
    scene
        .sql(format!(
            "delete from account_tool_instances where id = '{instance}'; delete from tool_catalog"
        ))
        .await;
    let mut heard = ear.heard(&scene).await;
    heard.sort();
    assert_eq!(heard, [format!("catalog {tool}"), environment[0].clone()]);
    scene.sql(format!("delete from auth.users where id = '{user}'")).await;
    assert_eq!(ear.heard(&scene).await, environment, "deleted, with its tombstone");
    scene.controller.tombstone_finish(&fence, id).await.unwrap();
    assert_eq!(ear.heard(&scene).await, environment, "tombstone finished");
}

#[tokio::test]
async fn what_says_nothing_new_is_not_told() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let instance = scene.instance(id, "one").await;
    let fence = scene.fence(id).await;
    let mut ear = Ear::of(&scene).await;
    // A look that saw the same.
    let seen = EnvironmentStatus {
        observed_at: Some(jiff::Timestamp::now()),
        ..scene.row(id).await.status
    };
    let _ = scene.controller.environment_status_write(&fence, id, 1, &seen).await.unwrap();
    let status = model::InstanceStatus {
        observed_at: Some(jiff::Timestamp::now()),
        runtime_details: serde_json::json!({}),
        ..model::InstanceStatus::default()
    };
    scene
        .controller
        .instance_status_write(&fence, &[(instance, 1, status)])
        .await
        .unwrap();
    scene
        .sql("update account_tool_environments set updated_at = now(), last_heartbeat_at = now()")
        .await;
    // Leases and events are nobody's specification.
    scene.fence(id).await;
    assert_eq!(ear.heard(&scene).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_heartbeat_is_told_only_when_it_says_something_new() {
    let scene = Scene::new().await;
    let id = with_agent(&scene).await;
    let instance = scene.instance(id, "one").await;
    let mut ear = Ear::of(&scene).await;
    let environment = [format!("environment {id}")];
    let boot = Uuid::new_v4();
    let beat = async |report: &model::AgentReport| {
        let _ = scene.controller.heartbeat_record(id, 1, report).await.unwrap();
    };
    beat(&report(boot, 1, &[])).await;
    assert_eq!(ear.heard(&scene).await, environment, "the first");
    let mut next = report(boot, 2, &[]);
    next.vitals.load_1m = 9.0;
    beat(&next).await;
    assert_eq!(ear.heard(&scene).await, Vec::<String>::new(), "vitals and time");
    beat(&report(boot, 3, &[instance])).await;
    assert_eq!(ear.heard(&scene).await, environment, "an instance");
    beat(&report(boot, 4, &[instance])).await;
    assert_eq!(ear.heard(&scene).await, Vec::<String>::new(), "the same");
    beat(&report(boot, 4, &[])).await;
    assert_eq!(ear.heard(&scene).await, Vec::<String>::new(), "a replay");
    let mut next = report(boot, 5, &[instance]);
    next.applied = None;
    beat(&next).await;
    assert_eq!(ear.heard(&scene).await, environment, "another desired set");
    beat(&report(Uuid::new_v4(), 1, &[instance])).await;
    assert_eq!(ear.heard(&scene).await, environment, "another boot");

    scene
        .sql("set role toolplane_controller; update account_tool_environments set status = 'unresponsive'; reset role")
        .await;
    assert_eq!(ear.heard(&scene).await, environment);
    let boot = kept_boot(&scene, id).await;
    beat(&report(boot, 2, &[instance])).await;
    assert_eq!(ear.heard(&scene).await, environment, "the end of a silence");
}

async fn kept_boot(scene: &Scene, id: model::EnvironmentId) -> Uuid {
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    record.tools.unwrap().report.unwrap().report.boot_id
}

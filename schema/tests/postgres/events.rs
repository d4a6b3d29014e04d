//! What was done and why.

use crate::support::Scene;
use model::{EnvironmentId, Event, EventType, InstanceId};
use std::time::Duration;

fn event(id: EnvironmentId, message: &str, cause: &str) -> Event {
    Event {
        environment_id: id,
        instance_id: None,
        kind: EventType::Normal,
        reason: "DropletCreated".to_owned(),
        message: message.to_owned(),
        actor: "environment-reconciler".to_owned(),
        cause: cause.to_owned(),
    }
}

#[tokio::test]
async fn the_same_within_an_hour_is_counted() {
    let scene = Scene::new().await;
    let id = EnvironmentId::random();
    for cause in ["first", "second", "third"] {
        scene.controller.event_record(&event(id, "droplet 17", cause)).await.unwrap();
    }
    let kept = scene.controller.event_list(Some(id), 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].count, kept[0].event.clone()), (3, event(id, "droplet 17", "third")));
    assert!(kept[0].first_seen < kept[0].last_seen);

    // Something else is another, and so is the same after an hour.
    scene.controller.event_record(&event(id, "droplet 18", "x")).await.unwrap();
    let of_instance = Event {
        instance_id: Some(InstanceId::random()),
        ..event(id, "droplet 17", "x")
    };
    scene.controller.event_record(&of_instance).await.unwrap();
    scene
        .controller
        .event_record(&event(EnvironmentId::random(), "droplet 17", "x"))
        .await
        .unwrap();
    assert_eq!(scene.controller.event_list(Some(id), 10).await.unwrap().len(), 3);
    scene
        .sql("update reconcile_events set last_seen = last_seen - interval '61 minutes'")
        .await;
    scene
        .controller
        .event_record(&event(id, "droplet 17", "later"))
        .await
        .unwrap();
    let kept = scene.controller.event_list(Some(id), 10).await.unwrap();
    assert_eq!(kept.len(), 4);
    assert_eq!(
        (kept[0].count, kept[0].event.cause.as_str()),
        (1, "later"),
        "the latest first"
    );
    assert_eq!(scene.controller.event_list(Some(id), 2).await.unwrap().len(), 2);
    assert_eq!(scene.controller.event_list(None, 10).await.unwrap().len(), 5);

    assert_eq!(scene.controller.event_prune(Duration::from_hours(2)).await.unwrap(), 0);
    assert_eq!(scene.controller.event_prune(Duration::from_mins(30)).await.unwrap(), 4);
    assert_eq!(scene.controller.event_list(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_change_of_a_status_leaves_an_event() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let instance = scene.instance(id, "one").await;
    scene
        .sql(
            "set role toolplane_controller;
            update account_tool_environments set status = 'creating';
            update account_tool_environments set status = 'creating';
            update account_tool_environments set status = 'unresponsive', observed_generation = 1;
            update account_tool_instances set status = 'error_runtime';
            reset role",
        )
        .await;
    let kept = scene.service.event_list(Some(id), 10).await.unwrap();
    let told: Vec<_> = kept
        .iter()
        .map(|kept| {
            (
                kept.event.message.as_str(),
                kept.event.kind,
                kept.event.instance_id,
                kept.count,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("pending_start -> error_runtime", EventType::Warning, Some(instance), 1),
            ("creating -> unresponsive", EventType::Warning, None, 1),
            ("pending_creation -> creating", EventType::Normal, None, 1),
        ]
    );
    assert_eq!(kept[1].event.cause, "status of generation 1");
}

//! What was done and why.

use crate::support::Scene;
use model::{EnvironmentId, Event, EventType, InstanceId};
use schema::{ConnectOptions, Database, EventFilter, Role};
use std::time::Duration;

fn event(id: EnvironmentId, message: &str, cause: &str) -> Event {
    Event {
        environment_id: Some(id),
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

/// What the installation has once belongs to no environment, and no user sees it.
#[tokio::test]
async fn events_of_no_environment_are_counted_among_themselves() {
    let scene = Scene::new().await;
    let id = EnvironmentId::random();
    let of_all = Event {
        environment_id: None,
        ..event(id, "firewall base is created", "the installation has no base firewall")
    };
    for told in [&of_all, &event(id, &of_all.message, "x"), &of_all] {
        scene.controller.event_record(told).await.unwrap();
    }
    let kept = scene.controller.event_list(None, 10).await.unwrap();
    let counts: Vec<_> = kept.iter().map(|kept| (kept.event.environment_id, kept.count)).collect();
    assert_eq!(counts, [(None, 2), (Some(id), 1)]);
    assert_eq!(scene.controller.event_list(Some(id), 10).await.unwrap().len(), 1);
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
            update account_tool_instances set status = 'error_runtime', observed_generation = 1, conditions =
                '[{\"type\": \"Ready\", \"status\": \"False\", \"reason\": \"Crashed\", \"message\": \"exit code 1\"}]';
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
    assert_eq!(kept[0].event.cause, "Crashed of generation 1: exit code 1");
}

#[tokio::test]
async fn every_restart_of_a_tool_leaves_an_event() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let instance = scene.instance(id, "one").await;
    for details in [
        "{\"restarts\": 0}",
        "{\"restarts\": 1}",
        "{\"restarts\": 1, \"port\": 31000}",
        "{\"restarts\": 3}",
        "{\"restarts\": 0}",
        "{}",
    ] {
        let set =
            format!("set role toolplane_controller; update account_tool_instances set runtime_details = '{details}'; reset role");
        scene.sql(set).await;
    }
    let kept = scene.service.event_list(Some(id), 10).await.unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((kept[0].event.instance_id, kept[0].count), (Some(instance), 2));
    assert_eq!(
        kept[0].event.cause,
        "restart 3 since its droplet booted, by the agent's report"
    );
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let scene = Scene::new().await;
    let (id, instance) = (EnvironmentId::random(), InstanceId::random());
    for number in 0..7 {
        let event = Event {
            instance_id: (number % 2 == 0).then_some(instance),
            ..event(id, &format!("droplet {number}"), "x")
        };
        scene.controller.event_record(&event).await.unwrap();
    }
    // One statement gives several events one time; the place still tells them apart.
    scene.sql("update reconcile_events set last_seen = now()").await;
    let all = scene.service.event_list(Some(id), 10).await.unwrap();
    let mut paged = Vec::new();
    let mut filter = EventFilter {
        environment_id: Some(id),
        ..EventFilter::default()
    };
    loop {
        let page = scene.service.event_page(&filter, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.behind = Some(last.place());
        paged.extend(page);
    }
    assert_eq!((paged.len(), &paged), (7, &all));

    let of_instance = EventFilter {
        instance_id: Some(instance),
        ..EventFilter::default()
    };
    assert_eq!(scene.service.event_page(&of_instance, 10).await.unwrap().len(), 4);
    scene.controller.event_record(&event(id, "later", "x")).await.unwrap();
    let since = EventFilter {
        since: Some(all[0].last_seen + jiff::SignedDuration::from_micros(1)),
        ..EventFilter::default()
    };
    let fresh = scene.service.event_page(&since, 10).await.unwrap();
    assert_eq!(
        fresh.iter().map(|event| event.event.message.as_str()).collect::<Vec<_>>(),
        ["later"]
    );
}

#[tokio::test]
async fn who_works_on_a_shard_and_which_rows_there_are_can_be_asked() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(scene.environment().await);
    }
    ids.sort_unstable();
    // A tombstone is still worked on, and has its place between the rows.
    scene.record_droplet(ids[2], 17).await;
    scene
        .sql(format!("delete from account_tool_environments where id = '{}'", ids[2]))
        .await;
    scene.sql("update leases set expires_at = now() - interval '1 second'").await;
    let first = scene.service.environment_page(None, 3).await.unwrap();
    let second = scene.service.environment_page(first.last().copied(), 3).await.unwrap();
    assert_eq!([first, second].concat(), ids);

    let shard = ids[0].shard();
    assert_eq!(scene.service.lease_holder(shard).await.unwrap(), None);
    let fence = scene.fence(ids[0]).await;
    let holder = scene.service.lease_holder(shard).await.unwrap().expect("the shard is held");
    assert_eq!(holder.epoch, fence.epoch);
    scene.sql("update leases set expires_at = now() - interval '1 second'").await;
    assert_eq!(scene.service.lease_holder(shard).await.unwrap(), None, "expired");
}

#[tokio::test]
async fn the_database_refuses_writes_over_a_connection_that_only_reads() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let options = ConnectOptions {
        read_only: true,
        ..ConnectOptions::new(scene.url.clone().into(), Some(Role::Controller))
    };
    let reading = Database::connect(&options).await.unwrap();
    assert!(reading.record_get(id).await.unwrap().is_some());
    let refused = reading.event_record(&event(id, "droplet 17", "x")).await.unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
}

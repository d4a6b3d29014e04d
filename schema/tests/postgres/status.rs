//! Writing what was observed.

use crate::support::{Scene, refused};
use jiff::Timestamp;
use model::{
    ConditionStatus, Conditions, DesiredSet, DropletId, EnvironmentId, EnvironmentStatus, InstanceId, InstanceStatus, Stamp,
    Subject, environment::EnvironmentPhase, instance::InstancePhase,
};
use schema::{Error, Written};
use std::collections::BTreeSet;

fn conditions() -> Conditions {
    let mut conditions = Conditions::default();
    conditions.set(
        "Ready",
        ConditionStatus::True,
        "Ready",
        "it's \"ready\"",
        1,
        Timestamp::from_second(1_800_000_000).unwrap(),
    );
    conditions
}

pub(crate) fn environment_status() -> EnvironmentStatus {
    EnvironmentStatus {
        phase: EnvironmentPhase::Active,
        droplet_id: Some(DropletId(123_456_789)),
        ip_address: Some("203.0.113.7".parse().unwrap()),
        droplet_created_at: Some("2026-11-22T08:00:00.123456Z".parse().unwrap()),
        agent_epoch: 0,
        error_message: Some("nothing".to_owned()),
        observed_generation: 1,
        conditions: conditions(),
        observed_at: Some("2026-11-22T08:00:01Z".parse().unwrap()),
    }
}

fn instance_status() -> InstanceStatus {
    InstanceStatus {
        phase: InstancePhase::Running,
        actual_running_version: Some("1".to_owned()),
        runtime_details: serde_json::json!({"port": 31000, "container_id": "abc"}),
        error_message: None,
        observed_generation: 1,
        conditions: conditions(),
        observed_at: Some("2026-11-22T08:00:01Z".parse().unwrap()),
    }
}

#[tokio::test]
async fn a_status_comes_back_as_it_was_written() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let instance = scene.instance(id, "one").await;
    let fence = scene.fence(id).await;
    let status = environment_status();
    let written = scene
        .controller
        .environment_status_write(&fence, id, 1, &status)
        .await
        .unwrap();
    assert_eq!(written, Written::Done);
    assert_eq!(scene.row(id).await.status, status);
    let count = scene
        .controller
        .instance_status_write(&fence, &[(instance, 1, instance_status())])
        .await
        .unwrap();
    assert_eq!(count, 1);
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    assert_eq!(record.tools.unwrap().instances[0].status, instance_status());
    // And empty again.
    let status = EnvironmentStatus::default();
    assert_eq!(
        scene
            .controller
            .environment_status_write(&fence, id, 1, &status)
            .await
            .unwrap(),
        Written::Done
    );
    assert_eq!(scene.row(id).await.status, status);
}

#[tokio::test]
async fn lists_say_what_records_say() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let instance = scene.instance(id, "one").await;
    let other = scene.environment().await;
    let fence = scene.fence(id).await;
    let _ = scene
        .controller
        .environment_status_write(&fence, id, 1, &environment_status())
        .await
        .unwrap();
    scene
        .controller
        .instance_status_write(&fence, &[(instance, 1, instance_status())])
        .await
        .unwrap();

    let environments = scene.service.environment_list().await.unwrap();
    assert_eq!(environments, [scene.row(id).await, scene.row(other).await]);
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    let instances = record.tools.unwrap().instances;
    assert_eq!(
        scene.service.instance_list(schema::InstanceFilter::default()).await.unwrap(),
        instances
    );
    let of = |environment| schema::InstanceFilter {
        environment_id: Some(environment),
    };
    assert_eq!(scene.service.instance_list(of(id)).await.unwrap(), instances);
    assert_eq!(scene.service.instance_list(of(other)).await.unwrap(), []);
}

#[tokio::test]
async fn a_status_of_another_generation_is_stale() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let (one, two) = (scene.instance(id, "one").await, scene.instance(id, "two").await);
    let fence = scene.fence(id).await;
    let status = environment_status();
    let write = async |id, generation| {
        scene
            .controller
            .environment_status_write(&fence, id, generation, &status)
            .await
    };
    assert_eq!(write(id, 2).await.unwrap(), Written::Stale);
    scene.sql("update account_tool_environments set paused = true; update account_tool_instances set paused = true where instance_name = 'two'").await;
    assert_eq!(write(id, 1).await.unwrap(), Written::Stale);
    assert_eq!(scene.row(id).await.status, EnvironmentStatus::default());
    assert_eq!(write(id, 2).await.unwrap(), Written::Done);
    // A batch writes what it can.
    let batch = [
        (one, 1, instance_status()),
        (two, 1, instance_status()),
        (InstanceId::random(), 1, instance_status()),
    ];
    assert_eq!(scene.controller.instance_status_write(&fence, &batch).await.unwrap(), 1);
    scene.sql("delete from account_tool_environments").await;
    assert_eq!(write(id, 2).await.unwrap(), Written::Stale);
}

#[tokio::test]
async fn a_fence_covers_its_own_shard_only() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let mut other = scene.environment().await;
    while other.shard() == id.shard() {
        other = scene.environment().await;
    }
    let fence = scene.fence(id).await;
    let error = scene
        .controller
        .environment_status_write(&fence, other, 1, &environment_status())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    let instance = scene.instance(other, "one").await;
    let count = scene
        .controller
        .instance_status_write(&fence, &[(instance, 1, instance_status())])
        .await
        .unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_stale_epoch_writes_nothing() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let instance = scene.instance(id, "one").await;
    let stale = scene.fence(id).await;
    let fence = scene.fence(id).await;
    let of_another = schema::Fence {
        holder: stale.holder,
        ..fence
    };
    // The holder lost it and won it back: somebody else may have written in between.
    let of_before = schema::Fence {
        epoch: fence.epoch - 1,
        ..fence
    };
    let set = DesiredSet {
        environment_id: id,
        stamp: Stamp { epoch: 1, generation: 1 },
        instances: Vec::new(),
    };
    for bad in [stale, of_another, of_before] {
        let refused = [
            scene
                .controller
                .environment_status_write(&bad, id, 1, &environment_status())
                .await
                .map(drop),
            scene
                .controller
                .instance_status_write(&bad, &[(instance, 1, instance_status())])
                .await
                .map(drop),
            scene
                .controller
                .desired_set_store(&bad, id, None, &set, &BTreeSet::new())
                .await
                .map(drop),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
        }
    }
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    let Subject::Row(row) = record.subject else {
        panic!("a tombstone")
    };
    assert_eq!(row.status, EnvironmentStatus::default());
    let tools = record.tools.unwrap();
    assert_eq!(
        (tools.instances[0].status.phase, tools.desired),
        (InstancePhase::PendingStart, None)
    );
}

/// The epoch is raised by announcements only: a status that was decided before must not lower it.
#[tokio::test]
async fn a_status_write_leaves_the_agents_epoch_alone() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let ttl = std::time::Duration::from_mins(1);
    scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, model::IntentKind::Create, ttl)
        .await
        .unwrap();
    let _ = scene
        .controller
        .environment_status_write(&fence, id, 1, &environment_status())
        .await
        .unwrap();
    assert_eq!(scene.row(id).await.status.agent_epoch, 1);
}

#[tokio::test]
async fn one_droplet_belongs_to_one_environment() {
    let scene = Scene::new().await;
    let (one, two) = (scene.environment().await, scene.environment().await);
    scene.record_droplet(one, 17).await;
    let fence = scene.fence(two).await;
    let status = EnvironmentStatus {
        droplet_id: Some(DropletId(17)),
        ..EnvironmentStatus::default()
    };
    let refusal = refused(
        scene
            .controller
            .environment_status_write(&fence, two, 1, &status)
            .await
            .unwrap_err(),
    );
    assert_eq!(
        refusal.constraint.as_deref(),
        Some("account_tool_environments_do_droplet_id_key")
    );
}

#[tokio::test]
async fn desired_sets_go_forward_by_compare_and_set() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let stamp = |epoch, generation| Stamp { epoch, generation };
    let store = async |id: EnvironmentId, expected, stamp| {
        let set = DesiredSet {
            environment_id: id,
            stamp,
            instances: Vec::new(),
        };
        scene
            .controller
            .desired_set_store(&fence, id, expected, &set, &BTreeSet::new())
            .await
            .unwrap()
    };
    assert_eq!(
        store(id, Some(stamp(1, 1)), stamp(1, 2)).await,
        Written::Stale,
        "there is none"
    );
    assert_eq!(store(id, None, stamp(1, 1)).await, Written::Done);
    assert_eq!(store(id, None, stamp(1, 2)).await, Written::Stale, "there is one");
    assert_eq!(
        store(id, Some(stamp(1, 0)), stamp(1, 2)).await,
        Written::Stale,
        "it is another"
    );
    assert_eq!(store(id, Some(stamp(1, 1)), stamp(1, 1)).await, Written::Stale, "not later");
    assert_eq!(store(id, Some(stamp(1, 1)), stamp(0, 9)).await, Written::Stale, "earlier");
    assert_eq!(store(id, Some(stamp(1, 1)), stamp(2, 1)).await, Written::Done);
    let stored = scene.controller.desired_set_get(id).await.unwrap().unwrap();
    assert_eq!((stored.stamp, stored.environment_id), (stamp(2, 1), id));

    scene.sql("delete from account_tool_environments").await;
    assert_eq!(scene.controller.desired_set_get(id).await.unwrap(), None);
    assert_eq!(
        store(id, None, stamp(3, 1)).await,
        Written::Stale,
        "neither a row nor a tombstone"
    );
}

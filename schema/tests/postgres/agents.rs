//! Heartbeats.

use crate::support::Scene;
use jiff::Timestamp;
use model::{
    AgentReport, DesiredInstance, DesiredSet, DropletVitals, EnvironmentId, InstanceId, InstanceReport, InstanceState,
    IntentKind, Stamp, container::ContainerDefaults, desired::RunState,
};
use schema::HeartbeatOutcome;
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

pub(crate) fn report(boot_id: Uuid, sequence: i64, instances: &[InstanceId]) -> AgentReport {
    AgentReport {
        boot_id,
        sequence,
        applied: Some(Stamp { epoch: 1, generation: 3 }),
        agent_version: "0.1.0".into(),
        vitals: DropletVitals {
            memory_total: 1 << 30,
            load_1m: 0.25,
            engine_version: Some("20.10".into()),
            ..DropletVitals::default()
        },
        instances: instances
            .iter()
            .map(|id| InstanceReport {
                instance_id: *id,
                generation: 1,
                state: InstanceState::Running,
                version: Some("1".to_owned()),
                image_digest: None,
                container_id: Some("c".to_owned()),
                port: Some(31000),
                restarts: 0,
                exit_code: None,
                reason: None,
                message: None,
            })
            .collect(),
        received_at: Timestamp::UNIX_EPOCH,
    }
}

/// An environment whose agent has epoch 1.
pub(crate) async fn with_agent(scene: &Scene) -> EnvironmentId {
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let ttl = Duration::from_mins(1);
    scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, ttl)
        .await
        .unwrap();
    id
}

async fn beat(scene: &Scene, id: EnvironmentId, epoch: i64, report: &AgentReport) -> HeartbeatOutcome {
    scene.controller.heartbeat_record(id, epoch, report).await.unwrap()
}

fn recorded(outcome: HeartbeatOutcome) -> bool {
    matches!(outcome, HeartbeatOutcome::Recorded { .. })
}

async fn kept(scene: &Scene, id: EnvironmentId) -> AgentReport {
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    record.tools.unwrap().report.unwrap().report
}

#[tokio::test]
async fn a_heartbeat_is_kept_and_stamped_by_the_server() {
    let scene = Scene::new().await;
    let id = with_agent(&scene).await;
    let instance = scene.instance(id, "one").await;
    let sent = report(Uuid::new_v4(), 1, &[instance]);
    let HeartbeatOutcome::Recorded { received_at, desired } = beat(&scene, id, 1, &sent).await else {
        panic!("not recorded")
    };
    assert_eq!(desired, None);
    assert!(received_at > Timestamp::now() - jiff::SignedDuration::from_mins(5));
    assert_eq!(kept(&scene, id).await, AgentReport { received_at, ..sent });
    assert_eq!(scene.row(id).await.last_heartbeat_at, Some(received_at));
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    assert!(record.current_report().is_some());
}

#[tokio::test]
async fn the_answer_names_the_desired_set() {
    let scene = Scene::new().await;
    let id = with_agent(&scene).await;
    let stamp = Stamp { epoch: 1, generation: 7 };
    let set = DesiredSet {
        environment_id: id,
        stamp,
        instances: Vec::new(),
    };
    let fence = scene.fence(id).await;
    let _ = scene
        .controller
        .desired_set_store(&fence, id, None, &set, &BTreeSet::new())
        .await
        .unwrap();
    let outcome = beat(&scene, id, 1, &report(Uuid::new_v4(), 1, &[])).await;
    assert!(
        matches!(outcome, HeartbeatOutcome::Recorded { desired: Some(named), .. } if named == stamp),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn replays_are_dropped() {
    let scene = Scene::new().await;
    let id = with_agent(&scene).await;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    assert!(recorded(beat(&scene, id, 1, &report(first, 5, &[])).await));
    for sequence in [5, 4, 0, -1] {
        assert_eq!(
            beat(&scene, id, 1, &report(first, sequence, &[])).await,
            HeartbeatOutcome::Replayed,
            "{sequence}"
        );
    }
    assert!(
        recorded(beat(&scene, id, 1, &report(first, 9, &[])).await),
        "gaps are lost heartbeats"
    );
    // After a restart the sequence begins again, and what the earlier boot sent late is a replay.
    assert!(recorded(beat(&scene, id, 1, &report(second, 1, &[])).await));
    assert_eq!(beat(&scene, id, 1, &report(first, 10, &[])).await, HeartbeatOutcome::Replayed);
    assert_eq!(kept(&scene, id).await.boot_id, second);
    // For some boots back, and the list does not grow for ever.
    for _ in 0..20 {
        assert!(recorded(beat(&scene, id, 1, &report(Uuid::new_v4(), 1, &[])).await));
    }
    assert_eq!(
        scene.read("select cardinality(earlier_boots)::text from agent_reports").await,
        ["8"]
    );
}

#[tokio::test]
async fn only_the_current_epochs_agent_is_heard() {
    let scene = Scene::new().await;
    let id = with_agent(&scene).await;
    let boot = Uuid::new_v4();
    for epoch in [0, 2] {
        assert_eq!(
            beat(&scene, id, epoch, &report(boot, 1, &[])).await,
            HeartbeatOutcome::StaleEpoch
        );
    }
    assert!(recorded(beat(&scene, id, 1, &report(boot, 1, &[])).await));
    // The droplet was replaced.
    scene.sql("update account_tool_environments set agent_epoch = 2").await;
    assert_eq!(beat(&scene, id, 1, &report(boot, 2, &[])).await, HeartbeatOutcome::StaleEpoch);
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    assert_eq!(record.current_report(), None);
    assert!(recorded(beat(&scene, id, 2, &report(Uuid::new_v4(), 1, &[])).await));
    let nobody = EnvironmentId::random();
    assert_eq!(
        beat(&scene, nobody, 1, &report(boot, 1, &[])).await,
        HeartbeatOutcome::UnknownEnvironment
    );
}

/// The cross-tenant write of the system's first version.
#[tokio::test]
async fn reports_about_others_instances_are_dropped() {
    let scene = Scene::new().await;
    let (mine, theirs) = (with_agent(&scene).await, with_agent(&scene).await);
    let (own, foreign) = (scene.instance(mine, "one").await, scene.instance(theirs, "one").await);
    let before = scene.controller.record_get(theirs).await.unwrap();
    let boot = Uuid::new_v4();
    assert!(recorded(
        beat(&scene, mine, 1, &report(boot, 1, &[foreign, own, InstanceId::random()])).await
    ));
    let ids: Vec<InstanceId> = kept(&scene, mine)
        .await
        .instances
        .iter()
        .map(|report| report.instance_id)
        .collect();
    assert_eq!(ids, [own]);
    assert_eq!(scene.controller.record_get(theirs).await.unwrap(), before);
    // Nor does it help to have said so before.
    assert!(recorded(beat(&scene, mine, 1, &report(boot, 2, &[foreign, own])).await));
    assert_eq!(kept(&scene, mine).await.instances.len(), 1);
}

/// Its container has yet to go, and whoever waits for that must see it.
#[tokio::test]
async fn an_instance_without_a_row_is_reported_while_its_container_is_there() {
    let scene = Scene::new().await;
    let id = with_agent(&scene).await;
    let (reported, told) = (scene.instance(id, "reported").await, scene.instance(id, "told").await);
    let boot = Uuid::new_v4();
    assert!(recorded(beat(&scene, id, 1, &report(boot, 1, &[reported])).await));
    let set = DesiredSet {
        environment_id: id,
        stamp: Stamp { epoch: 1, generation: 1 },
        instances: vec![DesiredInstance {
            instance_id: told,
            generation: 1,
            run: RunState::Running,
            version: "1".to_owned(),
            port: 31000,
            container: ContainerDefaults::default().into_spec("acme/echo:1".to_owned()),
        }],
    };
    let fence = scene.fence(id).await;
    let _ = scene
        .controller
        .desired_set_store(&fence, id, None, &set, &BTreeSet::new())
        .await
        .unwrap();
    scene.sql("delete from account_tool_instances").await;
    for sequence in [2, 3] {
        assert!(recorded(
            beat(&scene, id, 1, &report(boot, sequence, &[told, reported])).await
        ));
        assert_eq!(kept(&scene, id).await.instances.len(), 2);
    }
    // Also for a tombstone; and nothing is learnt of ids that were never its own.
    scene.sql("delete from account_tool_environments").await;
    assert!(recorded(
        beat(&scene, id, 1, &report(boot, 4, &[told, reported, InstanceId::random()])).await
    ));
    assert_eq!(kept(&scene, id).await.instances.len(), 2);
    assert_eq!(scene.controller.agent_epoch(id).await.unwrap(), Some(1));
    assert_eq!(scene.controller.agent_epoch(EnvironmentId::random()).await.unwrap(), None);
}

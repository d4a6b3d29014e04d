//! Ports on record, and the sets that may not be stored behind them.

use crate::support::Scene;
use model::{
    ConditionStatus, DesiredInstance, DesiredSet, EnvironmentId, InstanceId, RecordedFirewall, Stamp,
    container::ContainerDefaults, desired::RunState,
};
use schema::{Fence, FirewallState, Written};
use std::collections::BTreeSet;

const PORT: u16 = 31_000;

fn ports(ports: &[u16]) -> BTreeSet<u16> {
    ports.iter().copied().collect()
}

fn tool(instance_id: InstanceId, run: RunState) -> DesiredInstance {
    DesiredInstance {
        instance_id,
        generation: 1,
        run,
        version: "1".to_owned(),
        port: PORT,
        container: ContainerDefaults::default().into_spec("acme/echo:1".to_owned()),
    }
}

/// An environment with one tool that is told to run.
struct Told {
    scene: Scene,
    id: EnvironmentId,
    fence: Fence,
    instance: InstanceId,
}

impl Told {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let id = scene.environment().await;
        let (fence, instance) = (scene.fence(id).await, InstanceId::random());
        let told = Self {
            scene,
            id,
            fence,
            instance,
        };
        let stored = told.store(None, stamp(1, 1), &[tool(instance, RunState::Running)], &[]).await;
        assert_eq!(stored, Written::Done);
        told
    }

    async fn store(&self, expected: Option<Stamp>, stamp: Stamp, instances: &[DesiredInstance], left_open: &[u16]) -> Written {
        let set = DesiredSet {
            environment_id: self.id,
            stamp,
            instances: instances.to_vec(),
        };
        let left_open = ports(left_open);
        let stored = self
            .scene
            .controller
            .desired_set_store(&self.fence, self.id, expected, &set, &left_open);
        stored.await.unwrap()
    }

    async fn announce(&self, epoch: i64, told: Stamp, open: &[u16]) -> Written {
        let open = ports(open);
        let announced = self
            .scene
            .controller
            .firewall_announce(&self.fence, self.id, epoch, Some(told), &open);
        announced.await.unwrap()
    }

    async fn settle(&self, epoch: i64, open: &[u16]) {
        let settled = self
            .scene
            .controller
            .firewall_settle(&self.fence, self.id, Some("fw"), epoch, &ports(open))
            .await;
        assert_eq!(settled.unwrap(), Written::Done);
    }

    async fn ask(&self, close: &[u16]) {
        let asked = self
            .scene
            .controller
            .firewall_close(&self.fence, self.id, &ports(close))
            .await;
        assert_eq!(asked.unwrap(), Written::Done);
    }

    async fn firewall(&self) -> Option<RecordedFirewall> {
        let record = self.scene.controller.record_get(self.id).await.unwrap().unwrap();
        record.firewall.map(|firewall| *firewall)
    }
}

fn stamp(epoch: i64, generation: i64) -> Stamp {
    Stamp { epoch, generation }
}

#[tokio::test]
async fn a_port_goes_on_record_only_by_the_current_set() {
    let told = Told::new().await;
    assert_eq!(told.announce(1, stamp(1, 0), &[PORT]).await, Written::Stale);
    assert_eq!(told.firewall().await, None);
    assert_eq!(told.announce(1, stamp(1, 1), &[PORT]).await, Written::Done);
    assert_eq!(told.announce(1, stamp(1, 1), &[31_001]).await, Written::Done);
    let firewall = told.firewall().await.unwrap();
    assert_eq!(
        (firewall.id, firewall.ports),
        (None, ports(&[PORT, 31_001])),
        "what may be open stays on record"
    );
    told.settle(1, &[PORT]).await;
    let firewall = told.firewall().await.unwrap();
    assert_eq!((firewall.id.as_deref(), firewall.ports), (Some("fw"), ports(&[PORT])));
}

#[tokio::test]
async fn no_tool_is_changed_behind_a_port_that_may_be_open() {
    let told = Told::new().await;
    assert_eq!(told.announce(1, stamp(1, 1), &[PORT]).await, Written::Done);
    let running = tool(told.instance, RunState::Running);
    let changed = DesiredInstance {
        version: "2".to_owned(),
        generation: 2,
        ..running.clone()
    };
    let another = tool(InstanceId::random(), RunState::Running);
    for behind in [
        vec![tool(told.instance, RunState::Stopped)],
        Vec::new(),
        vec![changed],
        vec![another.clone()],
    ] {
        assert_eq!(
            told.store(Some(stamp(1, 1)), stamp(1, 2), &behind, &[]).await,
            Written::Stale,
            "{behind:?}"
        );
        assert_eq!(
            told.store(Some(stamp(1, 1)), stamp(1, 2), &behind, &[PORT]).await,
            Written::Stale,
            "nobody asked"
        );
    }
    let beside = DesiredInstance { port: 31_005, ..another };
    assert_eq!(
        told.store(Some(stamp(1, 1)), stamp(1, 2), &[running, beside], &[]).await,
        Written::Done
    );
    told.settle(1, &[]).await;
    assert_eq!(told.store(Some(stamp(1, 2)), stamp(1, 3), &[], &[]).await, Written::Done);
}

#[tokio::test]
async fn a_port_that_was_asked_to_close_is_not_opened_and_may_be_given_up() {
    let told = Told::new().await;
    assert_eq!(told.announce(1, stamp(1, 1), &[31_001]).await, Written::Done);
    told.ask(&[PORT, 31_001]).await;
    let asked = told.firewall().await.unwrap().closing;
    assert_eq!(asked.keys().copied().collect::<BTreeSet<u16>>(), ports(&[PORT, 31_001]));
    assert_eq!(told.announce(1, stamp(1, 1), &[PORT]).await, Written::Stale);
    told.ask(&[31_001]).await;
    assert_eq!(
        told.firewall().await.unwrap().closing.get(&31_001),
        asked.get(&31_001),
        "its time stays"
    );
    assert_eq!(told.announce(1, stamp(1, 1), &[PORT]).await, Written::Done);
    told.ask(&[PORT]).await;
    assert_eq!(told.store(Some(stamp(1, 1)), stamp(1, 2), &[], &[PORT]).await, Written::Done);
    assert!(told.firewall().await.unwrap().ports.contains(&PORT), "it may still be open");
}

#[tokio::test]
async fn another_droplet_begins_closed() {
    let told = Told::new().await;
    assert_eq!(told.announce(1, stamp(1, 1), &[PORT]).await, Written::Done);
    told.ask(&[PORT]).await;
    let stopped = tool(told.instance, RunState::Stopped);
    assert_eq!(
        told.store(Some(stamp(1, 1)), stamp(2, 2), &[stopped], &[]).await,
        Written::Done
    );
    assert_eq!(told.announce(2, stamp(2, 2), &[31_002]).await, Written::Done);
    let firewall = told.firewall().await.unwrap();
    assert_eq!(
        (firewall.epoch, firewall.ports, firewall.closing.len()),
        (2, ports(&[31_002]), 0)
    );
}

#[tokio::test]
async fn a_firewall_is_written_before_it_is_made_and_holds_the_tombstone_until_it_is_gone() {
    let told = Told::new().await;
    let (controller, id) = (&told.scene.controller, told.id);
    let stranger = EnvironmentId::random();
    let fence = told.scene.fence(stranger).await;
    let announced = controller
        .firewall_announce(&fence, stranger, 1, None, &ports(&[]))
        .await
        .unwrap();
    assert_eq!(announced, Written::Stale, "there is no such environment");

    let fence = told.scene.fence(id).await;
    told.scene.record_droplet(id, 17).await;
    let fence_again = told.scene.fence(id).await;
    assert_eq!(
        controller
            .firewall_announce(&fence_again, id, 1, None, &ports(&[]))
            .await
            .unwrap(),
        Written::Done
    );
    let state = FirewallState {
        state: ConditionStatus::True,
        reason: "InForce".into(),
        message: String::new(),
    };
    controller.firewall_state_write(&fence_again, id, &state).await.unwrap();
    assert_eq!(told.firewall().await.unwrap().reason, "InForce");
    assert!(
        controller.firewall_forget(&fence, id).await.is_err(),
        "an old lease writes nothing"
    );

    told.scene.sql("delete from account_tool_environments").await;
    controller.tombstone_droplet_gone(&fence_again, id).await.unwrap();
    controller.tombstone_finish(&fence_again, id).await.unwrap();
    assert!(
        controller.record_get(id).await.unwrap().is_some(),
        "its firewall is still there"
    );
    controller.firewall_forget(&fence_again, id).await.unwrap();
    controller.tombstone_finish(&fence_again, id).await.unwrap();
    assert_eq!(controller.record_get(id).await.unwrap(), None);
}

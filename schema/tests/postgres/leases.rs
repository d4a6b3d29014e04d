//! Who works on what.

use crate::support::Scene;
use schema::{Fence, LeaseConfig, LeaseKeeper};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bounds a hang.
const PATIENCE: Duration = Duration::from_secs(30);

struct Replica {
    keeper: LeaseKeeper,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(scene: &Scene, name: &str, ttl: Duration) -> Self {
        let config = LeaseConfig {
            ttl,
            name: name.to_owned(),
        };
        let keeper = LeaseKeeper::new(scene.controller.clone(), config);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(keeper.clone().run(shutdown.clone()));
        Self { keeper, shutdown, task }
    }

    async fn owns(&self, count: usize) {
        let mut owned = self.keeper.watch();
        tokio::time::timeout(PATIENCE, owned.wait_for(|owned| owned.len() == count))
            .await
            .unwrap()
            .unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

fn fences(keeper: &LeaseKeeper) -> Vec<Fence> {
    keeper.owned().into_iter().map(|shard| keeper.fence(shard).unwrap()).collect()
}

#[tokio::test]
async fn one_replica_gets_every_shard_and_gives_all_back() {
    let scene = Scene::new().await;
    let one = Replica::start(&scene, "one", Duration::from_mins(1));
    one.owns(64).await;
    assert!(fences(&one.keeper).iter().all(|fence| fence.epoch == 1));
    assert_eq!(scene.read("select distinct holder_name from leases").await, ["one"]);
    let keeper = one.keeper.clone();
    one.stop().await;
    assert_eq!((keeper.owned(), keeper.fence(0)), (Vec::new(), None));
    assert_eq!(
        scene.read("select count(*)::text from leases where expires_at > now()").await,
        ["0"]
    );
}

#[tokio::test]
async fn two_replicas_never_hold_one_shard_and_the_second_takes_over_at_shutdown() {
    let scene = Scene::new().await;
    let ttl = Duration::from_millis(600);
    let one = Replica::start(&scene, "one", ttl);
    one.owns(64).await;
    let two = Replica::start(&scene, "two", ttl);
    // Long enough for both to renew several times.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let both = [one.keeper.owned(), two.keeper.owned()].concat();
        assert_eq!(both.len(), 64);
    }
    let epoch = one.keeper.fence(5).unwrap().epoch;
    one.stop().await;
    two.owns(64).await;
    assert_eq!(two.keeper.fence(5).unwrap().epoch, epoch + 1);
    two.stop().await;
}

/// A replica that was stopped for longer than its lease: what it still believes is refused by the database.
#[tokio::test]
async fn an_expired_lease_is_taken_over_and_fences_its_former_holder() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let one = Replica::start(&scene, "one", Duration::from_hours(1));
    one.owns(64).await;
    let stale = one.keeper.fence(id.shard()).unwrap();
    let row = scene.row(id).await;
    let write = async |fence: &Fence| {
        scene
            .controller
            .environment_status_write(fence, id, row.generation, &row.status)
            .await
    };
    assert_eq!(write(&stale).await.unwrap(), schema::Written::Done);

    // Expired, and nobody has it yet: refused all the same.
    scene.sql("update leases set expires_at = clock_timestamp()").await;
    let error = write(&stale).await.unwrap_err();
    assert!(matches!(error, schema::Error::Fenced { .. }), "{error}");

    let two = Replica::start(&scene, "two", Duration::from_hours(1));
    two.owns(64).await;
    let fresh = two.keeper.fence(id.shard()).unwrap();
    assert_eq!(fresh.epoch, stale.epoch + 1);
    let error = write(&stale).await.unwrap_err();
    assert!(matches!(error, schema::Error::Fenced { .. }), "{error}");
    assert_eq!(write(&fresh).await.unwrap(), schema::Written::Done);
    assert_eq!(
        one.keeper.fence(id.shard()),
        Some(stale),
        "it does not know yet, and it does not matter"
    );
    two.stop().await;
}

#[tokio::test]
async fn a_holder_that_lost_its_leases_notices() {
    let scene = Scene::new().await;
    let one = Replica::start(&scene, "one", Duration::from_millis(600));
    one.owns(64).await;
    // Another replica's, from now on.
    scene
        .sql("update leases set holder = gen_random_uuid(), epoch = epoch + 1, expires_at = now() + interval '1 hour' where shard < 60")
        .await;
    one.owns(4).await;
    assert_eq!(one.keeper.owned(), [60, 61, 62, 63]);
    assert_eq!(one.keeper.fence(0), None);
    one.stop().await;
}

/// The holder judges by its own clock when it cannot ask, from before it asked last; so it stops before others start.
#[tokio::test]
async fn without_the_database_leases_end_when_they_would_have_expired() {
    let scene = Scene::new().await;
    let one = Replica::start(&scene, "one", Duration::from_millis(900));
    one.owns(64).await;
    scene.controller.close().await;
    one.owns(0).await;
    assert_eq!(one.keeper.fence(0), None);
    one.shutdown.cancel();
    one.task.await.unwrap();
}

/// A takeover waits for the write under way, and the write that comes after it is refused.
#[tokio::test]
async fn a_takeover_does_not_overtake_a_write() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let shard = id.shard();
    // A write that has proved its lease and has not committed yet.
    let mut writing = scene.admin.begin().await.unwrap();
    sqlx::query(
        "select 1 from leases where shard = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp() for key share",
    )
    .bind(i16::try_from(shard).unwrap())
    .bind(fence.holder)
    .bind(fence.epoch)
    .fetch_one(&mut *writing)
    .await
    .unwrap();
    scene.sql("update leases set expires_at = clock_timestamp()").await; // a renewal is not held up
    let two = Replica::start(&scene, "two", Duration::from_millis(900));
    two.owns(63).await;
    assert!(!two.keeper.owned().contains(&shard));
    writing.commit().await.unwrap();
    two.owns(64).await;
    two.stop().await;
}

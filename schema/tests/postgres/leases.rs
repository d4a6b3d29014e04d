//! Who works on what.

use crate::support::Scene;
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, SharedClock};
use schema::{Fence, LeaseConfig, LeaseKeeper};
use std::time::Duration;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// Bounds a hang.
const PATIENCE: Duration = Duration::from_secs(30);

struct Replica {
    keeper: LeaseKeeper,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn config(ttl: Duration, name: &str) -> LeaseConfig {
    LeaseConfig {
        ttl,
        name: name.to_owned(),
    }
}

impl Replica {
    fn start(scene: &Scene, name: &str, ttl: Duration) -> Self {
        let keeper = LeaseKeeper::new(scene.controller.clone(), config(ttl, name));
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

/// What a replica decides by the time of day does not depend on its machine's: its clock is the database's.
#[tokio::test]
async fn the_time_is_learnt_with_the_leases() {
    let scene = Scene::new().await;
    let (before, now) = (Timestamp::now(), Instant::now());
    let behind = |clock: &SharedClock| {
        clock.learn(now, before - SignedDuration::from_hours(1), now);
        assert!(clock.now() < before);
    };
    let holds = Replica::start(&scene, "slow", Duration::from_mins(1));
    behind(holds.keeper.clock());
    holds.owns(64).await;
    assert!(holds.keeper.clock().now() >= before);
    let looks = LeaseKeeper::new(scene.controller.clone(), config(Duration::from_mins(1), "looks"));
    behind(looks.clock());
    looks.learn_the_time().await.unwrap();
    assert!(looks.clock().now() >= before);
    holds.stop().await;
}

/// Waits until so many shards are worked on by one of these, so many by the next, and so on, whichever it is.
async fn shares(replicas: &[&Replica], expected: &[usize]) {
    let owned = || {
        let mut owned: Vec<usize> = replicas.iter().map(|replica| replica.keeper.owned().len()).collect();
        owned.sort_unstable_by(|one, other| other.cmp(one));
        owned
    };
    let look = async {
        while owned() != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, look).await.is_ok();
    assert!(in_time, "{:?} instead of {expected:?}", owned());
}

/// No shard is worked on by two of them at this moment.
fn apart(replicas: &[&Replica]) {
    let mut all: Vec<u16> = replicas.iter().flat_map(|replica| replica.keeper.owned()).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a shard is worked on twice");
}

#[tokio::test]
async fn replicas_that_come_and_go_share_all_shards_equally() {
    let scene = Scene::new().await;
    let ttl = Duration::from_millis(900);
    let one = Replica::start(&scene, "one", ttl);
    one.owns(64).await;
    let two = Replica::start(&scene, "two", ttl);
    shares(&[&one, &two], &[32, 32]).await;
    let three = Replica::start(&scene, "three", ttl);
    let four = Replica::start(&scene, "four", ttl);
    let five = Replica::start(&scene, "five", ttl);
    let all = [&one, &two, &three, &four, &five];
    shares(&all, &[13, 13, 13, 13, 12]).await;
    // Long enough for all to renew several times: nothing moves any more.
    let owned: Vec<Vec<u16>> = all.iter().map(|replica| replica.keeper.owned()).collect();
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        apart(&all);
    }
    assert_eq!(owned, all.map(|replica| replica.keeper.owned()));
    assert_eq!(*four.keeper.replicas().borrow(), 5);
    assert_eq!(scene.read("select count(*)::text from replicas").await, ["5"]);

    let epoch = one.keeper.fence(0).unwrap().epoch;
    one.stop().await;
    shares(&[&two, &three, &four, &five], &[16; 4]).await;
    let next = [&two, &three, &four, &five]
        .into_iter()
        .find_map(|replica| replica.keeper.fence(0));
    assert_eq!(next.unwrap().epoch, epoch + 1);
    // Killed: nobody is told, and its leases have to expire.
    two.task.abort();
    shares(&[&three, &four, &five], &[22, 21, 21]).await;
    assert_eq!(
        scene.read("select string_agg(name, ' ' order by name) from replicas").await,
        ["five four three"]
    );
    for replica in [three, four, five] {
        replica.stop().await;
    }
    assert_eq!(scene.read("select count(*)::text from replicas").await, ["0"]);
}

/// There are more replicas than shards for a while: some have nothing to do, and nobody has more than one.
#[tokio::test]
async fn seventy_replicas_hold_one_shard_each_or_none() {
    let scene = Scene::new().await;
    let replicas: Vec<Replica> = (0..70)
        .map(|n| Replica::start(&scene, &n.to_string(), Duration::from_secs(3)))
        .collect();
    let all: Vec<&Replica> = replicas.iter().collect();
    let look = async {
        while all.iter().map(|replica| replica.keeper.owned().len()).sum::<usize>() < 64
            || all.iter().any(|replica| replica.keeper.owned().len() > 1)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
    apart(&all);
}

#[tokio::test]
async fn a_shard_is_not_handed_over_while_a_pass_acts_on_it() {
    let scene = Scene::new().await;
    let ttl = Duration::from_secs(3);
    let one = Replica::start(&scene, "one", ttl);
    one.owns(64).await;
    let acts = one.keeper.hold(63).unwrap();
    let two = Replica::start(&scene, "two", ttl);
    shares(&[&one, &two], &[32, 31]).await;
    assert!(
        one.keeper.hold(63).is_none(),
        "no pass begins on a shard that is being given up"
    );
    let fence = one.keeper.fence(63).unwrap();
    assert_eq!(
        scene.read("select holder_name from leases where shard = 63").await,
        ["one"],
        "the pass can still write under {fence:?}"
    );
    drop(acts);
    shares(&[&one, &two], &[32, 32]).await;
    assert_eq!(two.keeper.fence(63).unwrap().epoch, fence.epoch + 1);
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

    // It has not been seen for as long.
    scene.sql("update replicas set expires_at = clock_timestamp()").await;
    let two = Replica::start(&scene, "two", Duration::from_hours(1));
    two.owns(64).await;
    let fresh = two.keeper.fence(id.shard()).unwrap();
    assert_eq!(fresh.epoch, stale.epoch + 1);
    let error = write(&stale).await.unwrap_err();
    assert!(matches!(error, schema::Error::Fenced { .. }), "{error}");
    assert_eq!(write(&fresh).await.unwrap(), schema::Written::Done);
    let refused = format!("select refused_writes::text from leases where shard = {}", id.shard());
    assert_eq!(scene.read(refused).await, ["2"], "refusals are counted");
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

/// A process that stops in the middle of a transaction, and is neither ended nor cut off: it would keep others from its shard for as
/// long as it likes.
#[tokio::test]
async fn who_stops_in_the_middle_of_a_write_does_not_hold_up_the_takeover() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let row = scene.row(id).await;
    scene
        .sql(format!(
            "update leases set expires_at = clock_timestamp() + interval '2 seconds' where shard = {}",
            fence.shard
        ))
        .await;
    let announce = scene
        .controller
        .intent_announce(&fence, &row, model::IntentKind::Create, Duration::from_mins(1));
    tokio::pin!(announce);
    let in_the_middle = "select count(*)::text from pg_stat_activity
        where state = 'idle in transaction' and query like '%idle_in_transaction_session_timeout%' and pid <> pg_backend_pid()";
    // One step at a time, until it has the lock and has sent nothing more; and then it is never asked to go on.
    while scene.read(in_the_middle).await != ["1"] {
        assert!(futures::poll!(announce.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let two = Replica::start(&scene, "two", Duration::from_millis(900));
    two.owns(64).await;
    assert!(announce.await.is_err(), "the transaction is gone");
}

/// Not even one that outlasts all patience: a write commits under a lease that is held, or not at all.
#[tokio::test]
async fn a_shard_is_not_given_back_while_something_is_written_under_its_lease() {
    let scene = Scene::new().await;
    let one = Replica::start(&scene, "one", Duration::from_millis(900));
    one.owns(64).await;
    let fence = one.keeper.fence(63).unwrap();
    let mut writing = scene.admin.begin().await.unwrap();
    sqlx::query("select 1 from leases where shard = 63 and holder = $1 for key share")
        .bind(fence.holder)
        .fetch_one(&mut *writing)
        .await
        .unwrap();
    let two = Replica::start(&scene, "two", Duration::from_millis(900));
    shares(&[&one, &two], &[32, 31]).await;
    // Several renewals later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.read("select holder_name from leases where shard = 63").await, ["one"]);
    writing.commit().await.unwrap();
    shares(&[&one, &two], &[32, 32]).await;
}

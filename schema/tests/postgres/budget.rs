//! How many requests replicas may send together.

use crate::support::Scene;
use schema::{Database, RequestAsk, RequestGrant, RequestLengths};
use std::time::Duration;
use uuid::Uuid;

const LENGTHS: RequestLengths = RequestLengths {
    minute: Duration::from_mins(1),
    hour: Duration::from_hours(1),
};

/// Deletes, creates, changes, reads.
fn ask(wanted: [i32; 4]) -> RequestAsk {
    RequestAsk {
        wanted: wanted.to_vec(),
        minute_ceilings: vec![250, 245, 240, 225],
        hour_ceilings: vec![5_000, 4_950, 4_900, 4_500],
        lasts: Duration::from_secs(3),
        under_way: Duration::from_secs(3),
        lengths: LENGTHS,
    }
}

async fn take(database: &Database, wanted: [i32; 4]) -> RequestGrant {
    database.requests_take(Uuid::new_v4(), &ask(wanted)).await.unwrap()
}

fn granted(grant: RequestGrant) -> (i64, u32) {
    match grant {
        RequestGrant::Block { id, requests } => (id, requests),
        RequestGrant::Later(after) => panic!("nothing before {after:?}"),
    }
}

fn later(grant: RequestGrant) -> Duration {
    match grant {
        RequestGrant::Later(after) => after,
        RequestGrant::Block { requests, .. } => panic!("{requests} were granted"),
    }
}

/// Thirty at once over ten connections: each sees what those before it took.
#[tokio::test]
async fn replicas_that_ask_at_once_are_never_granted_more_than_the_limit() {
    let scene = Scene::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let database = scene.controller.clone();
        tasks.spawn(async move { take(&database, [20, 0, 0, 0]).await });
    }
    let grants = tasks.join_all().await;
    let sum: u32 = grants
        .iter()
        .map(|grant| match grant {
            RequestGrant::Block { requests, .. } => *requests,
            RequestGrant::Later(_) => 0,
        })
        .sum();
    assert_eq!(sum, 250);
}

#[tokio::test]
async fn something_is_left_for_what_goes_before() {
    let scene = Scene::new().await;
    let database = &scene.controller;
    assert_eq!(granted(take(database, [0, 0, 0, 1_000]).await).1, 225);
    later(take(database, [0, 0, 0, 1]).await);
    assert_eq!(granted(take(database, [0, 0, 1_000, 1_000]).await).1, 15);
    later(take(database, [0, 0, 1, 0]).await);
    assert_eq!(granted(take(database, [0, 1_000, 0, 0]).await).1, 5);
    assert_eq!(granted(take(database, [1_000, 0, 0, 0]).await).1, 5);
    later(take(database, [1, 0, 0, 0]).await);
}

#[tokio::test]
async fn what_was_not_sent_is_free_again_and_what_was_counts_from_its_answer() {
    let scene = Scene::new().await;
    let database = &scene.controller;
    let (whole, _) = granted(take(database, [200, 0, 0, 0]).await);
    let (none, _) = granted(take(database, [50, 0, 0, 0]).await);
    assert!(
        later(take(database, [1, 0, 0, 0]).await) <= Duration::from_secs(3),
        "something may be given back by then"
    );
    database.requests_settle(&[(whole, 190), (none, 0)], LENGTHS).await.unwrap();
    assert_eq!(granted(take(database, [100, 0, 0, 0]).await).1, 60);
    scene.sql("update request_grants set settled = true").await;
    let after = later(take(database, [1, 0, 0, 0]).await);
    assert!(
        after > Duration::from_secs(50) && after <= Duration::from_mins(1),
        "{after:?}"
    );
    // A minute later they count against the hour only.
    scene.sql("update request_grants set minute_until = clock_timestamp()").await;
    assert_eq!(granted(take(database, [0, 0, 0, 1_000]).await).1, 225);
    scene
        .sql("update request_grants set minute_until = clock_timestamp(), requests = 1660, settled = true")
        .await;
    later(take(database, [0, 0, 0, 1]).await);
    assert_eq!(granted(take(database, [1_000, 0, 0, 0]).await).1, 20, "of the hour");
    scene
        .sql("update request_grants set minute_until = clock_timestamp(), hour_until = clock_timestamp()")
        .await;
    assert_eq!(granted(take(database, [0, 0, 0, 1_000]).await).1, 225);
    assert_eq!(
        scene.read("select count(*)::text from request_grants").await,
        ["1"],
        "no more than an hour is kept"
    );
}

/// Reads need more to come back than a delete does, and are told so.
#[tokio::test]
async fn who_asks_is_told_when_enough_of_it_comes_back() {
    let scene = Scene::new().await;
    let database = &scene.controller;
    for seconds in [10, 20, 30] {
        let (block, requests) = granted(take(database, [80, 0, 0, 0]).await);
        database.requests_settle(&[(block, requests)], LENGTHS).await.unwrap();
        scene
            .sql(format!(
                "update request_grants set minute_until = clock_timestamp() + interval '{seconds} seconds' where id = {block}"
            ))
            .await;
    }
    let (last, _) = granted(take(database, [10, 0, 0, 0]).await);
    database.requests_settle(&[(last, 10)], LENGTHS).await.unwrap();
    let about = |after: Duration, seconds: u64| after.as_secs() + 2 > seconds && after.as_secs() <= seconds;
    let after = later(take(database, [1, 0, 0, 0]).await);
    assert!(about(after, 10), "{after:?}");
    let mut picky = ask([0, 0, 0, 1]);
    picky.minute_ceilings[3] = 100;
    let after = later(database.requests_take(Uuid::new_v4(), &picky).await.unwrap());
    assert!(about(after, 20), "{after:?}");
}

#[tokio::test]
async fn after_a_429_nobody_is_granted_anything() {
    let scene = Scene::new().await;
    scene.controller.requests_block(Duration::from_secs(40)).await.unwrap();
    scene.controller.requests_block(Duration::from_secs(1)).await.unwrap();
    let after = later(take(&scene.controller, [1, 0, 0, 0]).await);
    assert!(after > Duration::from_secs(30), "{after:?}");
}

/// Who only wants to know is told what each priority would have to wait, and takes nothing.
#[tokio::test]
async fn the_wait_is_told_to_who_takes_nothing() {
    let scene = Scene::new().await;
    let asked = ask([0; 4]);
    let wait = async || {
        let waits = scene.controller.requests_wait(&asked.minute_ceilings, &asked.hour_ceilings);
        waits.await.unwrap()
    };
    assert_eq!(wait().await, [Duration::ZERO; 4]);
    let (block, requests) = granted(take(&scene.controller, [0, 0, 0, 225]).await);
    assert_eq!(requests, 225);
    let waits = wait().await;
    assert_eq!(waits[..3], [Duration::ZERO; 3]);
    // What is not sent comes back after three seconds.
    assert!(waits[3] > Duration::ZERO && waits[3] <= Duration::from_secs(3), "{waits:?}");
    scene.controller.requests_settle(&[(block, 225)], LENGTHS).await.unwrap();
    let waits = wait().await;
    assert!(waits[3] > Duration::from_secs(50), "{waits:?}");
    assert_eq!(wait().await[..3], [Duration::ZERO; 3], "nothing was taken");
    scene.controller.requests_block(Duration::from_secs(30)).await.unwrap();
    assert!(wait().await[0] > Duration::from_secs(25));
}

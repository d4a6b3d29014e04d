//! Statuses of many environments, written by one statement: what counts for each is its own lease and its own generation.

use crate::{status, support::Scene};
use effects::{Effect, Effects, Moment, Witness};
use futures::{FutureExt, future::BoxFuture, future::join_all, poll};
use model::{EnvironmentId, EnvironmentStatus};
use schema::{ConnectOptions, Database, Error, Fence, Role, Written};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// Without a droplet, which belongs to one environment only.
fn environment_status() -> EnvironmentStatus {
    EnvironmentStatus {
        droplet_id: None,
        ..status::environment_status()
    }
}

/// Counts the statements that write statuses, and lets none begin before it is opened.
struct Gate {
    open: watch::Sender<bool>,
    statements: AtomicUsize,
}

impl Witness for Gate {
    fn moment(&self, effect: Effect, moment: Moment<'_>) -> BoxFuture<'static, ()> {
        if effect.name != "environment_status_write" || !matches!(moment, Moment::Before) {
            return std::future::ready(()).boxed();
        }
        self.statements.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.subscribe();
        async move {
            open.wait_for(|open| *open).await.unwrap();
        }
        .boxed()
    }
}

/// A controller whose statements wait at the gate.
async fn gated(scene: &Scene) -> (Database, Arc<Gate>) {
    let gate = Arc::new(Gate {
        open: watch::Sender::new(false),
        statements: AtomicUsize::new(0),
    });
    let options = ConnectOptions {
        effects: Effects::witnessed(gate.clone()),
        ..ConnectOptions::new(scene.url.as_str().into(), Some(Role::Controller))
    };
    (Database::connect(&options).await.unwrap(), gate)
}

/// Of different shards, so that each has a lease of its own.
async fn environments(scene: &Scene, count: usize) -> Vec<(EnvironmentId, Fence)> {
    let mut environments: Vec<(EnvironmentId, Fence)> = Vec::new();
    while environments.len() < count {
        let id = scene.environment().await;
        if environments.iter().all(|(other, _)| other.shard() != id.shard()) {
            environments.push((id, scene.fence(id).await));
        }
    }
    environments
}

/// Writes all of these at the same time.
async fn together(database: &Database, gate: &Gate, writes: &[(EnvironmentId, Fence, i64)]) -> Vec<Result<Written, Error>> {
    let status = environment_status();
    let writing = join_all(
        writes
            .iter()
            .map(|(id, fence, generation)| database.environment_status_write(fence, *id, *generation, &status)),
    );
    let open = async {
        // Polled after all of them, which have their places by then.
        tokio::task::yield_now().await;
        gate.open.send_replace(true);
    };
    tokio::join!(biased; writing, open).0
}

#[tokio::test]
async fn each_row_counts_for_itself() {
    let scene = Scene::new().await;
    let known = environments(&scene, 9).await;
    let (database, gate) = gated(&scene).await;
    let mut writes: Vec<_> = known.iter().map(|(id, fence)| (*id, *fence, 1)).collect();
    let (stale, outdated, stranger, expired) = (3, 4, 5, 6);
    writes[stale].2 = 2;
    writes[outdated].1.epoch -= 1;
    writes[stranger].1.holder = Uuid::new_v4();
    scene
        .sql(format!(
            "update leases set expires_at = clock_timestamp() where shard = {}",
            writes[expired].1.shard
        ))
        .await;

    let outcomes = together(&database, &gate, &writes).await;
    for (number, (outcome, (id, ..))) in outcomes.iter().zip(&writes).enumerate() {
        let seen = scene.row(*id).await.status == environment_status();
        match outcome {
            Ok(Written::Done) => assert!(seen && ![stale, outdated, stranger, expired].contains(&number), "{number}"),
            Ok(Written::Stale) => assert!(!seen && number == stale, "{number}"),
            Err(Error::Fenced { .. }) => assert!(!seen && [outdated, stranger, expired].contains(&number), "{number}"),
            Err(error) => panic!("{number}: {error}"),
        }
    }
    let refused = scene.read("select sum(refused_writes)::text from leases").await;
    assert_eq!(refused, ["3"]);
    // All together, and the four that were not written alone once more.
    assert_eq!(gate.statements.load(Ordering::SeqCst), 1 + 4);
}

#[tokio::test]
async fn nobody_waits_for_a_row_that_somebody_else_has_locked_but_its_own_pass() {
    let scene = Scene::new().await;
    let known = environments(&scene, 6).await;
    let (database, gate) = gated(&scene).await;
    let locked = known[4].0;
    let mut user = scene.admin.begin().await.unwrap();
    sqlx::query("update account_tool_environments set paused = true where id = $1")
        .bind(locked.0)
        .execute(&mut *user)
        .await
        .unwrap();

    let writes: Vec<_> = known.iter().map(|(id, fence)| (*id, *fence, 1)).collect();
    let writing = together(&database, &gate, &writes);
    let others = async {
        for (id, _) in known.iter().filter(|(id, _)| *id != locked) {
            while scene.row(*id).await.status != environment_status() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // The specification has moved on, which the pass of this row hears.
        user.commit().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(writing, others);
    for (outcome, (id, _)) in outcomes.into_iter().zip(&known) {
        let expected = if *id == locked { Written::Stale } else { Written::Done };
        assert_eq!(outcome.unwrap(), expected);
    }
    // All together, all but the locked one together, and that one alone.
    assert_eq!(gate.statements.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_comes_while_two_statements_are_under_way_goes_with_the_next() {
    let scene = Scene::new().await;
    let known = environments(&scene, 6).await;
    let (database, gate) = gated(&scene).await;
    let status = environment_status();
    let write = |number: usize| {
        let (id, fence) = &known[number];
        Box::pin(database.environment_status_write(fence, *id, 1, &status))
    };
    let mut first = [write(0), write(1)];
    for (number, write) in first.iter_mut().enumerate() {
        while gate.statements.load(Ordering::SeqCst) == number {
            assert!(poll!(write.as_mut()).is_pending());
        }
    }
    let (mut rest, mut given_up) = (Box::pin(join_all([write(2), write(3), write(4)])), write(5));
    for _ in 0..3 {
        assert!(poll!(rest.as_mut()).is_pending() && poll!(given_up.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(
        gate.statements.load(Ordering::SeqCst),
        2,
        "they wait for one of those that are under way"
    );
    drop(given_up);
    gate.open.send_replace(true);
    let (first, rest) = tokio::join!(join_all(first), rest);
    for outcome in rest.into_iter().chain(first) {
        assert_eq!(outcome.unwrap(), Written::Done);
    }
    assert_eq!(gate.statements.load(Ordering::SeqCst), 3);
    assert_ne!(scene.row(known[5].0).await.status, status, "nobody waits for it any more");
}

#[tokio::test]
async fn who_waits_alone_for_a_locked_row_keeps_nobody_from_a_turn() {
    let scene = Scene::new().await;
    let known = environments(&scene, 3).await;
    let status = environment_status();
    let database = &scene.controller;
    let write = |(id, fence): &(EnvironmentId, Fence)| {
        let (id, fence, status) = (*id, *fence, &status);
        async move { database.environment_status_write(&fence, id, 1, status).await }
    };
    // As many as there are turns.
    let (locked, free) = (&known[..2], &known[2]);
    let mut user = scene.admin.begin().await.unwrap();
    for (id, _) in locked {
        sqlx::query("select from account_tool_environments where id = $1 for update")
            .bind(id.0)
            .execute(&mut *user)
            .await
            .unwrap();
    }
    let mut wait = Box::pin(join_all(locked.iter().map(write)));
    let alone = tokio::time::sleep(Duration::from_millis(300));
    tokio::select! {
        _ = &mut wait => panic!("the rows are locked"),
        () = alone => {}
    }
    tokio::select! {
        _ = &mut wait => panic!("the rows are locked"),
        written = write(free) => assert_eq!(written.unwrap(), Written::Done),
    }
    user.rollback().await.unwrap();
    for outcome in wait.await {
        assert_eq!(outcome.unwrap(), Written::Done);
    }
}

#[tokio::test]
async fn a_pass_that_is_dropped_while_it_writes_for_others_costs_them_a_statement() {
    let scene = Scene::new().await;
    let known = environments(&scene, 3).await;
    let (database, gate) = gated(&scene).await;
    let status = environment_status();
    let write = |number: usize| {
        let (id, fence) = &known[number];
        Box::pin(database.environment_status_write(fence, *id, 1, &status))
    };
    let (mut first, mut rest) = (write(0), Box::pin(join_all([write(1), write(2)])));
    // The first has the turn, and the others have come before it takes what waits.
    assert!(poll!(first.as_mut()).is_pending() && poll!(rest.as_mut()).is_pending());
    tokio::task::yield_now().await;
    assert!(poll!(first.as_mut()).is_pending());
    assert_eq!(gate.statements.load(Ordering::SeqCst), 1, "it is at the gate, with all three");
    drop(first);
    gate.open.send_replace(true);
    for outcome in rest.await {
        assert_eq!(outcome.unwrap(), Written::Done);
    }
    assert_eq!(gate.statements.load(Ordering::SeqCst), 1 + 2);
    for number in [1, 2] {
        assert_eq!(scene.row(known[number].0).await.status, status);
    }
    assert_ne!(scene.row(known[0].0).await.status, status, "dropped before it began");
}

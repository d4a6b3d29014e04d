//! What reflectors read from.

use crate::support::{Scene, connect};
use futures::{StreamExt, TryStreamExt};
use model::{EnvironmentId, EnvironmentRecord, Subject};
use runtime::{Notification, Source};
use schema::{CatalogSource, LeaseConfig, LeaseKeeper, RecordSource, Records, Role};
use std::{collections::BTreeSet, pin::pin, time::Duration};
use tokio_util::sync::CancellationToken;

/// Bounds a hang.
const PATIENCE: Duration = Duration::from_secs(30);

async fn next<T>(stream: &mut (impl futures::Stream<Item = T> + Unpin)) -> Option<T> {
    tokio::time::timeout(PATIENCE, stream.next()).await.unwrap()
}

/// Which row was told of, with its content or without it.
fn told(notification: &Notification<EnvironmentId, EnvironmentRecord>) -> Option<EnvironmentId> {
    match notification {
        Notification::Changed(id) | Notification::Read(id, _) => Some(*id),
        Notification::Relist => None,
    }
}

/// Ordered by id, which the source does not promise.
async fn listed(source: &RecordSource) -> Vec<(EnvironmentId, EnvironmentRecord)> {
    let mut rows: Vec<_> = source.list().try_collect().await.unwrap();
    rows.sort_unstable_by_key(|(id, _)| *id);
    rows
}

#[tokio::test]
async fn a_list_is_every_row_and_tombstone_once() {
    let scene = Scene::new().await;
    let mut ids = BTreeSet::new();
    for number in 0..10 {
        let id = scene.environment().await;
        ids.insert(id);
        if number % 3 == 0 {
            scene.instance(id, "one").await;
            scene.instance(id, "two").await;
        }
        if number % 5 == 0 {
            scene.record_droplet(id, 100 + number).await;
            scene
                .sql(format!("delete from account_tool_environments where id = '{id}'"))
                .await;
        }
    }
    let source = RecordSource::new(scene.controller.clone(), Records::all());
    let rows = listed(&source).await;
    assert_eq!(
        rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        ids.iter().copied().collect::<Vec<_>>()
    );
    for (id, record) in &rows {
        assert_eq!(record.id(), *id);
        assert_eq!(scene.controller.record_get(*id).await.unwrap().as_ref(), Some(record));
    }
    assert_eq!(
        rows.iter()
            .filter(|(_, record)| matches!(record.subject, Subject::Tombstone(_)))
            .count(),
        2
    );
    let with_tools: Vec<usize> = rows
        .iter()
        .filter_map(|(_, record)| Some(record.tools.as_ref()?.instances.len()))
        .collect();
    assert_eq!(with_tools, [2, 2, 2], "and nothing is held for the others");

    // Fetched ones keep the order they were asked for in.
    let missing = EnvironmentId::random();
    let asked = vec![rows[3].0, missing, rows[1].0];
    let fetched = source.fetch(asked.clone()).await.unwrap();
    assert_eq!(fetched.iter().map(|(id, _)| *id).collect::<Vec<_>>(), asked);
    assert_eq!(fetched[0].1.as_ref(), Some(&rows[3].1));
    assert_eq!(fetched[1].1, None);
}

#[tokio::test]
async fn equal_slugs_are_held_once() {
    let scene = Scene::new().await;
    scene.environment().await;
    scene.environment().await;
    let source = RecordSource::new(scene.controller.clone(), Records::all());
    let specs: Vec<_> = listed(&source)
        .await
        .into_iter()
        .map(|(_, record)| match record.subject {
            Subject::Row(environment) => environment.spec,
            Subject::Tombstone(_) => panic!("a tombstone"),
        })
        .collect();
    assert!(std::ptr::eq(specs[0].region.as_str(), specs[1].region.as_str()));
}

#[tokio::test]
async fn listening_begins_with_relist_and_then_names_what_changes() {
    let scene = Scene::new().await;
    let source = RecordSource::new(scene.controller.clone(), Records::all());
    let catalog = CatalogSource::new(scene.controller.clone());
    let (mut rows, mut tools) = (pin!(source.listen()), pin!(catalog.listen()));
    assert_eq!(next(&mut rows).await.unwrap().unwrap(), Notification::Relist);
    assert_eq!(next(&mut tools).await.unwrap().unwrap(), Notification::Relist);
    let tool = scene.tool().await;
    let id = scene.environment().await;
    let record = scene.controller.record_get(id).await.unwrap();
    assert!(record.is_some());
    assert_eq!(next(&mut rows).await.unwrap().unwrap(), Notification::Read(id, record));
    assert_eq!(next(&mut tools).await.unwrap().unwrap(), Notification::Changed(tool));
    let entries: Vec<_> = catalog.list().try_collect().await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(catalog.fetch(vec![tool]).await.unwrap(), [(tool, Some(entries[0].1.clone()))]);
    let missing = model::CatalogId::random();
    assert_eq!(catalog.fetch(vec![missing]).await.unwrap(), [(missing, None)]);
}

#[tokio::test]
async fn a_lost_connection_ends_the_stream_with_an_error() {
    let scene = Scene::new().await;
    let source = RecordSource::new(scene.controller.clone(), Records::all());
    {
        let mut heard = pin!(source.listen());
        assert_eq!(next(&mut heard).await.unwrap().unwrap(), Notification::Relist);
        let ended = scene
            .read(
                "select pg_terminate_backend(pid)::text from pg_stat_activity
                where datname = current_database() and query ilike 'listen%'",
            )
            .await;
        assert_eq!(ended, ["true"]);
        assert!(next(&mut heard).await.unwrap().is_err());
    }
    // And the next call listens anew.
    let mut heard = pin!(source.listen());
    assert_eq!(next(&mut heard).await.unwrap().unwrap(), Notification::Relist);
    let id = scene.environment().await;
    assert_eq!(told(&next(&mut heard).await.unwrap().unwrap()), Some(id));
}

#[tokio::test]
async fn only_owned_shards_are_given_and_a_change_of_them_asks_for_a_full_read() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for _ in 0..24 {
        ids.push(scene.environment().await);
    }
    // Half of the shards are another's.
    scene
        .sql(
            "update leases set holder = gen_random_uuid(), epoch = 1, expires_at = now() + interval '1 hour' where shard % 2 = 0",
        )
        .await;
    let config = LeaseConfig {
        ttl: Duration::from_millis(600),
        name: "one".to_owned(),
    };
    let keeper = LeaseKeeper::new(scene.controller.clone(), config);
    let source = RecordSource::new(connect(&scene.url, Some(Role::Controller)).await, Records::owned_by(&keeper));
    assert_eq!(listed(&source).await, [], "nothing is held yet");

    let shutdown = CancellationToken::new();
    let task = tokio::spawn(keeper.clone().run(shutdown.clone()));
    let mut owned = keeper.watch();
    tokio::time::timeout(PATIENCE, owned.wait_for(|owned| owned.len() == 32))
        .await
        .unwrap()
        .unwrap();
    let given: BTreeSet<EnvironmentId> = listed(&source).await.into_iter().map(|(id, _)| id).collect();
    let odd: BTreeSet<EnvironmentId> = ids.iter().copied().filter(|id| id.shard() % 2 == 1).collect();
    assert_eq!(given, odd);
    let fetched: BTreeSet<EnvironmentId> = source
        .fetch(ids.clone())
        .await
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(fetched, odd, "what is left out is taken as not there");

    let mut heard = pin!(source.listen());
    assert_eq!(next(&mut heard).await.unwrap().unwrap(), Notification::Relist);
    scene.sql("update account_tool_environments set paused = true").await;
    let mut changed = BTreeSet::new();
    while changed.len() < odd.len() {
        let id = told(&next(&mut heard).await.unwrap().unwrap()).expect("nothing else happened");
        assert!(odd.contains(&id) && changed.insert(id));
    }
    // The other replica goes.
    scene
        .sql("update leases set expires_at = '-infinity' where shard % 2 = 0")
        .await;
    assert_eq!(next(&mut heard).await.unwrap().unwrap(), Notification::Relist);
    assert_eq!(listed(&source).await.len(), 24);
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(next(&mut heard).await.unwrap().unwrap(), Notification::Relist);
    assert_eq!(listed(&source).await, []);
}

/// The contract with the runtime, end to end: a store that is current, also after a lost connection.
#[tokio::test]
async fn a_reflector_over_it_stays_current() {
    let scene = Scene::new().await;
    let first = scene.environment().await;
    let source = RecordSource::new(scene.controller.clone(), Records::all());
    let config = runtime::ReflectorConfig {
        resync: Duration::from_hours(1),
        ..runtime::ReflectorConfig::default()
    };
    let (store, reflector) = runtime::reflector(source, config);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(reflector.run(shutdown.clone()));
    tokio::time::timeout(PATIENCE, store.ready()).await.unwrap();
    assert!(store.get(&first).is_some());
    scene
        .read(
            "select pg_terminate_backend(pid)::text from pg_stat_activity
            where datname = current_database() and query ilike 'listen%'",
        )
        .await;
    let second = scene.environment().await;
    scene
        .sql(format!("delete from account_tool_environments where id = '{first}'"))
        .await;
    let current = async {
        while store.get(&second).is_none() || store.get(&first).is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, current).await.unwrap();
    shutdown.cancel();
    task.await.unwrap();
}

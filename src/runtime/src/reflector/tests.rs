//! The reflector over a source that lives in memory, under a paused clock.

use super::*;
use futures::{Stream, stream};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

type Key = u8;

#[derive(Debug, thiserror::Error)]
#[error("as told")]
struct Told;

type Sender = mpsc::UnboundedSender<Result<Notification<Key, u32>, Told>>;

#[derive(Default)]
struct World {
    rows: Mutex<BTreeMap<Key, u32>>,
    /// The open connection that notifications go over.
    connection: Mutex<Option<Sender>>,
    /// Connections never open.
    deaf: bool,
    lists: AtomicUsize,
    connections: AtomicUsize,
    fetched: Mutex<Vec<Vec<Key>>>,
    /// So many of the next lists end in an error after their first row.
    lists_fail: AtomicUsize,
    /// So many of the next fetches fail.
    fetches_fail: AtomicUsize,
    /// A list takes so long for each row, and a fetch as a whole.
    delay: Mutex<Duration>,
}

fn take_one(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

impl World {
    fn set(&self, key: Key, value: u32) {
        self.rows.lock().unwrap().insert(key, value);
    }

    fn notify(&self, notification: Notification<Key, u32>) {
        let connection = self.connection.lock().unwrap();
        connection.as_ref().unwrap().send(Ok(notification)).unwrap();
    }

    fn change(&self, key: Key, value: u32) {
        self.set(key, value);
        self.notify(Notification::Changed(key));
    }

    /// Changes a row, and tells of it with the row.
    fn change_and_read(&self, key: Key, value: u32) {
        self.set(key, value);
        self.notify(Notification::Read(key, Some(value)));
    }

    fn remove(&self, key: Key) {
        self.rows.lock().unwrap().remove(&key);
        self.notify(Notification::Changed(key));
    }

    fn disconnect(&self) {
        *self.connection.lock().unwrap() = None;
    }

    fn lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }
}

struct Memory(Arc<World>);

impl Source for Memory {
    type Key = Key;
    type Value = u32;
    type Error = Told;

    const NAME: &'static str = "memory";

    fn list(&self) -> impl Stream<Item = Result<(Key, u32), Told>> + Send {
        let world = &self.0;
        world.lists.fetch_add(1, Ordering::SeqCst);
        let delay = *world.delay.lock().unwrap();
        let mut rows: Vec<_> = world
            .rows
            .lock()
            .unwrap()
            .iter()
            .map(|(key, value)| Ok((*key, *value)))
            .collect();
        if take_one(&world.lists_fail) {
            rows.truncate(1);
            rows.push(Err(Told));
        }
        stream::iter(rows).then(move |row| async move {
            sleep(delay).await;
            row
        })
    }

    async fn fetch(&self, keys: Vec<Key>) -> Result<Fetched<Key, u32>, Told> {
        self.0.fetched.lock().unwrap().push(keys.clone());
        let rows = self.0.rows.lock().unwrap().clone();
        let delay = *self.0.delay.lock().unwrap();
        sleep(delay).await;
        if take_one(&self.0.fetches_fail) {
            return Err(Told);
        }
        // Keys that are not there are left out of the answer.
        Ok(keys
            .into_iter()
            .filter_map(|key| Some((key, Some(*rows.get(&key)?))))
            .collect())
    }

    fn listen(&self) -> impl Stream<Item = Result<Notification<Key, u32>, Told>> + Send {
        if self.0.deaf {
            return stream::pending().boxed();
        }
        self.0.connections.fetch_add(1, Ordering::SeqCst);
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(Ok(Notification::Relist)).unwrap();
        *self.0.connection.lock().unwrap() = Some(sender);
        UnboundedReceiverStream::new(receiver).boxed()
    }
}

/// A reflector that runs over this world with rows 1 to 3.
struct Run {
    world: Arc<World>,
    store: Store<Key, u32>,
    subscriptions: Vec<Subscription<Key>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Run {
    /// Not ready yet.
    fn begun(world: World, config: ReflectorConfig) -> Self {
        let world = Arc::new(world);
        for key in 1..=3 {
            world.set(key, 1);
        }
        let (store, mut reflector) = reflector(Memory(Arc::clone(&world)), config);
        let subscriptions = vec![reflector.subscribe(), reflector.subscribe()];
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(reflector.run(shutdown.clone()));
        Self {
            world,
            store,
            subscriptions,
            shutdown,
            task,
        }
    }

    /// Ready, and every wake-up of the first read taken.
    async fn ready(world: World, config: ReflectorConfig) -> Self {
        let mut run = Self::begun(world, config);
        // Fails rather than hangs: the paused clock jumps ahead when everything waits.
        tokio::time::timeout(Duration::from_hours(1), run.store.ready())
            .await
            .unwrap();
        assert_eq!(run.woken(0), [1, 2, 3]);
        assert_eq!(run.woken(1), [1, 2, 3]);
        run
    }

    /// The keys that a subscriber was woken for since it was last asked, in order.
    fn woken(&mut self, subscriber: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        while let Some(Some(wake)) = self.subscriptions[subscriber].next().now_or_never() {
            keys.push(wake.key);
        }
        keys.sort_unstable();
        keys
    }

    fn value(&self, key: Key) -> Option<u32> {
        self.store.get(&key).map(|value| *value)
    }
}

/// Long enough for anything that waits for nothing, and for the first backoff.
async fn a_moment() {
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_changes_is_read_in_full_and_not_row_by_row() {
    let config = ReflectorConfig {
        batch: 10,
        ..ReflectorConfig::default()
    };
    let mut run = Run::ready(World::default(), config).await;
    let lists = run.world.lists();
    *run.world.delay.lock().unwrap() = Duration::from_millis(10);
    for key in 1..=30 {
        run.world.change(key, 2);
    }
    a_moment().await;
    // The first few may be fetched at once; the rest has come by then.
    assert_eq!(run.world.lists(), lists + 1);
    assert!(run.world.fetched.lock().unwrap().len() <= 1);
    assert_eq!((1..=30).filter(|key| run.value(*key) == Some(2)).count(), 30);
    assert_eq!(run.woken(0), (1..=30).collect::<Vec<_>>());
    // A few of many are fetched.
    for key in 1..=12 {
        run.world.change(key, 3);
    }
    a_moment().await;
    assert_eq!(run.world.lists(), lists + 1);
    assert_eq!(run.value(12), Some(3));
}

#[tokio::test(start_paused = true)]
async fn one_read_fills_the_store_and_wakes_every_subscriber() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    let mut keys = run.store.keys();
    keys.sort_unstable();
    assert_eq!((keys, run.store.len(), run.world.lists()), (vec![1, 2, 3], 3, 1));
    run.shutdown.cancel();
    (&mut run.task).await.unwrap();
    assert_eq!(run.value(1), Some(1), "what was read stays after shutdown");
}

#[tokio::test(start_paused = true)]
async fn rows_that_change_appear_or_vanish_are_fetched_and_wake() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    run.world.change(1, 2);
    run.world.change(9, 9);
    run.world.remove(2);
    run.world.notify(Notification::Changed(77));
    a_moment().await;
    assert_eq!(
        [1, 2, 3, 9, 77].map(|key| run.value(key)),
        [Some(2), None, Some(1), Some(9), None]
    );
    // Nobody knows 77, so nobody is woken for it.
    assert_eq!((run.woken(0), run.woken(1)), (vec![1, 2, 9], vec![1, 2, 9]));
    assert_eq!(run.world.lists(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_comes_with_the_word_of_its_change_is_not_fetched() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    // The first after a full read began.
    run.world.change(1, 2);
    a_moment().await;
    assert_eq!((run.value(1), run.woken(0)), (Some(2), vec![1]));
    run.world.change_and_read(2, 7);
    a_moment().await;
    assert_eq!((run.value(2), run.woken(0)), (Some(7), vec![2]));
    run.world.rows.lock().unwrap().remove(&2);
    run.world.notify(Notification::Read(2, None));
    a_moment().await;
    assert_eq!((run.value(2), run.woken(0)), (None, vec![2]));
    assert_eq!(*run.world.fetched.lock().unwrap(), [[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_came_during_its_own_fetch_is_fetched_again() {
    let run = Run::ready(World::default(), ReflectorConfig::default()).await;
    *run.world.delay.lock().unwrap() = Duration::from_secs(10);
    run.world.change(2, 5);
    a_moment().await;
    // The fetch under way will answer 5, after this.
    run.world.change_and_read(2, 6);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(run.value(2), Some(6));
    assert_eq!(*run.world.fetched.lock().unwrap(), [[2], [2]]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_read_before_a_full_read_began_is_fetched() {
    let run = Run::ready(World::default(), ReflectorConfig::default()).await;
    *run.world.delay.lock().unwrap() = Duration::from_secs(10);
    run.world.notify(Notification::Relist);
    a_moment().await;
    // Nobody can tell whether this was read before the full read's snapshot or after it.
    run.world.set(3, 9);
    run.world.notify(Notification::Read(3, Some(8)));
    sleep(Duration::from_mins(1)).await;
    assert_eq!(run.value(3), Some(9));
    assert_eq!(*run.world.fetched.lock().unwrap(), [[3]]);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_there_was_no_connection_is_found_by_a_full_read() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    run.world.disconnect();
    run.world.set(1, 2);
    run.world.rows.lock().unwrap().remove(&3);
    a_moment().await;
    assert_eq!((run.world.connections.load(Ordering::SeqCst), run.world.lists()), (2, 2));
    assert_eq!([1, 3].map(|key| run.value(key)), [Some(2), None]);
    assert_eq!(run.woken(0), [1, 2, 3], "the row that is gone wakes too");
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_again_on_a_period_even_when_nothing_is_ever_heard() {
    let deaf = World {
        deaf: true,
        ..World::default()
    };
    let mut run = Run::ready(deaf, ReflectorConfig::default()).await;
    run.world.set(2, 2);
    sleep(Duration::from_secs(260)).await;
    assert_eq!((run.world.lists(), run.value(2)), (1, Some(1)));
    sleep(Duration::from_secs(50)).await;
    assert_eq!((run.world.lists(), run.value(2)), (2, Some(2)));
    assert_eq!(run.woken(0), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_asked_for_while_one_is_under_way_follows_it() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    *run.world.delay.lock().unwrap() = Duration::from_secs(1);
    run.world.notify(Notification::Relist);
    sleep(Duration::from_millis(1500)).await;
    run.world.set(1, 2);
    run.world.notify(Notification::Relist);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((run.world.lists(), run.value(1)), (3, Some(1)));
    sleep(Duration::from_secs(10)).await;
    assert_eq!((run.world.lists(), run.value(1)), (3, Some(2)));
    assert_eq!(run.woken(0), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_not_held_up_by_a_long_read_nor_undone_by_it() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    *run.world.delay.lock().unwrap() = Duration::from_secs(100);
    run.world.notify(Notification::Relist);
    a_moment().await;
    *run.world.delay.lock().unwrap() = Duration::from_millis(1);
    run.world.change(3, 2);
    run.world.remove(2);
    a_moment().await;
    assert_eq!((run.woken(0), run.value(3), run.value(2)), (vec![2, 3], Some(2), None));
    sleep(Duration::from_secs(400)).await;
    assert_eq!(
        (run.value(3), run.value(2)),
        (Some(2), None),
        "the older snapshot does not win"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_part_way_removes_nothing_and_is_tried_again() {
    let failing = World {
        lists_fail: AtomicUsize::new(1),
        ..World::default()
    };
    let mut run = Run::begun(failing, ReflectorConfig::default());
    sleep(Duration::from_millis(50)).await;
    assert_eq!((run.store.len(), run.store.is_ready()), (1, false));
    a_moment().await;
    assert_eq!((run.store.len(), run.store.is_ready(), run.world.lists()), (3, true, 2));
    run.woken(0);

    run.world.lists_fail.store(1, Ordering::SeqCst);
    run.world.notify(Notification::Relist);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(run.store.len(), 3, "rows that a failed read did not come to are not gone");
    assert_eq!(run.woken(0), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_is_tried_again() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    run.world.fetches_fail.store(1, Ordering::SeqCst);
    run.world.change(1, 2);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(run.value(1), Some(1));
    a_moment().await;
    assert_eq!((run.value(1), run.woken(1)), (Some(2), vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_fetched_in_batches_and_each_key_once() {
    let config = ReflectorConfig {
        batch: 10,
        ..ReflectorConfig::default()
    };
    let mut run = Run::ready(World::default(), config).await;
    // A few of many.
    for key in 10..=100 {
        run.world.set(key, 0);
    }
    run.world.notify(Notification::Relist);
    a_moment().await;
    run.woken(0);
    for key in 10..35 {
        run.world.change(key, 1);
        run.world.change(key, 2);
    }
    a_moment().await;
    let fetched = run.world.fetched.lock().unwrap().clone();
    assert!(fetched.iter().all(|keys| keys.len() <= 10), "{fetched:?}");
    let mut all = fetched.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all, run.woken(0)), ((10..35).collect(), (10..35).collect::<Vec<_>>()));
}

#[tokio::test(start_paused = true)]
async fn a_change_during_its_own_fetch_is_fetched_again() {
    let run = Run::ready(World::default(), ReflectorConfig::default()).await;
    *run.world.delay.lock().unwrap() = Duration::from_millis(100);
    run.world.change(1, 2);
    sleep(Duration::from_millis(50)).await;
    run.world.change(1, 3);
    a_moment().await;
    assert_eq!((run.value(1), run.world.fetched.lock().unwrap().len()), (Some(3), 2));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_reads_nothing_delays_nobody_and_misses_nothing() {
    let mut run = Run::ready(World::default(), ReflectorConfig::default()).await;
    for value in 0..10_000 {
        run.world.change(1, value);
        if value % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    a_moment().await;
    assert_eq!(run.woken(0), [1]);
    assert_eq!(run.value(1), Some(9_999));
    assert_eq!(run.woken(1), [1], "ten thousand changes of one row are one wake-up");
}

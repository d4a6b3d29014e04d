//! The loop under a paused clock: every delay below is exact but for jitter, and no test waits for real time.

use super::*;
use crate::{Failure, Plan, Read};
use futures::stream;
use jiff::SignedDuration;
use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicUsize},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

type Key = &'static str;

/// What the next pass over a key comes to.
#[derive(Clone, Copy)]
enum Turn {
    Noop,
    NoopAgain(i64),
    /// Acts for so many seconds.
    Acts(u64),
    Retriable {
        after: Option<i64>,
    },
    /// Waits for so many seconds.
    Waits(i64),
    Terminal,
    Gone,
    Panics,
}

/// A reconciler that does what its script says, and writes down when.
struct Scripted {
    turn: Box<dyn Fn(Key, usize) -> Turn + Send + Sync>,
    started: Instant,
    /// When each pass of each key began, in milliseconds.
    begun: Mutex<BTreeMap<Key, Vec<u64>>>,
    acted: Mutex<Vec<Key>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Scripted {
    /// `turn` is asked with the key and the number of the key's pass, from 0.
    fn new(turn: impl Fn(Key, usize) -> Turn + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            turn: Box::new(turn),
            started: Instant::now(),
            begun: Mutex::default(),
            acted: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    fn begun(&self, key: Key) -> Vec<u64> {
        self.begun.lock().unwrap().get(key).cloned().unwrap_or_default()
    }

    /// The milliseconds between a key's passes.
    fn gaps(&self, key: Key) -> Vec<u64> {
        self.begun(key).windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Reconciler for Scripted {
    type Key = Key;
    type Desired = Turn;
    type Observed = ();
    type Action = ();
    type Status = ();

    const KIND: &'static str = "scripted";

    async fn load(&self, key: &Key, read: Read) -> Result<Option<Turn>, Error> {
        if read == Read::Cached {
            let at = u64::try_from(self.started.elapsed().as_millis()).unwrap();
            self.begun.lock().unwrap().entry(key).or_default().push(at);
        }
        match (self.turn)(key, self.begun(key).len() - 1) {
            Turn::Gone => Ok(None),
            Turn::Terminal => Err(Error::terminal("Refused", "never")),
            Turn::Retriable { after } => Err(Error::Retriable {
                reason: "Failed",
                message: "not now".to_owned(),
                after: after.map(SignedDuration::from_secs),
                source: None,
            }),
            Turn::Waits(seconds) => Err(Error::Waiting {
                reason: "Waits",
                message: "for its turn".to_owned(),
                after: SignedDuration::from_secs(seconds),
            }),
            Turn::Panics => panic!("as the script says"),
            turn @ (Turn::Noop | Turn::NoopAgain(_) | Turn::Acts(_)) => Ok(Some(turn)),
        }
    }

    async fn observe(&self, _: &Key, _: &Turn, _: Read) -> Result<(), Error> {
        Ok(())
    }

    fn decide(&self, turn: &Turn, (): &(), _: jiff::Timestamp) -> Plan<(), ()> {
        match turn {
            Turn::Acts(_) => Plan {
                actions: vec![()],
                ..Plan::noop()
            },
            Turn::NoopAgain(seconds) => Plan {
                requeue: Some(SignedDuration::from_secs(*seconds)),
                ..Plan::noop()
            },
            _ => Plan::noop(),
        }
    }

    async fn act(&self, key: &Key, turn: &Turn, (): &()) -> Result<(), Error> {
        let Turn::Acts(seconds) = turn else { panic!("only Acts acts") };
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        sleep(Duration::from_secs(*seconds)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.acted.lock().unwrap().push(key);
        Ok(())
    }

    async fn write_status(&self, _: &Key, _: &Turn, _: Option<()>, _: Option<Failure<'_, ()>>) -> Result<(), Error> {
        Ok(())
    }
}

fn config() -> Config {
    Config {
        backoff: Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(8),
        },
        ..Config::default()
    }
}

fn changed(key: Key) -> Wake<Key> {
    Wake::now(key, Reason::Changed)
}

/// A controller that runs, and what wakes it and ends it.
struct Run {
    wakes: mpsc::UnboundedSender<Wake<Key>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Run {
    fn of(reconciler: &Arc<Scripted>, config: Config) -> Self {
        let (wakes, receiver) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let controller = Controller::new(Arc::clone(reconciler), config).wakes(UnboundedReceiverStream::new(receiver));
        let task = tokio::spawn(controller.run(shutdown.clone()));
        Self { wakes, shutdown, task }
    }

    fn wake(&self, key: Key) {
        self.wakes.send(changed(key)).unwrap();
    }

    fn wake_in(&self, key: Key, seconds: u64) {
        let at = Instant::now() + Duration::from_secs(seconds);
        self.wakes.send(Wake::at(key, Reason::Requeued, at)).unwrap();
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// Fails rather than hangs: the paused clock jumps ahead when everything waits.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_hours(24), future)
        .await
        .expect("it ends within a day of the paused clock")
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_woken_often_is_worked_on_once() {
    let reconciler = Scripted::new(|_, _| Turn::Noop);
    let wakes = stream::iter([changed("a"), changed("b"), changed("a"), changed("a")]);
    let controller = Controller::new(Arc::clone(&reconciler), config()).wakes(wakes);
    in_time(controller.run(CancellationToken::new())).await;
    assert_eq!((reconciler.begun("a"), reconciler.begun("b")), (vec![0], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_wins() {
    let reconciler = Scripted::new(|_, _| Turn::Noop);
    let run = Run::of(&reconciler, config());
    run.wake_in("forward", 10);
    run.wake_in("forward", 5);
    run.wake_in("kept", 5);
    run.wake_in("kept", 10);
    run.wake_in("at once", 10);
    run.wake("at once");
    seconds(60).await;
    let begun = ["forward", "kept", "at once"].map(|key| reconciler.begun(key));
    assert_eq!(begun, [vec![5000], vec![5000], vec![0]]);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_never_worked_on_twice_at_once_and_a_wake_in_between_is_not_lost() {
    let reconciler = Scripted::new(|_, pass| if pass == 0 { Turn::Acts(10) } else { Turn::Noop });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(3).await;
    run.wake("a");
    run.wake("a");
    seconds(60).await;
    assert_eq!(reconciler.begun("a"), [0, 10_000]);
    assert_eq!(reconciler.most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_is_kept_and_a_wake_comes_before_it() {
    let reconciler = Scripted::new(|_, pass| if pass < 2 { Turn::NoopAgain(30) } else { Turn::Noop });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(10).await;
    run.wake("a");
    seconds(300).await;
    assert_eq!(reconciler.begun("a"), [0, 10_000, 40_000]);
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_by_key_and_success_forgets_them() {
    let reconciler = Scripted::new(|key, pass| match (key, pass) {
        ("good", _) | (_, 3) => Turn::Noop,
        _ => Turn::Retriable { after: None },
    });
    let run = Run::of(&reconciler, config());
    run.wake("bad");
    run.wake("good");
    seconds(30).await;
    assert_eq!(reconciler.begun("good"), [0]);
    assert_eq!(reconciler.begun("bad").len(), 4, "three failures, then success");
    run.wake("bad");
    seconds(3).await;
    let gaps = reconciler.gaps("bad");
    for (gap, base) in gaps.iter().zip([1000, 2000, 4000]) {
        assert!((base..=2 * base + 2).contains(gap), "{gap} ms, for {base} ms and jitter");
    }
    assert!((1000..=2002).contains(&gaps[4]), "from the start again, not {} ms", gaps[4]);
}

#[tokio::test(start_paused = true)]
async fn a_wake_brings_a_failing_key_forward_but_not_below_the_shortest_delay() {
    let reconciler = Scripted::new(|_, _| Turn::Retriable { after: Some(3600) });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(60).await;
    run.wake("a");
    for _ in 0..10 {
        tokio::task::yield_now().await;
        run.wake("a");
    }
    seconds(60).await;
    assert_eq!(reconciler.begun("a"), [0, 60_000, 61_000]);
}

#[tokio::test(start_paused = true)]
async fn the_after_of_a_retriable_error_is_honoured() {
    let reconciler = Scripted::new(|_, pass| match pass {
        0 => Turn::Retriable { after: Some(600) },
        _ => Turn::Noop,
    });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(3600).await;
    assert_eq!(reconciler.begun("a"), [0, 600_000]);
    run.shutdown.cancel();
}

/// Neither longer each time, as failures do, nor as often as it is woken meanwhile.
#[tokio::test(start_paused = true)]
async fn a_key_that_waits_goes_on_at_its_time_and_does_not_back_off() {
    let reconciler = Scripted::new(|_, pass| if pass < 8 { Turn::Waits(20) } else { Turn::Noop });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(3600).await;
    let gaps = reconciler.gaps("a");
    assert_eq!(gaps.len(), 8);
    assert!(gaps.iter().all(|gap| (19_000..=21_000).contains(gap)), "{gaps:?}");
    let reconciler = Scripted::new(|_, _| Turn::Waits(600));
    let run = Run::of(&reconciler, config());
    for _ in 0..100 {
        run.wake("a");
        sleep(Duration::from_millis(100)).await;
    }
    let passes = reconciler.begun("a").len();
    assert!(passes <= 12, "{passes} passes in 10 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_terminal_error_waits_for_a_wake() {
    let reconciler = Scripted::new(|_, pass| if pass == 0 { Turn::Terminal } else { Turn::Noop });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(7200).await;
    assert_eq!(reconciler.begun("a"), [0]);
    run.wake("a");
    seconds(1).await;
    assert_eq!(reconciler.begun("a"), [0, 7_200_000]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_is_forgotten_with_its_failures() {
    let reconciler = Scripted::new(|_, pass| match pass {
        3 => Turn::Gone,
        _ => Turn::Retriable { after: None },
    });
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(600).await;
    assert_eq!(reconciler.begun("a").len(), 4);
    run.wake("a");
    seconds(3).await;
    let gap = reconciler.gaps("a")[4];
    assert!((1000..=2002).contains(&gap), "{gap} ms");
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_does_not_starve_the_others() {
    let reconciler = Scripted::new(|key, _| if key == "hot" { Turn::Noop } else { Turn::Acts(1) });
    let shutdown = CancellationToken::new();
    let hot = stream::repeat_with(|| changed("hot"));
    let others = ["a", "b", "c"].map(changed);
    let one = NonZeroUsize::MIN;
    let passes = Controller::new(
        Arc::clone(&reconciler),
        Config {
            concurrency: one,
            ..config()
        },
    )
    .wakes(hot)
    .wakes(stream::iter(others))
    .passes(shutdown.clone());
    let mut order = passes
        .map(|ended| ended.key)
        .take_while(|key| std::future::ready(*key != "c"));
    let mut seen = Vec::new();
    while let Some(key) = order.next().await {
        seen.push(key);
        assert!(seen.len() < 1000, "only the hot key is worked on");
        tokio::task::consume_budget().await;
    }
    assert_eq!(
        seen.iter().filter(|key| **key != "hot").copied().collect::<Vec<_>>(),
        ["a", "b"]
    );
    let hot = seen.iter().filter(|key| **key == "hot").count();
    assert!(
        (1..=4).contains(&hot),
        "the hot key is worked on in its turn, not {hot} times before the others"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_always_due_do_not_keep_wake_ups_out() {
    let reconciler = Scripted::new(|key, _| if key == "hot" { Turn::NoopAgain(0) } else { Turn::Noop });
    let run = Run::of(&reconciler, config());
    run.wake("hot");
    while reconciler.begun("hot").is_empty() {
        tokio::task::yield_now().await;
    }
    run.wake("other");
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reconciler.begun("other").len(), 1);
    run.shutdown.cancel();
    in_time(run.task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_more_passes_run_at_once_than_allowed() {
    let reconciler = Scripted::new(|_, pass| if pass == 0 { Turn::Acts(5) } else { Turn::Noop });
    let two = NonZeroUsize::new(2).unwrap();
    let run = Run::of(
        &reconciler,
        Config {
            concurrency: two,
            ..config()
        },
    );
    for key in ["a", "b", "c", "d", "e"] {
        run.wake(key);
    }
    seconds(60).await;
    assert_eq!(reconciler.most.load(Ordering::SeqCst), 2);
    assert_eq!(
        ["a", "b", "c", "d", "e"].map(|key| reconciler.begun(key)[0]),
        [0, 0, 5000, 5000, 10_000]
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_passes_end_within_the_grace_and_begins_none() {
    let reconciler = Scripted::new(|_, _| Turn::Acts(5));
    let run = Run::of(
        &reconciler,
        Config {
            concurrency: NonZeroUsize::MIN,
            ..config()
        },
    );
    run.wake("running");
    run.wake("waiting");
    seconds(1).await;
    run.shutdown.cancel();
    run.wake("late");
    in_time(run.task).await.unwrap();
    assert_eq!(reconciler.started.elapsed(), Duration::from_secs(5));
    assert_eq!(*reconciler.acted.lock().unwrap(), ["running"]);
    assert!(reconciler.begun("waiting").is_empty() && reconciler.begun("late").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_outlasts_the_grace_is_dropped_where_it_stands() {
    let reconciler = Scripted::new(|_, _| Turn::Acts(600));
    let run = Run::of(&reconciler, config());
    run.wake("a");
    seconds(1).await;
    run.shutdown.cancel();
    in_time(run.task).await.unwrap();
    assert_eq!(reconciler.started.elapsed(), Duration::from_secs(11));
    seconds(3600).await;
    assert!(reconciler.acted.lock().unwrap().is_empty());
    assert_eq!(Arc::strong_count(&reconciler), 1, "nothing of the controller is left");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_key_alone() {
    let reconciler = Scripted::new(|key, pass| match (key, pass) {
        ("bad", 0) => Turn::Panics,
        _ => Turn::Noop,
    });
    let run = Run::of(&reconciler, config());
    run.wake("bad");
    run.wake("good");
    seconds(10).await;
    assert_eq!(reconciler.begun("good"), [0]);
    assert_eq!(reconciler.begun("bad").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_hangs_is_dropped_at_its_deadline_and_tried_again() {
    let reconciler = Scripted::new(|_, pass| {
        if pass == 0 {
            Turn::Acts(u64::from(u32::MAX))
        } else {
            Turn::Noop
        }
    });
    let passes = Controller::new(Arc::clone(&reconciler), config()).wakes(stream::iter([changed("a")]));
    let ended: Vec<_> = in_time(passes.passes(CancellationToken::new()).collect()).await;
    let [first, second] = &ended[..] else { panic!("{ended:?}") };
    assert!(matches!(&first.outcome, Outcome::Failed(error) if error.reason() == "DeadlineExceeded"));
    assert_eq!((first.took, second.reason), (config().deadline, Reason::Retried));
    assert!(matches!(second.outcome, Outcome::Noop { requeue: None }));
    assert!(second.pass > first.pass);
}

use super::*;
use futures::StreamExt;
use std::collections::VecDeque;

mod shared;

fn budget(patience: u64) -> Budget {
    Budget::new(BudgetConfig {
        patience: Duration::from_secs(patience),
        ..BudgetConfig::default()
    })
}

/// Spends what this priority may have of the minute.
async fn use_up(budget: &Budget, priority: Priority) {
    while tokio::time::timeout(Duration::ZERO, budget.acquire(priority)).await.is_ok() {}
}

fn headers(limit: u32, remaining: u32, reset_in: i64) -> RateHeaders {
    RateHeaders {
        limit: Some(limit),
        remaining: Some(remaining),
        reset: Some(Timestamp::now() + SignedDuration::from_secs(reset_in)),
        retry_after: None,
    }
}

/// What arrives over there, by their clock: some time after it was sent, and some time before its answer is here.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Instant>>>);

impl Server {
    /// Sends one request that takes up to four seconds to get there, and waits for its answer.
    async fn ask(&self, budget: &Budget, priority: Priority) -> Result<(), Exhausted> {
        let permit = budget.acquire(priority).await?;
        assert!(permit.is_valid(), "sent in time");
        let number = self.0.lock().unwrap().len() as u64;
        let (there, back) = ((number * 7_919) % 4_000 + 5, (number * 104_729) % 1_000 + 5);
        tokio::time::sleep(Duration::from_millis(there)).await;
        self.0.lock().unwrap().push(Instant::now());
        tokio::time::sleep(Duration::from_millis(back)).await;
        drop(permit);
        Ok(())
    }

    /// So many requests, 64 at a time.
    async fn ask_all(&self, budget: &Budget, requests: u32, priority: Priority) {
        futures::stream::iter(0..requests)
            .for_each_concurrent(64, |_| async {
                while let Err(told) = self.ask(budget, priority).await {
                    let wait = told.retry_at.duration_since(Timestamp::now());
                    tokio::time::sleep(wait.unsigned_abs()).await;
                }
            })
            .await;
    }

    /// The most that arrived in any sliding period of this length.
    fn most_in(&self, length: Duration) -> usize {
        let mut window: VecDeque<Instant> = VecDeque::new();
        let mut most = 0;
        let mut arrived = self.0.lock().unwrap().clone();
        arrived.sort_unstable();
        for at in arrived {
            window.push_back(at);
            while window.front().is_some_and(|first| at - *first >= length) {
                window.pop_front();
            }
            most = most.max(window.len());
        }
        most
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn no_sliding_minute_sees_more_than_the_limit_and_all_of_it_is_used() {
    let (server, start) = (Server::default(), Instant::now());
    server.ask_all(&budget(10), 1_000, Priority::Delete).await;
    assert_eq!(server.most_in(MINUTE), 250);
    // Three minutes have to pass between the first and the last of four times 250.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3 * 60 + 30), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn no_sliding_hour_sees_more_than_the_limit() {
    let server = Server::default();
    server.ask_all(&budget(10), 7_000, Priority::Delete).await;
    assert_eq!(server.most_in(Duration::from_hours(1)), 5_000);
    assert_eq!(server.most_in(MINUTE), 250);
}

#[tokio::test(start_paused = true)]
async fn reads_leave_room_for_what_goes_before() {
    let budget = budget(1);
    while budget.acquire(Priority::Read).await.is_ok() {}
    let told = budget.pending(Priority::Read);
    assert!(told.is_some_and(|left| !left.is_zero()), "{told:?}");
    assert_eq!(budget.pending(Priority::Delete), None);
    for _ in 0..25 {
        drop(budget.acquire(Priority::Delete).await.unwrap());
    }
    assert!(budget.acquire(Priority::Delete).await.is_err());
}

/// The largest number of grants in any sliding minute, and how long all of them took.
async fn spend_all(budget: &Budget, requests: u32, priority: Priority) -> (usize, Duration) {
    let start = Instant::now();
    let mut window: VecDeque<Instant> = VecDeque::new();
    let mut most = 0;
    for _ in 0..requests {
        drop(budget.acquire(priority).await.unwrap());
        window.push_back(Instant::now());
        while window.front().is_some_and(|first| first.elapsed() >= MINUTE) {
            window.pop_front();
        }
        most = most.max(window.len());
    }
    (most, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_minute_follows_the_limit_that_answers_tell() {
    let budget = budget(60);
    let permit = budget.acquire(Priority::Read).await.unwrap();
    permit.settle(headers(100_000, 99_999, 3_600));
    let (_, took) = spend_all(&budget, 1_000, Priority::Change).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(budget.status().limit, 100_000);
}

#[tokio::test(start_paused = true)]
async fn replicas_divide_the_minute() {
    let budget = budget(120);
    budget.divide(const { NonZeroU32::new(5).unwrap() });
    let (most, _) = spend_all(&budget, 200, Priority::Change).await;
    assert!(most <= 50, "{most} in one minute");
}

#[tokio::test(start_paused = true)]
async fn deletes_go_first_and_reads_last() {
    let budget = budget(3_600);
    use_up(&budget, Priority::Delete).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for priority in [Priority::Read, Priority::Change, Priority::Create, Priority::Delete] {
        let (budget, order) = (budget.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let permit = budget.acquire(priority).await.unwrap();
            order.lock().unwrap().push(priority);
            drop(permit);
        }));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        *order.lock().unwrap(),
        [Priority::Delete, Priority::Create, Priority::Change, Priority::Read]
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_hour_is_kept_for_what_is_no_read() {
    let budget = budget(10);
    let permit = budget.acquire(Priority::Read).await.unwrap();
    permit.settle(headers(5_000, 400, 1_800));
    let told = budget.acquire(Priority::Read).await.unwrap_err();
    assert!(told.retry_at > Timestamp::now() + SignedDuration::from_secs(1_700));
    for priority in [Priority::Change, Priority::Create, Priority::Delete] {
        drop(budget.acquire(priority).await.unwrap());
    }
    assert_eq!(budget.status().remaining, Some(397));
}

#[tokio::test(start_paused = true)]
async fn an_empty_hour_is_probed_after_its_reset() {
    let budget = budget(10);
    let permit = budget.acquire(Priority::Delete).await.unwrap();
    permit.settle(headers(5_000, 0, 60));
    assert!(budget.acquire(Priority::Delete).await.is_err());
    tokio::time::sleep(Duration::from_secs(61)).await;
    let probe = budget.acquire(Priority::Read).await.unwrap();
    probe.settle(headers(5_000, 3_000, 60));
    drop(budget.acquire(Priority::Read).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn after_a_429_nothing_is_sent_before_its_time() {
    let budget = budget(10);
    let permit = budget.acquire(Priority::Create).await.unwrap();
    let at = permit.refused(RateHeaders {
        retry_after: Some(SignedDuration::from_secs(29)),
        ..headers(5_000, 0, 3_000)
    });
    assert!(at > Timestamp::now() + SignedDuration::from_secs(28));
    assert!(budget.status().blocked_until.is_some());
    assert!(budget.acquire(Priority::Delete).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_who_gives_up_waiting_does_not_hold_up_the_next() {
    let budget = budget(3_600);
    use_up(&budget, Priority::Delete).await;
    let first = budget.clone();
    let gives_up = tokio::spawn(async move { first.acquire(Priority::Delete).await.map(drop) });
    tokio::task::yield_now().await;
    let second = budget.clone();
    let next = tokio::spawn(async move { second.acquire(Priority::Change).await.map(drop) });
    tokio::task::yield_now().await;
    gives_up.abort();
    tokio::time::timeout(2 * MINUTE, next).await.expect("woken").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_creates_leaves_a_twentieth_to_what_goes_last() {
    let budget = budget(100);
    use_up(&budget, Priority::Delete).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiting = [Priority::Change; 30]
        .into_iter()
        .chain([Priority::Create; 300])
        .map(|priority| {
            let (budget, order) = (budget.clone(), Arc::clone(&order));
            async move {
                let permit = budget.acquire(priority).await;
                if let Ok(permit) = permit {
                    order.lock().unwrap().push(priority);
                    drop(permit);
                }
            }
        });
    futures::future::join_all(waiting).await;
    let order = order.lock().unwrap();
    // There was room once while they waited.
    let changes = order.iter().filter(|priority| **priority == Priority::Change).count();
    assert_eq!((order.len(), changes), (245, 12));
    assert!(budget.is_short());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_many_wait_for_goes_as_they_would() {
    let budget = budget(3_600);
    use_up(&budget, Priority::Delete).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let ask = |name, place| {
        let (budget, order) = (budget.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let permit = budget.acquire(place).await.unwrap();
            order.lock().unwrap().push(name);
            drop(permit);
        })
    };
    let one = ask("one", Priority::Read);
    tokio::task::yield_now().await;
    let many = ask("many", Priority::Create);
    futures::future::join_all([one, many]).await;
    assert_eq!(*order.lock().unwrap(), ["many", "one"]);
    assert_eq!(budget.spread(5), Duration::from_secs(25));
    assert_eq!(Budget::default().spread(5), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_goes_before_others_of_its_priority_and_after_those_before_it() {
    let budget = budget(3_600);
    use_up(&budget, Priority::Delete).await;
    let order = Mutex::new(Vec::new());
    let ask = async |name, priority, urgent| {
        drop(budget.acquire_as(priority, urgent).await.unwrap());
        order.lock().unwrap().push(name);
    };
    tokio::join!(
        ask("firewall", Priority::Create, false),
        ask("droplet", Priority::Create, true),
        ask("another droplet", Priority::Create, true),
        ask("delete", Priority::Delete, false),
    );
    assert_eq!(*order.lock().unwrap(), ["delete", "droplet", "another droplet", "firewall"]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_last_is_let_ahead_at_once_when_it_is_urgent() {
    let budget = budget(3_600);
    use_up(&budget, Priority::Read).await;
    let began = Instant::now();
    drop(budget.acquire_urgent(Priority::Read).await.unwrap());
    assert_eq!(began.elapsed(), Duration::ZERO, "in the room that is kept for creates");
    drop(budget.acquire(Priority::Read).await.unwrap());
    assert!(began.elapsed() >= MINUTE, "until there is room for reads");
}

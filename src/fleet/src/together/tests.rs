//! Who is served by what, under a paused clock.

use super::*;
use digitalocean::{BudgetConfig, Call};
use std::time::Duration;

/// How long a read takes.
const TAKES: Duration = Duration::from_secs(1);

/// Reads that take a while, and fail where they are asked to.
#[derive(Debug)]
struct Slow {
    budget: Budget,
    pages: usize,
    /// When each began, and for how many at once it was.
    begun: Mutex<Vec<(Instant, usize)>>,
}

impl Slow {
    fn start(pages: usize) -> Arc<Together<Self>> {
        Together::new(Self {
            budget: Budget::new(BudgetConfig::default()),
            pages,
            begun: Mutex::default(),
        })
    }

    async fn read(&self, asks: usize) -> Instant {
        let began = Instant::now();
        self.begun.lock().unwrap().push((began, asks));
        tokio::time::sleep(TAKES).await;
        began
    }

    fn served(&self) -> Vec<usize> {
        self.begun.lock().unwrap().iter().map(|(_, asks)| *asks).collect()
    }
}

impl Reads for Slow {
    type Ask = bool;
    type Answer = Instant;

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn pages(&self) -> usize {
        self.pages
    }

    fn are_served_together(&self, asks: &[&bool], many: bool) -> bool {
        many || asks.len() > self.pages
    }

    async fn one(&self, well: &bool) -> Result<Instant, Error> {
        let began = self.read(1).await;
        if *well { Ok(began) } else { Err(self.wait(Timestamp::now())) }
    }

    async fn all(&self, asks: &[bool]) -> Result<Vec<Instant>, Error> {
        let began = self.read(asks.len()).await;
        if asks.contains(&false) {
            return Err(self.wait(Timestamp::now()));
        }
        Ok(vec![began; asks.len()])
    }

    fn wait(&self, retry_at: Timestamp) -> Error {
        let call = Call {
            method: "GET",
            endpoint: "/v2/test",
        };
        Error::RateLimited { call, retry_at }
    }
}

/// Asks after so long, and tells when that was and when the read began that served it.
async fn ask(together: &Arc<Together<Slow>>, after: Duration, well: bool) -> (Instant, Result<Instant, LookError>) {
    tokio::time::sleep(after).await;
    let asked = Instant::now();
    let answered = tokio::time::timeout(Duration::from_hours(1), together.ask(well)).await;
    (asked, answered.expect("everybody is answered"))
}

async fn ask_all(
    together: &Arc<Together<Slow>>,
    after: impl IntoIterator<Item = u64>,
) -> Vec<(Instant, Result<Instant, LookError>)> {
    let asks = after.into_iter().map(|ms| ask(together, Duration::from_millis(ms), true));
    join_all(asks).await
}

/// What came before somebody asked may be what they just changed.
#[tokio::test(start_paused = true)]
async fn nobody_is_served_by_a_read_that_began_before_they_asked() {
    let together = Slow::start(2);
    // The first is alone; six come while its read is under way, and six more while the list for those is.
    let answers = ask_all(&together, (0..13).map(|n| n * 150)).await;
    for (asked, began) in answers {
        assert!(began.unwrap() >= asked);
    }
    assert_eq!(together.reads.served(), [1, 6, 6]);
}

#[tokio::test(start_paused = true)]
async fn few_are_served_one_by_one() {
    let together = Slow::start(6);
    let answers = ask_all(&together, (0..7).map(|n| n * 150)).await;
    assert!(answers.into_iter().all(|(asked, began)| began.unwrap() >= asked));
    assert_eq!(
        together.reads.served(),
        [1; 7],
        "a list of six pages takes no fewer requests than six"
    );
}

#[tokio::test(start_paused = true)]
async fn few_again_and_again_are_served_by_a_list() {
    let together = Slow::start(6);
    let answers = ask_all(&together, [[0; 6], [1_050; 6], [2_100; 6]].concat()).await;
    assert!(answers.into_iter().all(|(asked, began)| began.unwrap() >= asked));
    let (ones, list) = ([1; 12], [6]);
    assert_eq!(together.reads.served(), [&ones[..], &list].concat());
}

#[tokio::test(start_paused = true)]
async fn lists_are_spread_and_who_would_wait_for_long_is_told_when_to_come_back() {
    for (pages, waits) in [(5, true), (30, false)] {
        let (together, began) = (Slow::start(pages), Instant::now());
        ask_all(&together, (0..32).map(|_| 0)).await;
        let first = Instant::now();
        let answers = ask_all(&together, (0..32).map(|_| 0)).await;
        if waits {
            assert!(answers.iter().all(|(_, read)| read.is_ok()));
            assert_eq!(
                began.elapsed().as_secs(),
                6,
                "sixty a minute: five seconds after the first list began"
            );
        } else {
            assert_eq!(Instant::now(), first, "nobody waits for half a minute");
            for (_, read) in answers {
                let error = read.unwrap_err();
                let Error::RateLimited { retry_at, .. } = &*error else {
                    panic!("{error}")
                };
                let left = retry_at.duration_since(Timestamp::now());
                assert!((25..30).contains(&left.as_secs()), "{left}");
            }
        }
        assert_eq!(together.reads.served().len(), if waits { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_whom_the_read_was_for_and_to_nobody_else() {
    let together = Slow::start(2);
    let (first, failed, later) = tokio::join!(
        ask_all(&together, [0]),
        join_all((0..4).map(|n| ask(&together, Duration::from_millis(100), n != 3))),
        ask_all(&together, [1100]),
    );
    assert!(first[0].1.is_ok() && later[0].1.is_ok());
    assert!(failed.iter().all(|(_, read)| read.is_err()));
    assert_eq!(together.reads.served(), [1, 4, 1]);
}

//! Several processes and one token.

use super::super::ledger::{Ask, Ledger, LedgerError, Lengths, Settled, Taken};
use super::*;
use futures::{FutureExt, future::BoxFuture};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::oneshot;

/// A ledger as the database keeps it, in memory.
#[derive(Debug, Default)]
struct Memory {
    grants: Mutex<Vec<Grant>>,
    blocked_until: Mutex<Option<Instant>>,
    blocks: AtomicI64,
    away: AtomicBool,
}

#[derive(Debug)]
struct Grant {
    block: i64,
    requests: u32,
    minute_until: Instant,
    hour_until: Instant,
}

impl Memory {
    fn there(&self) -> Result<(), LedgerError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(LedgerError("it is away".into()));
        }
        Ok(())
    }

    fn take_now(&self, ask: &Ask) -> Taken {
        let now = Instant::now();
        if let Some(until) = self.blocked_until.lock().unwrap().filter(|until| *until > now) {
            return Taken::Later(until - now);
        }
        let mut grants = self.grants.lock().unwrap();
        grants.retain(|grant| grant.hour_until > now);
        let of_minute = grants.iter().filter(|grant| grant.minute_until > now);
        let minute: u32 = of_minute.clone().map(|grant| grant.requests).sum();
        let hour: u32 = grants.iter().map(|grant| grant.requests).sum();
        let mut granted = 0;
        for place in 0..Priority::COUNT {
            let room = ask.minute[place].saturating_sub(minute + granted);
            let room = room.min(ask.hour[place].saturating_sub(hour + granted));
            granted += ask.wanted[place].min(room);
        }
        if granted == 0 {
            let next = of_minute.map(|grant| grant.minute_until).min();
            let next = next.or_else(|| grants.iter().map(|grant| grant.hour_until).min());
            return Taken::Later(next.unwrap() - now);
        }
        let block = self.blocks.fetch_add(1, Ordering::SeqCst);
        grants.push(Grant {
            block,
            requests: granted,
            minute_until: now + ask.lasts + ask.under_way + ask.lengths.minute,
            hour_until: now + ask.lasts + ask.under_way + ask.lengths.hour,
        });
        Taken::Granted {
            block,
            requests: granted,
        }
    }
}

/// Every call takes a while, and comes to its end one after the other.
const TAKES: Duration = Duration::from_millis(3);

impl Ledger for Memory {
    fn take<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Taken, LedgerError>> {
        async move {
            tokio::time::sleep(TAKES).await;
            self.there().map(|()| self.take_now(ask))
        }
        .boxed()
    }

    fn wait<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<[Duration; Priority::COUNT], LedgerError>> {
        async move {
            self.there()?;
            let grants = self.grants.lock().unwrap();
            let minute: u32 = grants.iter().map(|grant| grant.requests).sum();
            Ok(ask.minute.map(|most| if minute < most { Duration::ZERO } else { MINUTE }))
        }
        .boxed()
    }

    fn settle<'a>(&'a self, settled: &'a [Settled], lengths: Lengths) -> BoxFuture<'a, Result<(), LedgerError>> {
        async move {
            tokio::time::sleep(TAKES).await;
            self.there()?;
            let now = Instant::now();
            let mut grants = self.grants.lock().unwrap();
            for block in settled {
                let grant = grants.iter_mut().find(|grant| grant.block == block.block).unwrap();
                assert!(block.sent <= grant.requests);
                grant.requests = block.sent;
                grant.minute_until = now + lengths.minute;
                grant.hour_until = now + lengths.hour;
            }
            Ok(())
        }
        .boxed()
    }

    fn block(&self, wait: Duration) -> BoxFuture<'_, Result<(), LedgerError>> {
        *self.blocked_until.lock().unwrap() = Some(Instant::now() + wait);
        std::future::ready(Ok(())).boxed()
    }
}

/// One process: a budget that shares the ledger until it is told to end.
struct Process {
    budget: Budget,
    end: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Process {
    fn start(ledger: &Arc<Memory>, patience: u64) -> Self {
        let (budget, (end, ended)) = (budget(patience), oneshot::channel());
        let (sharing, ledger) = (budget.clone(), Arc::clone(ledger));
        let task = tokio::spawn(async move { sharing.share(&*ledger, ended.map(drop)).await });
        Self { budget, end, task }
    }
}

#[tokio::test(start_paused = true)]
async fn all_processes_together_stay_below_the_limit_and_use_all_of_it() {
    let (ledger, server, start) = (Arc::default(), Server::default(), Instant::now());
    let processes = [(); 3].map(|()| Process::start(&ledger, 10));
    tokio::task::yield_now().await;
    futures::future::join_all(
        processes
            .iter()
            .map(|process| server.ask_all(&process.budget, 400, Priority::Delete)),
    )
    .await;
    assert!(server.most_in(MINUTE) <= 250, "{} in one minute", server.most_in(MINUTE));
    // Four minutes have to pass between the first and the last of 1,200.
    let took = start.elapsed();
    assert!(took < Duration::from_mins(4) * 115 / 100, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_process_may_use_what_the_others_leave() {
    let (ledger, server) = (Arc::default(), Server::default());
    let processes = [(); 5].map(|()| Process::start(&ledger, 10));
    for process in &processes {
        process.budget.divide(const { NonZeroU32::new(5).unwrap() });
    }
    tokio::task::yield_now().await;
    let start = Instant::now();
    server.ask_all(&processes[0].budget, 240, Priority::Delete).await;
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_sent_is_given_back() {
    let ledger = Arc::new(Memory::default());
    let process = Process::start(&ledger, 10);
    tokio::task::yield_now().await;
    drop(process.budget.acquire(Priority::Read).await.unwrap());
    let counted = |ledger: &Memory| ledger.grants.lock().unwrap().iter().map(|grant| grant.requests).sum::<u32>();
    assert!(counted(&ledger) > 1, "more than one was taken");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(counted(&ledger), 1, "one was sent");
    drop(process.budget.acquire(Priority::Read).await.unwrap());
    process.end.send(()).unwrap();
    process.task.await.unwrap();
    assert_eq!(counted(&ledger), 2, "at the end at once");
}

#[tokio::test(start_paused = true)]
async fn another_s_delete_goes_before_our_reads() {
    let (ledger, server) = (Arc::default(), Server::default());
    let (reads, deletes) = (Process::start(&ledger, 1), Process::start(&ledger, 1));
    tokio::task::yield_now().await;
    while reads.budget.acquire(Priority::Read).await.is_ok() {}
    let pending = reads.budget.pending(Priority::Read);
    assert!(pending.is_some_and(|left| !left.is_zero()), "{pending:?}");
    for _ in 0..20 {
        server.ask(&deletes.budget, Priority::Delete).await.unwrap();
    }
    assert!(server.most_in(MINUTE) <= 250);
}

/// Whoever only asks is told of what others took, and takes nothing.
#[tokio::test(start_paused = true)]
async fn who_consults_a_ledger_knows_how_long_others_leave_nothing() {
    let ledger = Arc::new(Memory::default());
    let reader = Process::start(&ledger, 1);
    tokio::task::yield_now().await;
    while reader.budget.acquire(Priority::Read).await.is_ok() {}
    let (budget, taken) = (budget(1), ledger.grants.lock().unwrap().len());
    assert_eq!(budget.pending(Priority::Read), None, "it was not told");
    budget.consult(&*ledger).await.unwrap();
    assert_eq!(budget.pending(Priority::Read), Some(MINUTE));
    assert_eq!(budget.pending(Priority::Create), None, "the last part is for it");
    assert_eq!(ledger.grants.lock().unwrap().len(), taken);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(budget.pending(Priority::Read), None);
}

#[tokio::test(start_paused = true)]
async fn a_429_of_one_is_heard_by_all() {
    let ledger = Arc::default();
    let processes = [(); 2].map(|()| Process::start(&ledger, 1));
    tokio::task::yield_now().await;
    let permit = processes[0].budget.acquire(Priority::Create).await.unwrap();
    permit.refused(RateHeaders {
        retry_after: Some(SignedDuration::from_secs(40)),
        ..RateHeaders::default()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = processes[1].budget.acquire(Priority::Delete).await.unwrap_err();
    assert!(told.retry_at > Timestamp::now() + SignedDuration::from_secs(38), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_ledger_each_takes_an_equal_part() {
    let (ledger, server) = (Arc::new(Memory::default()), Server::default());
    ledger.away.store(true, Ordering::SeqCst);
    let processes = [(); 5].map(|()| Process::start(&ledger, 10));
    for process in &processes {
        process.budget.divide(const { NonZeroU32::new(5).unwrap() });
    }
    tokio::task::yield_now().await;
    futures::future::join_all(
        processes
            .iter()
            .map(|process| server.ask_all(&process.budget, 100, Priority::Delete)),
    )
    .await;
    assert!(server.most_in(MINUTE) <= 250, "{} in one minute", server.most_in(MINUTE));
    ledger.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(2)).await;
    drop(processes[0].budget.acquire(Priority::Read).await.unwrap());
    assert!(
        !ledger.grants.lock().unwrap().is_empty(),
        "asked again once it is there again"
    );
}

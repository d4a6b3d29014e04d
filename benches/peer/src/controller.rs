//! The controller that is measured, configured as its documentation recommends for many objects: streaming lists, no debounce,
//! as many reconciles at once as our side runs.

use crate::{
    diff::{Fleet, differences},
    object::Environment,
};
use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    runtime::{
        Controller,
        controller::{Action, Config},
        watcher,
    },
};
use std::{
    fmt::Write as _,
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

/// Reconcile found a difference, which the rows of this comparison do not have.
#[derive(Debug, thiserror::Error)]
#[error("{0} differences")]
struct Differs(usize);

struct Context {
    fleet: Fleet,
    count: u32,
    reconciled: AtomicU32,
    ready: AtomicBool,
    /// Whether reconcile does nothing but ask to be called again at once.
    spinning: AtomicBool,
    spun: AtomicU64,
    differences: AtomicU32,
    /// What was reconciled since every object was, and when that began.
    begun: Mutex<Vec<(String, u128)>>,
}

/// Runs over the `count` objects at `address`.
pub async fn run(address: &str, count: u32) -> Result<()> {
    let context = Arc::new(Context {
        fleet: Fleet::seen(count),
        count,
        reconciled: AtomicU32::new(0),
        ready: AtomicBool::new(false),
        spinning: AtomicBool::new(false),
        spun: AtomicU64::new(0),
        differences: AtomicU32::new(0),
        begun: Mutex::default(),
    });
    let client = Client::try_from(kube::Config::new(address.parse()?))?;
    let wanted = if std::env::var_os("PEER_PAGES").is_some() {
        watcher::Config::default()
    } else {
        watcher::Config::default().streaming_lists()
    };
    let (spin, spins) = mpsc::channel::<()>(1);
    let controller = Controller::new(Api::<Environment>::all(client), wanted)
        .with_config(Config::default().debounce(Duration::ZERO).concurrency(512))
        .reconcile_all_on(ReceiverStream::new(spins))
        .run(reconcile, on_error, Arc::clone(&context))
        .for_each(|_| std::future::ready(()));
    tokio::spawn(controller);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "dump" => dump(&context)?,
            "spin" => {
                context.spinning.store(true, Ordering::Relaxed);
                spin.send(()).await?;
            }
            "count" => println!("{} {}", context.spun.load(Ordering::Relaxed), now()),
            _ => {}
        }
    }
    Ok(())
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

async fn reconcile(object: Arc<Environment>, context: Arc<Context>) -> Result<Action, Differs> {
    if context.spinning.load(Ordering::Relaxed) {
        context.spun.fetch_add(1, Ordering::Relaxed);
        return Ok(Action::requeue(Duration::ZERO));
    }
    if context.ready.load(Ordering::Relaxed) {
        let name = object.metadata.name.clone().unwrap_or_default();
        context.begun.lock().expect("no panic").push((name, now()));
    }
    let found = differences(&object, &context.fleet, Timestamp::now());
    if context.reconciled.fetch_add(1, Ordering::Relaxed) + 1 == context.count {
        context.ready.store(true, Ordering::Relaxed);
        println!("ready");
    }
    if found > 0 {
        return Err(Differs(found));
    }
    Ok(Action::await_change())
}

fn on_error(_: Arc<Environment>, _: &Differs, context: Arc<Context>) -> Action {
    context.differences.fetch_add(1, Ordering::Relaxed);
    Action::await_change()
}

fn dump(context: &Context) -> Result<()> {
    let begun = std::mem::take(&mut *context.begun.lock().expect("no panic"));
    let mut text = String::new();
    for (name, at) in begun {
        writeln!(text, "{name} {at}")?;
    }
    writeln!(text, "end {}", context.differences.load(Ordering::Relaxed))?;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

//! Every figure that is promised, each measured in one run beside what it is compared with:
//!
//! | part | ours | beside it |
//! |---|---|---|
//! | `cold`, `reaction` | the reconcile loop: start, memory, reaction | kube-runtime's `Controller` (`benches/peer`) |
//! | `burst` | one transaction that changes 10,000 rows, until the last reconcile begins | the peer, and 10,000 events |
//! | `passes` | passes over 100,000 rows with nothing to do, with their real comparison | the peer's empty reconcile, requeued at once |
//! | `status` | writing 10,000 statuses back | the same as plain `update`s in batches of 500 over two connections |
//! | `sweep` | a sweep of 10,000 droplets and firewalls by three replicas | a client that GETs each |
//! | `creates` | 1,000 environments by a whole replica, time compressed | 1,000 requests at 250 a minute |
//!
//! Owns: running the two sides in turns and comparing them. Must not: be lenient with our own side: the loop runs over a real
//! Postgres and writes its leases, the peer over a server that only sends bytes it has made beforehand. Promises: every ratio is
//! the median over pairs of runs that followed each other, but for `sweep` and `creates`, which count; and every figure ends as one
//! line, `bench NAME: FIGURE UNIT, bar OP BAR: ok` (or `: falls short`).
//!
//! `cargo run --release -p bench-loop -- all` builds the peer and runs everything; the name of a part runs that part.
//! `databases` prints the addresses of the filled databases and keeps them until its input ends, to look for where time goes:
//! `DATABASE_URL=... bench-loop subject 100000`.

mod bursts;
mod creates;
mod database;
mod figures;
#[path = "../../fixture.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)] // shared with the peer, which uses other parts of it
mod fixture;
mod ours;
mod peer;
mod programs;
mod scenarios;
mod statuses;
mod subject;
mod sweep;

use anyhow::{Context, Result, bail};
use database::Databases;
use figures::Figure;
use tokio::sync::OnceCell;

/// What can be measured by itself, in the order in which all of it is.
const PARTS: [&str; 7] = ["cold", "reaction", "burst", "passes", "status", "sweep", "creates"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["all"] | [] => runtime.block_on(measure(&PARTS)),
        ["databases"] => runtime.block_on(databases()),
        // What this program starts of itself to be measured.
        ["subject", count] => runtime.block_on(ours::run(count.parse()?)),
        parts if parts.iter().all(|part| PARTS.contains(part)) => runtime.block_on(measure(parts)),
        _ => bail!("bench-loop [all | databases | {}]", PARTS.join(" | ")),
    }
}

/// Measures these parts, and tells every figure at the end, also when one part could not be measured.
async fn measure(parts: &[&str]) -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let made = OnceCell::new();
    let databases = || made.get_or_try_init(Databases::start);
    let (mut figures, mut failure): (Vec<Figure>, _) = (Vec::new(), Ok(()));
    for part in parts {
        let measured = match *part {
            "cold" => scenarios::cold_starts(databases().await?).await,
            "reaction" => scenarios::reactions(databases().await?).await,
            "burst" => bursts::bursts(databases().await?).await,
            "passes" => bursts::passes(databases().await?).await,
            "status" => statuses::write_back(databases().await?).await,
            "sweep" => sweep::sweep().await,
            "creates" => creates::creates().await,
            unknown => bail!("{unknown} is not a part"),
        };
        match measured.with_context(|| format!("{part} could not be measured")) {
            Ok(measured) => figures.extend(measured),
            Err(error) => {
                eprintln!("{error:#}");
                failure = Err(error);
            }
        }
    }
    for figure in figures {
        println!("{figure}");
    }
    failure
}

async fn databases() -> Result<()> {
    let databases = Databases::start().await?;
    for count in [database::FEW, database::MANY] {
        println!("{count} {}", databases.url(count).await?);
    }
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::stdin(), &mut rest).await?;
    Ok(())
}

//! The reconcile loop against its peer, kube-runtime's `Controller` (`benches/peer`): cold start, memory a row, reaction.
//!
//! Owns: running the two sides in turns and comparing them. Must not: be lenient with our own side: the loop runs over a real
//! Postgres and writes its leases, the peer over a server that only sends bytes it has made beforehand. Promises: every figure is
//! the median of the ratios of pairs of runs that followed each other, and ends as one line,
//! `bench NAME: FIGURE UNIT, bar OP BAR: ok` (or `: falls short`).
//!
//! `cargo run --release -p bench-loop -- all` builds the peer and runs everything; `cold` and `reaction` run a part.
//! `databases` prints the addresses of the filled databases and keeps them until its input ends, to look for where time goes:
//! `DATABASE_URL=... bench-loop subject 100000`.

mod database;
mod figures;
#[path = "../../fixture.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)] // shared with the peer, which uses other parts of it
mod fixture;
mod ours;
mod peer;
mod scenarios;
mod subject;

use anyhow::{Result, bail};
use figures::Figure;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["all"] | [] => runtime.block_on(compare(true, true)),
        ["cold"] => runtime.block_on(compare(true, false)),
        ["reaction"] => runtime.block_on(compare(false, true)),
        ["databases"] => runtime.block_on(databases()),
        // What this program starts of itself to be measured.
        ["subject", count] => runtime.block_on(ours::run(count.parse()?)),
        _ => bail!("bench-loop [all | cold | reaction | databases]"),
    }
}

async fn compare(cold: bool, reaction: bool) -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    peer::build().await?;
    let databases = database::Databases::start().await?;
    let mut figures: Vec<Figure> = Vec::new();
    if cold {
        figures.extend(scenarios::cold_starts(&databases).await?);
    }
    if reaction {
        figures.extend(scenarios::reactions(&databases).await?);
    }
    for figure in figures {
        println!("{figure}");
    }
    Ok(())
}

async fn databases() -> Result<()> {
    let databases = database::Databases::start().await?;
    for count in [database::FEW, database::MANY] {
        println!("{count} {}", databases.url(count));
    }
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::stdin(), &mut rest).await?;
    Ok(())
}

//! The peer that the reconcile loop is measured against: kube-runtime's `Controller`, and the API server that it lists and
//! watches, each a process of its own as the loop and Postgres are.
//!
//! `bench-peer server COUNT` prints its address and serves until its input ends.
//! `bench-peer controller ADDRESS COUNT` prints `ready` once every object was reconciled, then `ID NANOSECONDS` for each
//! reconcile that began since, at the line `dump`, and leaves when its input ends. From the line `spin` on, reconcile is empty and
//! requeued at once; `count` prints `RECONCILES NANOSECONDS` of it.

mod controller;
mod diff;
#[path = "../../fixture.rs"]
mod fixture;
mod object;
mod server;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", count] => server::run(count.parse()?).await,
        ["controller", address, count] => controller::run(address, count.parse()?).await,
        _ => bail!("bench-peer server COUNT | bench-peer controller ADDRESS COUNT"),
    }
}

//! Several `toolplane serve` over one database, as processes that are killed, stopped and cut off.

mod audit;
mod scene;

use e2e::eventually;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use scene::{LEASE, Replica, Scene};
use std::{process::ExitCode, time::Duration};

const ENVIRONMENTS: usize = 200;
const REPLICAS: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nobody has installed another");
    let trial = Trial::test("two_hundred_environments_come_through_kills_stops_and_restarts", || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(two_hundred_environments_come_through_kills_stops_and_restarts());
        Ok::<(), Failed>(())
    });
    // It takes more than a minute.
    let trial = trial.with_ignored_flag(!std::env::var("SOAK").is_ok_and(|soak| soak == "1"));
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

async fn two_hundred_environments_come_through_kills_stops_and_restarts() {
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut scene = Scene::with_environments(ENVIRONMENTS).await;
    scene.simulator.storm(seed, 0.1);
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(scene.replica().await);
    }
    misfortunes(&mut scene, &mut replicas, StdRng::seed_from_u64(seed)).await;

    scene.simulator.calm();
    scene.converged().await;
    let droplets = scene.droplets();
    assert_eq!(droplets.len(), ENVIRONMENTS);
    assert!(droplets.values().all(|droplets| droplets.len() == 1), "{droplets:?}");
    scene.shared_by(&replicas).await;

    failover(&mut scene, &mut replicas).await;
    let stale = audit::stale_writes(&scene.sql).await;
    assert_eq!(stale, "", "stale writes were accepted");
    let (refused, judged) = (audit::refused_writes(&scene.sql).await, audit::writes(&scene.sql).await);
    eprintln!("{judged} writes, 0 stale ones accepted, {refused} refused");
    assert!(refused > 0, "a stale write was tried");
    assert!(
        judged > u64::try_from(ENVIRONMENTS).expect("a small number"),
        "{judged} writes were judged"
    );
}

/// Three of each kind, in an order that the seed decides.
async fn misfortunes(scene: &mut Scene, replicas: &mut Vec<Replica>, mut random: StdRng) {
    let mut kinds = [Misfortune::Killed, Misfortune::Stopped, Misfortune::Restarted].repeat(3);
    kinds.shuffle(&mut random);
    for kind in kinds {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1_500))).await;
        let unlucky = random.random_range(0..replicas.len());
        eprintln!("{kind:?} {}", replicas[unlucky].login);
        match kind {
            Misfortune::Killed => {
                replicas.remove(unlucky).signal(Signal::SIGKILL);
                replicas.push(scene.replica().await);
            }
            Misfortune::Stopped => stopped_while_it_writes(scene, &replicas[unlucky]).await,
            Misfortune::Restarted => scene.restart_database().await,
        }
    }
    scene.sql.must("update account_tool_environments set paused = false").await;
}

#[derive(Clone, Copy, Debug)]
enum Misfortune {
    /// A replica, and another one is started.
    Killed,
    /// A replica, for longer than its leases.
    Stopped,
    /// Postgres.
    Restarted,
}

/// The database stalls, so that writes of the replica are on their way when it is stopped; they are let through when others have its
/// shards, and then it goes on.
async fn stopped_while_it_writes(scene: &Scene, replica: &Replica) {
    let stall = scene.stall();
    eventually("writes that are on their way", || async {
        let waiting = format!(
            "select count(*) from pg_stat_activity where usename = '{}' and wait_event_type = 'Lock' and query like '%for key share%'",
            replica.login
        );
        if scene.sql.must(&waiting).await == "0" { Err("none") } else { Ok(()) }
    })
    .await;
    replica.signal(Signal::SIGSTOP);
    scene.nothing_held_by(replica).await;
    stall.end().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    replica.signal(Signal::SIGCONT);
}

/// One that holds a third of the shards is killed: within the time of a lease and one renewal, by the database's clock, the others
/// have them and have written to each that has environments.
async fn failover(scene: &mut Scene, replicas: &mut Vec<Replica>) {
    let (killed, since) = (replicas.remove(0), audit::now(&scene.sql).await);
    killed.signal(Signal::SIGKILL);
    scene.sql.must("update account_tool_environments set paused = true").await;
    scene.shared_by(replicas).await;
    scene.observed().await;
    let failover = audit::failover(&scene.sql, &killed.login, &since).await;
    eprintln!(
        "{} shards taken over by {:.2?} after the kill, {} of {} with environments worked on by {:.2?}",
        failover.taken, failover.taken_after, failover.worked, failover.inhabited, failover.worked_after
    );
    assert!(failover.taken >= 64 / 3, "{} shards were taken over", failover.taken);
    assert_eq!(failover.missed, 0, "renewals that passed without taking what was free");
    assert_eq!(
        failover.worked, failover.inhabited,
        "all that have environments are worked on"
    );
    // The product's promise, and no measure of this machine's speed: most of it is the lease that has to expire.
    let promised = Duration::from_secs(LEASE) + Duration::from_secs(LEASE) / 3;
    assert!(failover.taken_after <= promised, "taken after {:?}", failover.taken_after);
    assert!(
        failover.worked_after <= promised,
        "worked on after {:?}",
        failover.worked_after
    );
}

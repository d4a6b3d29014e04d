//! Ports open only after their tool is ready, and close before it stops, whatever happens.
//!
//! A real Postgres, the simulator with faults, one replica of the control plane, and model agents. Users, crashes, and somebody
//! with the account's console change things at random; meanwhile a prober asks the simulator all the time which connections would
//! be let in, and compares that with what the tools are really doing. Only what an environment's own firewall lets in counts:
//! what somebody else opens is not ours.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use e2e::model_agent::prober::{Prober, Seen};
use model::EnvironmentId;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tokio_util::task::AbortOnDropHandle;
use world::World;

/// How many environments change at the same time.
const ENVIRONMENTS: usize = 8;
/// How many changes there are in all.
fn transitions() -> usize {
    if std::env::var("SOAK").is_ok_and(|soak| soak == "1") {
        1_000
    } else {
        240
    }
}
/// The ports that the few tools of an environment ever have.
const PORTS: std::ops::Range<u16> = 31_000..31_016;

/// A world in which everything is open, under a prober, and the seed of what will happen in it.
struct Stage {
    world: Arc<World>,
    environments: Vec<EnvironmentId>,
    seen: Seen,
    seed: u64,
    _prober: AbortOnDropHandle<()>,
}

impl Stage {
    async fn set() -> Self {
        // Another test of this process may have installed it before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asked = std::env::var("TOOLPLANE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = asked.unwrap_or_else(|| rand::rng().random());
        println!("TOOLPLANE_SEED={seed}");
        let world = Arc::new(World::start().await.unwrap());
        let sightings = Seen::default();
        let prober = Prober {
            firewalls: format!("toolplane-{}-", world.installation()),
            ports: PORTS,
            pause: Duration::from_millis(1),
        };
        let prober = prober.run(world.simulator.clone(), world.truth.clone(), sightings.clone());
        let prober = AbortOnDropHandle::new(tokio::spawn(prober));
        let environments = futures::future::join_all((0..ENVIRONMENTS).map(|_| world.add_environment())).await;
        for id in &environments {
            world.all_open(*id).await;
        }
        world.faults(seed);
        Self {
            world,
            environments,
            seen: sightings,
            seed,
            _prober: prober,
        }
    }

    /// So many changes of each environment, all environments at once.
    async fn changes(&self, each: usize, round: u64) {
        let mut dice = StdRng::seed_from_u64(self.seed.wrapping_add(round));
        let changes = self.environments.iter().map(|id| {
            let mut dice = StdRng::seed_from_u64(dice.random());
            async move {
                for _ in 0..each {
                    self.world.change(*id, &mut dice).await;
                    tokio::time::sleep(Duration::from_millis(dice.random_range(0..150))).await;
                }
            }
        });
        futures::future::join_all(changes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_port_is_open_before_its_tool_is_ready_or_after_it_was_stopped() {
    let stage = Stage::set().await;
    stage.changes(transitions() / ENVIRONMENTS, 0).await;
    // What is wanted is reached once the faults are over, and when all is deleted, nothing is left.
    let world = &stage.world;
    world.calm();
    for id in &stage.environments {
        world.want_all(*id).await;
    }
    for id in &stage.environments {
        world.all_open(*id).await;
    }
    world.delete_all().await;
    world.nothing_left().await;
    let seen = stage.seen.lock();
    println!("{} probes; opened {}, closed {}", seen.probes, seen.opened, seen.closed);
    assert_eq!(seen.violations, Vec::<String>::new(), "TOOLPLANE_SEED={}", stage.seed);
    assert!(
        seen.opened > transitions() / 20,
        "only {} times a port opened: this proves nothing",
        seen.opened
    );
}

/// The order hangs on the record of what may be open: where that forgets everything, the same changes leave ports open behind
/// tools that were stopped, and the prober sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_record_the_prober_sees_ports_open_behind_stopped_tools() {
    let stage = Stage::set().await;
    stage.world.forget_what_may_be_open().await;
    for round in 0..100 {
        stage.changes(1, round).await;
        if !stage.seen.lock().violations.is_empty() {
            return;
        }
    }
    panic!("TOOLPLANE_SEED={}: the prober saw nothing: it could not tell", stage.seed);
}

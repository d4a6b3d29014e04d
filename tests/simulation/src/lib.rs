//! Every pure core of Toolplane under a seeded schedule of everything that can go wrong.
//!
//! The decisions of all reconcilers, the runtime's queue and passes, the outbox, the memory of the fleet and its breaker are the real
//! ones. Around them are models of DigitalOcean, Postgres, agents and clocks, in which requests are lost, answers come twice or late or
//! never, lists lag and lie, processes die or are stopped at any request, leases expire, users change their minds, and somebody destroys
//! and edits droplets. After a while nothing goes wrong any more, and everything has to come to rest where it is wanted.
//!
//! Owns: the models, the schedule, the invariants. Must not: be used by any other crate, or reach anything outside its process. Promises:
//! one thread, no clock, no chance but the seed's: the same seed is the same story, letter by letter.
//!
//! ```text
//!  seed --> schedule (what goes wrong) --> simulation (one event after the other) --> invariants (at every effect, and in the end)
//!                                            |                |
//!                          replicas: the real queue,        world: cloud, database, agents, each a model
//!                          passes, decisions, outbox
//! ```
//!
//! `docs/guards.md` lists what keeps the promise of exactly one droplet, and the test that shows what happens without each.

pub mod agent;
pub mod cloud;
pub mod database;
pub mod dice;
mod ending;
pub mod engine;
mod fate;
pub mod invariants;
pub mod moment;
pub mod process;
pub mod reconcilers;
pub mod replica;
pub mod sabotage;
pub mod schedule;
mod simulation;
pub mod soak;
pub mod story;
mod users;
pub mod wire;
pub mod world;

pub use sabotage::Sabotage;
pub use schedule::Script;

use moment::{Millis, seconds};
use simulation::Simulation;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a story ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// What happened that must not, or did not happen that must; `None` when all was well.
    pub violation: Option<String>,
    /// What happened, a line each; empty unless it was asked for.
    pub story: String,
    /// Passes of all reconcilers.
    pub passes: u64,
    /// Writes that came with an epoch that was over, and were refused.
    pub refused: u64,
    /// What arrived too late to be called back, because its process was stopped in the middle of sending it.
    pub excused: u64,
    /// When it had come to rest, in seconds since the story began.
    pub seconds: i64,
}

/// For how long things go wrong.
const CHAOS: (Millis, Millis) = (seconds(100), seconds(300));
/// For how long DigitalOcean denies every droplet: longer than a sweep takes to notice.
const BLACKOUT: (Millis, Millis) = (seconds(90), seconds(200));
/// How long they may take to come to rest after that. A refused create waits five minutes, a failing pass as long, and so does what
/// waits for one of both.
const PATIENCE: Millis = seconds(3 * 3600);
/// For how long nothing is done to it once it has come to rest and all that was under way has arrived: the passes that waited for that
/// go on, there is a sweep, and every record is read.
const QUIET: Millis = seconds(70);
/// How often that is looked at.
const GLANCE: Millis = seconds(10);

/// Plays the story of a seed. With `told`, every step is written down.
pub fn run(seed: u64, script: Script, sabotage: Sabotage, told: bool) -> Ending {
    let played = catch_unwind(AssertUnwindSafe(|| play(seed, script, sabotage, told)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&'static str>().copied());
        Ending {
            violation: Some(format!("it panicked: {}", text.unwrap_or("without a word"))),
            ..Ending::default()
        }
    })
}

fn play(seed: u64, script: Script, sabotage: Sabotage, told: bool) -> Ending {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(tell(seed, script, sabotage, told)),
        Err(error) => Ending {
            violation: Some(format!("no runtime: {error}")),
            ..Ending::default()
        },
    }
}

async fn tell(seed: u64, script: Script, sabotage: Sabotage, told: bool) -> Ending {
    let mut simulation = Simulation::new(seed, script, sabotage, told);
    match script {
        Script::Everything | Script::Standstills => {
            let chaos = simulation.world.dice.between(CHAOS.0, CHAOS.1);
            simulation.run_until(chaos).await;
        }
        Script::Blackout => {
            come_to_rest(&mut simulation, PATIENCE).await;
            let dark = simulation.world.now + simulation.world.dice.between(BLACKOUT.0, BLACKOUT.1);
            simulation.world.cloud.dark_until = dark;
            simulation
                .world
                .tell("story", format_args!("DigitalOcean denies every droplet"));
            simulation.run_until(dark).await;
        }
    }
    simulation.calm();
    let until = simulation.world.now + PATIENCE;
    come_to_rest(&mut simulation, until).await;
    stay_at_rest(&mut simulation).await;
    let world = simulation.world;
    Ending {
        violation: world.invariants.violation().map(ToOwned::to_owned),
        passes: simulation.passes,
        refused: world.database.refused,
        excused: world.invariants.excused,
        seconds: world.now / 1000,
        story: world.story.into_text(),
    }
}

async fn come_to_rest(simulation: &mut Simulation, until: Millis) {
    while let Some(missing) = simulation.unsettled() {
        if simulation.world.invariants.violation().is_some() {
            return;
        }
        if simulation.world.now >= until {
            return simulation
                .world
                .invariants
                .violated(format!("it does not come to rest: {missing}"));
        }
        let next = simulation.world.now + GLANCE;
        simulation.run_until(next).await;
    }
}

/// Ten rounds in which every key is worked on again, and nothing is left to do.
async fn stay_at_rest(simulation: &mut Simulation) {
    // What stopped processes were about to send arrives at last, and may be put right.
    let next = simulation.last_arrival().max(simulation.world.now) + QUIET;
    simulation.run_until(next).await;
    come_to_rest(simulation, next + PATIENCE).await;
    let before = simulation.world.invariants.effects;
    for _ in 0..10 {
        simulation.wake_everything();
        let next = simulation.world.now + seconds(4);
        simulation.run_until(next).await;
    }
    let done = simulation.world.invariants.effects - before;
    if done > 0 {
        simulation
            .world
            .invariants
            .violated(format!("it had come to rest, and then did {done} things more"));
    }
    if let Some(missing) = simulation.unsettled() {
        simulation
            .world
            .invariants
            .violated(format!("it did not stay at rest: {missing}"));
    }
}

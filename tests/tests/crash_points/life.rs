//! One life of an environment, from its creation on, with crashes in it.

use crate::{
    passes::Passes,
    scenario::Scenario,
    witness::{Crash, Crasher, Point},
    world::{RESYNC, World},
};
use model::ids::SHARDS;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Bounds a hang; nothing is measured by it.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks at what costs nothing to look at.
const GLANCE: Duration = Duration::from_millis(10);
/// Between two looks while no effect tells that there is something new to see.
const LOOK: Duration = Duration::from_millis(100);
/// For how many sweeps nothing may be changed before the end counts as reached: what follows from it are events and statuses.
const SETTLING: u32 = 4;
/// How many passes of each kind have to find nothing to do, and half as many sweeps nothing new.
const PASSES: u32 = 10;
/// What looks at an environment again and again, for as long as there is one.
const KINDS: [&str; 3] = ["environment", "firewall", "instance"];
/// How many requests one sweep makes, of an account as small as this.
const REQUESTS_A_SWEEP: u64 = 2;

/// One scenario of a life, and how it goes.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) scenario: Scenario,
    /// The first strikes the replica that runs when the scenario begins, each other one the replica that is started after the crash
    /// before.
    pub(crate) crashes: Vec<Crash>,
    /// Whether it is only on the way to another one, and nothing has to be looked at or made harder.
    pub(crate) passing: bool,
}

/// What one scenario of a life came to.
pub(crate) struct Played {
    pub(crate) scenario: Scenario,
    pub(crate) crashes: Vec<Crash>,
    /// How many of them were come to.
    pub(crate) struck: usize,
    /// The points of the last replica.
    pub(crate) points: Vec<Point>,
    /// What was not as it has to be.
    pub(crate) failure: Option<String>,
    /// What its replicas did.
    pub(crate) story: String,
}

/// Lives until all steps have been taken, or one has failed.
pub(crate) async fn live(steps: Vec<Step>, passes: Arc<Passes>) -> Vec<Played> {
    let mut world = World::new(passes).await.expect("a world can be made");
    let mut all = Vec::new();
    for step in steps {
        let played = play(&mut world, step).await;
        let failed = played.failure.is_some();
        all.push(played);
        if failed {
            break;
        }
    }
    world.end().await;
    all
}

/// Plays one scenario.
async fn play(world: &mut World, step: Step) -> Played {
    let Step {
        scenario,
        crashes,
        passing,
    } = step;
    world.forget_the_dead();
    world.hide_new_droplets(!passing);
    let mut ahead = crashes.iter().cloned();
    let first = ahead.next();
    if scenario == Scenario::Create {
        scenario.begin(world).await;
        world.start(first).await;
    } else {
        world.witness.arm(first);
        scenario.begin(world).await;
    }
    let mut struck = 0;
    let mut outcome = converge(world, scenario, &mut ahead, &mut struck).await;
    let points = world.witness.points();
    if outcome.is_ok() {
        outcome = world.nothing_forbidden();
    }
    if outcome.is_ok() && !passing {
        outcome = rest(world, scenario).await;
    }
    Played {
        scenario,
        crashes,
        struck,
        points,
        failure: outcome.err(),
        story: world.story(),
    }
}

/// Until the end is reached, with as many replicas as it takes.
async fn converge(
    world: &mut World,
    scenario: Scenario,
    ahead: &mut impl Iterator<Item = Crash>,
    struck: &mut usize,
) -> Result<(), String> {
    loop {
        let witness = Arc::clone(&world.witness);
        let reached = tokio::select! {
            () = witness.crashed() => None,
            outcome = reach(world, scenario) => Some(outcome),
        };
        match reached {
            // The answer that is not to be recorded was the last thing to come, so the crash is now.
            Some(Ok(())) if !world.witness.has_crashed() && !world.witness.is_about_to_crash() => return Ok(()),
            Some(Err(reason)) => return Err(reason),
            Some(Ok(())) | None => {
                *struck += 1;
                world.kill().await;
                let next = ahead.next();
                world.start(next).await;
            }
        }
    }
}

/// Until the end is reached and nothing follows from it any more.
async fn reach(world: &World, scenario: Scenario) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let changes = world.witness.changes();
        let reached = match scenario_reached(world, scenario).await {
            Ok(()) => {
                sweeps(world, SETTLING).await?;
                let more = world.witness.changes() - changes;
                if more == 0 {
                    return Ok(());
                }
                format!("{more} changes after the end was reached")
            }
            Err(reason) => reason,
        };
        if began.elapsed() > PATIENCE {
            return Err(format!("not reached: {reached}"));
        }
        something_new(world, changes).await;
    }
}

/// Waits for a change of the replica's, for as long as it is worth waiting for one.
async fn something_new(world: &World, changes: usize) {
    let began = Instant::now();
    while world.witness.changes() == changes && began.elapsed() < LOOK {
        tokio::time::sleep(GLANCE).await;
    }
}

/// As long as the dead hold the leases, nobody does anything, and nothing of that is rest.
async fn scenario_reached(world: &World, scenario: Scenario) -> Result<(), String> {
    let held = world.shards_held();
    if held < usize::from(SHARDS) {
        return Err(format!("{held} shards are held"));
    }
    scenario.reached(world).await
}

/// Waits for so many sweeps and full reads, each of which wakes whatever may have something to do. On a busy machine they take
/// as much longer as everything else does.
async fn sweeps(world: &World, count: u32) -> Result<(), String> {
    let enough = world.simulator.reads() + REQUESTS_A_SWEEP * u64::from(count);
    let began = Instant::now();
    while world.simulator.reads() < enough || began.elapsed() < RESYNC * count {
        if began.elapsed() > PATIENCE {
            return Err("the fleet is not swept any more".to_owned());
        }
        tokio::time::sleep(GLANCE).await;
    }
    Ok(())
}

/// Waits for so many whole passes of each kind, if there is something left to look at.
async fn passes(world: &World, count: u32) -> Result<(), String> {
    if world.record().await.is_none() {
        return Ok(());
    }
    // The first one to end may have begun before.
    let enough = KINDS.map(|kind| (kind, world.passes.of(kind) + u64::from(count) + 1));
    let began = Instant::now();
    for (kind, enough) in enough {
        while world.passes.of(kind) < enough {
            if began.elapsed() > PATIENCE {
                return Err(format!("there are no passes of kind {kind} any more"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
    Ok(())
}

/// All is well: ten passes later it still is, and nothing was done for it.
async fn rest(world: &World, scenario: Scenario) -> Result<(), String> {
    let witness: &Crasher = &world.witness;
    witness.disarm();
    witness.quiet();
    let journal = world.simulator.journal(0).len();
    let row = world.row().await;
    tokio::try_join!(sweeps(world, PASSES / 2), passes(world, PASSES))?;
    let requests = world.simulator.journal(0).split_off(journal);
    let changes = witness.violations();
    if !requests.is_empty() || !changes.is_empty() {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let (before, after) = (format!("{row:#?}"), format!("{:#?}", world.row().await));
        let differs = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
        let differs: Vec<String> = differs
            .map(|(before, after)| format!("{} -> {}", before.trim(), after.trim()))
            .collect();
        return Err(format!("no rest: {changes:?} {requests:?} {differs:?}"));
    }
    scenario.reached(world).await?;
    scenario.audit(world).await
}

//! Every guard is taken away once, and something goes wrong. `docs/guards.md` lists them.

use simulation::{Sabotage, Script, run};

/// More seeds than any guard needs to be missed.
const SEEDS: std::ops::Range<u64> = 1..400;

const TWO_DROPLETS: &str = "a droplet is made for environment";

/// Without the guard a seed fails like this, and with it the same seed does not.
fn bites(guard: &str, script: Script, failing: &[&str]) {
    let sabotage = Sabotage::without(guard).expect("a guard of that name");
    for seed in SEEDS {
        let without = run(seed, script, sabotage, false);
        let Some(violation) = without.violation else { continue };
        if failing.iter().any(|words| violation.contains(words)) {
            let with = run(seed, script, Sabotage::NONE, false);
            assert_eq!(with.violation, None, "seed {seed} fails with the guard, too");
            println!("seed {seed}: {violation}");
            return;
        }
    }
    panic!("nothing goes wrong without the guard");
}

#[test]
fn the_intent_bites() {
    bites("intent", Script::Everything, &[TWO_DROPLETS]);
}

#[test]
fn the_lag_window_bites() {
    bites("lag-window", Script::Everything, &[TWO_DROPLETS]);
}

#[test]
fn the_tag_check_bites() {
    bites(
        "tag-check",
        Script::Everything,
        &["its tags were not seen to be ours", "another installation's"],
    );
}

#[test]
fn the_epoch_check_bites() {
    bites("epoch", Script::Everything, &["under an epoch that is over"]);
}

#[test]
fn the_stale_read_check_bites() {
    bites("stale-read", Script::Standstills, &[TWO_DROPLETS]);
}

#[test]
fn that_unknown_never_creates_bites() {
    bites("unknown", Script::Everything, &[TWO_DROPLETS]);
}

#[test]
fn the_breaker_bites() {
    bites("breaker", Script::Blackout, &[TWO_DROPLETS]);
}

#[test]
fn the_replay_check_bites() {
    bites("replay", Script::Everything, &["replaced a later one"]);
}

#[test]
fn the_shared_clock_bites() {
    bites(
        "clock",
        Script::Everything,
        &["is stopped while port", "its phase is Unresponsive"],
    );
}

#[test]
fn the_record_of_open_ports_bites() {
    bites("port-record", Script::Everything, &["is stopped while port"]);
}

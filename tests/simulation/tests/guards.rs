//! Every guard is taken away once, and something goes wrong. `docs/guards.md` lists them.

use simulation::{Sabotage, run};

/// More seeds than any guard needs to be missed.
const SEEDS: std::ops::Range<u64> = 1..600;

/// Without the guard a seed fails like this, and with it the same seed does not.
fn bites(sabotage: Sabotage, failing: &[&str]) {
    for seed in SEEDS {
        let without = run(seed, sabotage, false);
        let Some(violation) = without.violation else { continue };
        if failing.iter().any(|words| violation.contains(words)) {
            let with = run(seed, Sabotage::NONE, false);
            assert_eq!(with.violation, None, "seed {seed} fails with the guard, too");
            println!("seed {seed}: {violation}");
            return;
        }
    }
    panic!("nothing goes wrong without the guard");
}

const TWO_DROPLETS: &str = "a droplet is made for environment";

#[test]
fn the_intent_bites() {
    let sabotage = Sabotage {
        intents: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &[TWO_DROPLETS]);
}

#[test]
fn the_lag_window_bites() {
    let sabotage = Sabotage {
        lag_window: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &[TWO_DROPLETS]);
}

#[test]
fn the_tag_check_bites() {
    let sabotage = Sabotage {
        tag_check: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &["its tags were not seen to be ours", "another installation's"]);
}

#[test]
fn the_epoch_check_bites() {
    let sabotage = Sabotage {
        epochs: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &["under an epoch that is over"]);
}

#[test]
fn that_unknown_never_creates_bites() {
    let sabotage = Sabotage {
        unknown: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &[TWO_DROPLETS]);
}

#[test]
fn the_breaker_bites() {
    let sabotage = Sabotage {
        breaker: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &[TWO_DROPLETS]);
}

#[test]
fn the_replay_check_bites() {
    let sabotage = Sabotage {
        replays: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &["replaced a later one"]);
}

#[test]
fn the_record_of_open_ports_bites() {
    let sabotage = Sabotage {
        port_record: true,
        ..Sabotage::NONE
    };
    bites(sabotage, &["is stopped while port", "is opened before its tool was ready"]);
}

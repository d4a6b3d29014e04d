//! A replica of the control plane is killed at every effect that it has, before it, after it and after its answer, in every scenario
//! of an environment's life; another one starts; and in the end there is exactly one droplet, or none, and rest.
//!
//! Clean lives count the points. Then each is come to once for each kind of crash: life `n` crashes at the `n`-th point of every
//! scenario that has so many, since what one scenario left is what the next begins with. Pairs (a second crash in the replica
//! that was started after the first) are taken for the creation and for the deletion; a life of pairs has several environments, one after
//! the other. `make soak` (`SOAK=1`) takes all of them,
//! `make test` a seeded sample of each scenario's, the same ones each time. `CRASH_PART='1/12'` takes a twelfth of the single crashes,
//! and the pairs that begin with a twelfth of the first ones.
//!
//! Which writes fall together follows from the clock, so a life may have fewer occurrences of an effect than the one that counted.
//! A crash that was not come to is tried again, [`TRIES`] times in all. `make soak` counts in three lives, and fails when an effect that all of them had is never come to.
//!
//! `CRASH_POINT='delete digitalocean.droplet_delete#1:before'` plays one crash again and prints its story; a second crash follows
//! after another space.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

mod life;
mod passes;
mod plan;
mod scenario;
mod setup;
mod watch;
mod witness;
mod world;

use life::{Played, Step, live};
use passes::Passes;
use plan::{Counted, Planned};
use scenario::Scenario;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

/// Lives at once: most of each is waiting.
const AT_ONCE: usize = 24;
/// How often a crash is tried that is not come to.
const TRIES: usize = 5;
/// How many failures are told in full.
const TOLD: usize = 5;

#[test]
fn whatever_crashes_in_the_end_there_is_exactly_one_droplet_or_none() {
    install_cryptography();
    if let Ok(crash) = std::env::var("CRASH_POINT") {
        return replay(&crash);
    }
    let counted = count(&Scenario::LIFE);
    let began = Instant::now();
    let singles = play_until_struck(plan::singles(&counted), plan::whole_lives);
    report("single crashes", &singles, began);
    let mut failures: Vec<String> = singles.iter().filter_map(failure).collect();
    failures.extend(never_come_to(&counted, &singles));
    assert_none(&failures);
}

#[test]
fn whatever_crashes_twice_in_the_end_there_is_exactly_one_droplet_or_none() {
    install_cryptography();
    if std::env::var_os("CRASH_POINT").is_some() {
        return;
    }
    let counted = count(&plan::SHORT_LIFE);
    let began = Instant::now();
    let firsts = play_until_struck(plan::firsts(&counted), plan::short_lives);
    let pairs = play_until_struck(plan::pairs(&firsts), plan::short_lives);
    report("pairs of crashes", &pairs, began);
    let mut failures: Vec<String> = firsts.iter().chain(&pairs).filter_map(failure).collect();
    failures.extend(never_come_to(&counted, &firsts));
    // Where the second replica begins is decided by what the world did meanwhile; but nearly all pairs have to be played.
    let missed = pairs.iter().filter(|played| played.struck < played.crashes.len()).count();
    if missed * 20 > pairs.len() {
        failures.push(format!("{missed} of {} pairs were not come to", pairs.len()));
    }
    assert_none(&failures);
}

fn install_cryptography() {
    // The other test of this process may have done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// What each run should have come to, and none of the tries did.
fn never_come_to(counted: &Counted, played: &[Played]) -> Vec<String> {
    let missed = played
        .iter()
        .filter(|played| played.failure.is_none() && played.struck < played.crashes.len());
    missed
        .filter(|played| counted.is_always(played.scenario, &played.crashes[0].point))
        .map(|played| format!("never come to: {}", name(played)))
        .collect()
}

fn assert_none(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
}

/// The points of each scenario, from lives in which nothing crashes.
fn count(scenarios: &[Scenario]) -> Counted {
    let began = Instant::now();
    let count = if plan::takes_all() { plan::ALWAYS } else { 1 };
    let lives = (0..count).map(|_| {
        let steps = scenarios.iter().map(|scenario| Step {
            scenario: *scenario,
            crashes: Vec::new(),
            passing: !plan::takes_all(),
        });
        steps.collect()
    });
    let played = play_lives(lives.collect());
    if let Some(failure) = played.iter().find_map(failure) {
        panic!("without any crash: {failure}");
    }
    let counted = Counted::of(&played);
    println!("points, clean lives: {count}, in {:.1?}: {counted}", began.elapsed());
    counted
}

/// Plays crashes until each has been come to, or tried often enough.
fn play_until_struck(planned: Vec<Planned>, arrange: fn(Vec<Planned>) -> Vec<Vec<Step>>) -> Vec<Played> {
    let (mut done, mut ahead) = (Vec::new(), planned);
    for attempt in 1..=TRIES {
        let (missed, over): (Vec<Played>, Vec<Played>) = play_lives(arrange(ahead))
            .into_iter()
            .filter(|played| !played.crashes.is_empty() || played.failure.is_some())
            .partition(|played| played.failure.is_none() && played.struck < played.crashes.len());
        done.extend(over);
        if attempt == TRIES {
            done.extend(missed);
            break;
        }
        ahead = missed.into_iter().map(|played| (played.scenario, played.crashes)).collect();
    }
    done
}

/// Plays lives on as many threads as play at once, each with a runtime that ends with the life and takes along whatever still runs.
fn play_lives(lives: Vec<Vec<Step>>) -> Vec<Played> {
    let ahead = Mutex::new(lives.into_iter());
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(steps) = ahead.lock().unwrap().next() else { break };
                    let played = play(steps);
                    // At once: the whole report comes when everything has been played.
                    for failure in played.iter().filter_map(failure) {
                        println!("{}", failure.lines().next().unwrap_or_default());
                    }
                    all.lock().unwrap().extend(played);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn play(steps: Vec<Step>) -> Vec<Played> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let passes = Arc::new(Passes::default());
    metrics::with_local_recorder(&*passes, || runtime.block_on(live(steps, Arc::clone(&passes))))
}

/// Plays what a failure has named.
fn replay(text: &str) {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let scenario = Scenario::LIFE.into_iter().find(|scenario| scenario.to_string() == name);
    let scenario = scenario.unwrap_or_else(|| panic!("CRASH_POINT: {name:?} is no scenario"));
    let crashes = words.map(|word| word.parse().unwrap_or_else(|()| panic!("CRASH_POINT: {word:?} is no crash")));
    let planned = vec![(scenario, crashes.collect())];
    let played: Vec<Played> = plan::whole_lives(planned).into_iter().flat_map(play).collect();
    for played in played.iter().filter(|played| played.scenario == scenario) {
        println!("{} crashes of {}\n    {}", played.struck, played.crashes.len(), played.story);
    }
    if let Some(failure) = played.iter().find_map(failure) {
        panic!("{failure}");
    }
}

/// As `CRASH_POINT` takes it.
fn name(played: &Played) -> String {
    let crashes: Vec<String> = played.crashes.iter().map(ToString::to_string).collect();
    format!("{} {}", played.scenario, crashes.join(" "))
}

fn failure(played: &Played) -> Option<String> {
    let reason = played.failure.as_ref()?;
    Some(format!("CRASH_POINT='{}': {reason}\n    {}", name(played), played.story))
}

fn report(what: &str, played: &[Played], began: Instant) {
    let mut counts: BTreeMap<Scenario, (usize, usize)> = BTreeMap::new();
    for played in played.iter().filter(|played| !played.crashes.is_empty()) {
        let (runs, struck) = counts.entry(played.scenario).or_default();
        *runs += 1;
        *struck += usize::from(played.struck == played.crashes.len());
    }
    let (runs, struck) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let names: Vec<String> = counts
        .iter()
        .map(|(scenario, (runs, struck))| format!("{scenario} {struck} of {runs}"))
        .collect();
    println!("{what}: {struck} of {runs} in {:.1?}: {}", began.elapsed(), names.join(", "));
    for missed in played.iter().filter(|played| played.struck < played.crashes.len()) {
        println!("    not come to: {}", name(missed));
    }
}

//! A replica of the control plane is killed at every effect that it has, before it, after it and after its answer, in every scenario
//! of an environment's life; another one starts; and in the end there is exactly one droplet, or none, and rest.
//!
//! One clean life counts the points. Then each is come to once for each kind of crash: life `n` crashes at the `n`-th point of every
//! scenario that has so many, since what one scenario left is what the next begins with. Pairs (a second crash in the replica
//! that was started after the first) are taken for the creation and for the deletion. `SOAK=1` takes all of them; without it a
//! seeded sample of single crashes and of pairs is taken, the same ones each time. Also that takes minutes, so it is `make soak`
//! that runs this.
//!
//! `CRASH_POINT='delete digitalocean.droplet_delete#1:before'` plays one crash again and prints its story; a second crash follows
//! after another space.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

mod life;
mod scenario;
mod witness;
mod world;

use life::{Crashes, Played, live};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use scenario::Scenario;
use std::{collections::BTreeMap, sync::Mutex, time::Instant};
use witness::{Crash, Kind, Point};

/// Lives at once: most of each is waiting.
const AT_ONCE: usize = 24;
/// How many pairs of a scenario are taken unless all are.
const SAMPLE: usize = 20;
/// Of the sample.
const SEED: u64 = 20_261_122;
/// The scenarios whose pairs are taken.
const PAIRED: [Scenario; 2] = [Scenario::Create, Scenario::Delete];
/// How many failures are told in full.
const TOLD: usize = 5;

#[test]
#[ignore = "takes minutes: `make soak` runs it"]
fn whatever_crashes_in_the_end_there_is_exactly_one_droplet_or_none() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nobody has installed another");
    let points = count();
    if let Ok(crash) = std::env::var("CRASH_POINT") {
        return replay(&crash);
    }
    let began = Instant::now();
    let singles = play_all(single_lives(&points));
    report("singles", &singles, began);
    let began = Instant::now();
    let pairs = play_all(paired_lives(&singles));
    report("pairs", &pairs, began);
    let failures: Vec<String> = singles.iter().chain(&pairs).filter_map(failure).collect();
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
}

/// The points of each scenario, from one life in which nothing crashes.
fn count() -> BTreeMap<Scenario, Vec<Point>> {
    let clean = Scenario::LIFE.map(|scenario| (scenario, Vec::new()));
    let played = play(clean.into());
    if let Some(failure) = played.iter().find_map(failure) {
        panic!("without any crash: {failure}");
    }
    let points = played.into_iter().map(|played| (played.scenario, played.points));
    points.collect()
}

/// Life `n` crashes at the `n`-th point of every scenario.
fn single_lives(points: &BTreeMap<Scenario, Vec<Point>>) -> Vec<Crashes> {
    let crashes: Vec<(Scenario, Vec<Vec<Crash>>)> = points
        .iter()
        .map(|(scenario, points)| (*scenario, taken(each_kind(points).map(|crash| vec![crash]))))
        .collect();
    side_by_side(crashes)
}

/// Of what only reads, one kind: whether it was asked, and whether the answer was seen, the world is the same.
fn each_kind(points: &[Point]) -> impl Iterator<Item = Crash> {
    points.iter().flat_map(|point| {
        let kinds = if point.mutating { &Kind::ALL[..] } else { &[Kind::Unanswered] };
        kinds.iter().map(|kind| Crash {
            point: point.clone(),
            kind: *kind,
        })
    })
}

/// Second crashes at the points of the replica that was started after the first.
fn paired_lives(singles: &[Played]) -> Vec<Crashes> {
    let pairs = PAIRED.map(|scenario| {
        let singles = singles
            .iter()
            .filter(|single| single.scenario == scenario && single.struck == 1);
        let pairs = singles.flat_map(|single| each_kind(&single.points).map(|second| vec![single.crashes[0].clone(), second]));
        (scenario, taken(pairs))
    });
    side_by_side(pairs.into())
}

/// All of them with `SOAK=1`, else the sample.
fn taken(crashes: impl Iterator<Item = Vec<Crash>>) -> Vec<Vec<Crash>> {
    let mut crashes: Vec<Vec<Crash>> = crashes.collect();
    if !std::env::var("SOAK").is_ok_and(|soak| soak == "1") {
        crashes.shuffle(&mut StdRng::seed_from_u64(SEED));
        crashes.truncate(SAMPLE);
    }
    crashes
}

/// As few lives as it takes: the `n`-th has the `n`-th crashes of every scenario.
fn side_by_side(crashes: Vec<(Scenario, Vec<Vec<Crash>>)>) -> Vec<Crashes> {
    let longest = crashes.iter().map(|(_, crashes)| crashes.len()).max().unwrap_or_default();
    let mut lives = vec![Crashes::new(); longest];
    for (scenario, crashes) in crashes {
        for (life, crashes) in lives.iter_mut().zip(crashes) {
            life.insert(scenario, crashes);
        }
    }
    lives
}

/// Plays lives on as many threads as play at once, each with a runtime that ends with the life and takes along whatever still runs.
fn play_all(lives: Vec<Crashes>) -> Vec<Played> {
    let ahead = Mutex::new(lives.into_iter());
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(crashes) = ahead.lock().unwrap().next() else { break };
                    let played = play(crashes);
                    // At once: the whole report comes when everything has been played.
                    for failure in played.iter().filter_map(failure) {
                        println!("{}", failure.lines().next().unwrap_or_default());
                    }
                    all.lock().unwrap().extend(played);
                }
            });
        }
    });
    let all = all.into_inner().unwrap().into_iter();
    all.filter(|played: &Played| !played.crashes.is_empty() || played.failure.is_some())
        .collect()
}

fn play(crashes: Crashes) -> Vec<Played> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(live(crashes))
}

/// Plays what a failure has named.
fn replay(text: &str) {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let scenario = Scenario::LIFE.into_iter().find(|scenario| scenario.to_string() == name);
    let scenario = scenario.unwrap_or_else(|| panic!("CRASH_POINT: {name:?} is no scenario"));
    let crashes = words.map(|word| word.parse().unwrap_or_else(|()| panic!("CRASH_POINT: {word:?} is no crash")));
    let played = play(Crashes::from([(scenario, crashes.collect())]));
    for played in played.iter().filter(|played| played.scenario == scenario) {
        println!("{} crashes of {}\n    {}", played.struck, played.crashes.len(), played.story);
    }
    if let Some(failure) = played.iter().find_map(failure) {
        panic!("{failure}");
    }
}

fn failure(played: &Played) -> Option<String> {
    let reason = played.failure.as_ref()?;
    let crashes: Vec<String> = played.crashes.iter().map(ToString::to_string).collect();
    let point = format!("{} {}", played.scenario, crashes.join(" "));
    Some(format!("CRASH_POINT='{point}': {reason}\n    {}", played.story))
}

fn report(what: &str, played: &[Played], began: Instant) {
    let mut counts: BTreeMap<Scenario, (usize, usize)> = BTreeMap::new();
    for played in played.iter().filter(|played| !played.crashes.is_empty()) {
        let (runs, struck) = counts.entry(played.scenario).or_default();
        *runs += 1;
        *struck += usize::from(played.struck == played.crashes.len());
    }
    let names: Vec<String> = counts
        .iter()
        .map(|(scenario, (runs, struck))| format!("{scenario} {struck} of {runs}"))
        .collect();
    println!("{what} in {:.1?}: {}", began.elapsed(), names.join(", "));
    for missed in played.iter().filter(|played| played.struck < played.crashes.len()) {
        let crashes: Vec<String> = missed.crashes.iter().map(ToString::to_string).collect();
        println!("    not come to: {} {}", missed.scenario, crashes.join(" "));
    }
}

//! Which crashes there are, and in which lives they are played.

use crate::{
    life::{Played, Step},
    scenario::Scenario,
    witness::{Crash, Kind, Point},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

/// How many crashes and pairs of a scenario are taken unless all are.
const SAMPLE: usize = 2;
/// How many lives tell what is always come to.
pub(crate) const ALWAYS: usize = 3;
/// Of the sample.
const SEED: u64 = 20_261_122;
/// The scenarios whose pairs are taken.
const PAIRED: [Scenario; 2] = [Scenario::Create, Scenario::Delete];
/// A life with these, and no more than it takes for them.
pub(crate) const SHORT_LIFE: [Scenario; 3] = [Scenario::Create, Scenario::Add, Scenario::Delete];

/// How many environments come and go in a short life, which begins with a database of its own.
const ENVIRONMENTS_A_LIFE: usize = 4;

/// A scenario and its crashes, each in the replica that is started after the one before.
pub(crate) type Planned = (Scenario, Vec<Crash>);

/// The points of each scenario.
pub(crate) struct Counted {
    /// Those that any life has had.
    any: BTreeMap<Scenario, BTreeSet<Point>>,
    /// The effects that every life has had.
    always: BTreeMap<Scenario, BTreeSet<String>>,
    /// Whether these were enough lives to say so.
    enough: bool,
}

impl Counted {
    pub(crate) fn of(clean: &[Played]) -> Self {
        let (mut any, mut always) = (BTreeMap::<_, BTreeSet<Point>>::new(), BTreeMap::<_, BTreeSet<String>>::new());
        for played in clean {
            any.entry(played.scenario).or_default().extend(played.points.iter().cloned());
            let effects: BTreeSet<String> = played.points.iter().map(|point| point.effect.clone()).collect();
            always
                .entry(played.scenario)
                .and_modify(|known| known.retain(|effect| effects.contains(effect)))
                .or_insert(effects);
        }
        let lives = clean.iter().filter(|played| played.scenario == Scenario::Create).count();
        let enough = lives >= ALWAYS;
        Self { any, always, enough }
    }

    /// Whether each run of the scenario has to come to this point: later occurrences may fall together.
    pub(crate) fn is_always(&self, scenario: Scenario, point: &Point) -> bool {
        let effects = self.always.get(&scenario);
        self.enough && point.nth == 1 && effects.is_some_and(|effects| effects.contains(&point.effect))
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.any.iter().map(|(scenario, points)| {
            let reads = points.iter().filter(|point| !point.mutating).count();
            format!("{scenario} {} ({reads} reads)", points.len())
        });
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

/// One crash at each point, of each kind.
pub(crate) fn singles(counted: &Counted) -> Vec<Planned> {
    let crashes = counted.any.iter().flat_map(|(scenario, points)| {
        let crashes = points.iter().flat_map(|point| each(point, &Kind::ALL));
        taken(crashes.map(|crash| (*scenario, vec![crash])))
    });
    part(crashes.collect())
}

/// What pairs begin with.
pub(crate) fn firsts(counted: &Counted) -> Vec<Planned> {
    let firsts = PAIRED.into_iter().flat_map(|scenario| {
        let points = counted.any.get(&scenario).into_iter().flatten();
        let crashes = points.flat_map(|point| each(point, kinds_in_pairs(point)));
        taken(crashes.map(|crash| (scenario, vec![crash])))
    });
    part(firsts.collect())
}

/// Second crashes at the points of the replica that was started after the first: each pair of points once. Of which kinds the two
/// crashes are follows from the points, so that a point crashes in each way with some of the others.
pub(crate) fn pairs(firsts: &[Played]) -> Vec<Planned> {
    let pairs = PAIRED.into_iter().flat_map(|scenario| {
        let struck = |first: &&Played| first.scenario == scenario && first.failure.is_none() && first.struck == 1;
        let pairs = firsts.iter().filter(struck).flat_map(|first| {
            let crash = &first.crashes[0];
            let seconds = first.points.iter().filter_map(move |second| {
                let (kind, second_kind) = kinds_of_pair(&crash.point, second);
                let second = Crash {
                    point: second.clone(),
                    kind: second_kind,
                };
                (kind == crash.kind).then(|| vec![crash.clone(), second])
            });
            seconds.map(|crashes| (scenario, crashes))
        });
        taken(pairs)
    });
    pairs.collect()
}

fn kinds_of_pair(first: &Point, second: &Point) -> (Kind, Kind) {
    let mut hasher = DefaultHasher::new();
    (first, second).hash(&mut hasher);
    let number = hasher.finish();
    let [one, other] = [first, second].map(kinds_in_pairs);
    let chosen = |kinds: &[Kind], number: u64| kinds[usize::from(number % 2 == 1) % kinds.len()];
    (chosen(one, number), chosen(other, number >> 1))
}

/// The kinds that leave different things behind: whether an answer was seen dies with the replica, and a read leaves nothing.
fn kinds_in_pairs(point: &Point) -> &'static [Kind] {
    if point.mutating {
        &[Kind::Before, Kind::Unanswered]
    } else {
        &[Kind::Unanswered]
    }
}

fn each(point: &Point, kinds: &[Kind]) -> impl Iterator<Item = Crash> {
    kinds.iter().map(|kind| Crash {
        point: point.clone(),
        kind: *kind,
    })
}

/// Whether a droplet was made, changed or deleted, and nobody knows. No sample goes without these.
fn is_lost_answer(crash: &Crash) -> bool {
    crash.point.mutating && crash.kind == Kind::Unanswered && crash.point.effect.starts_with("digitalocean.droplet_")
}

/// All of them with `SOAK=1`, else the sample.
fn taken(crashes: impl Iterator<Item = Planned>) -> Vec<Planned> {
    let mut crashes: Vec<Planned> = crashes.collect();
    if !takes_all() {
        crashes.shuffle(&mut StdRng::seed_from_u64(SEED));
        crashes.sort_by_key(|(_, crashes)| !is_lost_answer(&crashes[0]));
        crashes.truncate(SAMPLE);
    }
    crashes
}

pub(crate) fn takes_all() -> bool {
    std::env::var("SOAK").is_ok_and(|soak| soak == "1")
}

/// Every `n`-th with `CRASH_PART='k/n'`, from the `k`-th on.
fn part(crashes: Vec<Planned>) -> Vec<Planned> {
    let Ok(part) = std::env::var("CRASH_PART") else {
        return crashes;
    };
    let numbers = part
        .split_once('/')
        .and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    let (k, n): (usize, usize) = numbers.unwrap_or_else(|| panic!("CRASH_PART: {part:?} is no part, as 1/12 is"));
    crashes.into_iter().skip(k - 1).step_by(n).collect()
}

/// As few whole lives as it takes: the `n`-th has the `n`-th crashes of every scenario.
pub(crate) fn whole_lives(planned: Vec<Planned>) -> Vec<Vec<Step>> {
    let mut lives: Vec<BTreeMap<Scenario, Vec<Crash>>> = Vec::new();
    for (scenario, crashes) in planned {
        let free = lives.iter().position(|life| !life.contains_key(&scenario));
        let life = free.unwrap_or_else(|| {
            lives.push(BTreeMap::new());
            lives.len() - 1
        });
        lives[life].insert(scenario, crashes);
    }
    lives.into_iter().map(whole_life).collect()
}

/// From the creation to the last scenario with a crash in it.
fn whole_life(mut crashes: BTreeMap<Scenario, Vec<Crash>>) -> Vec<Step> {
    let last = crashes.keys().max().copied();
    let scenarios = Scenario::LIFE.into_iter().filter(|scenario| Some(*scenario) <= last);
    let step = |scenario| {
        let crashes = crashes.remove(&scenario);
        Step {
            scenario,
            passing: crashes.is_none(),
            crashes: crashes.unwrap_or_default(),
        }
    };
    scenarios.map(step).collect()
}

/// Pairs are many, and what lies between creation and deletion is not about them: an environment is created, gets its tool, and is
/// deleted; and so is the next one of the same user, until all have been played.
pub(crate) fn short_lives(planned: Vec<Planned>) -> Vec<Vec<Step>> {
    let (creations, deletions): (Vec<Planned>, Vec<Planned>) =
        planned.into_iter().partition(|(scenario, _)| *scenario == Scenario::Create);
    let mut creations = creations.into_iter().map(|(_, crashes)| crashes);
    let mut deletions = deletions.into_iter().map(|(_, crashes)| crashes);
    let environments = std::iter::from_fn(|| match (creations.next(), deletions.next()) {
        (None, None) => None,
        (creation, deletion) => Some(short_life(creation, deletion)),
    });
    let environments: Vec<Vec<Step>> = environments.collect();
    environments.chunks(ENVIRONMENTS_A_LIFE).map(<[_]>::concat).collect()
}

/// From nothing to nothing.
fn short_life(creation: Option<Vec<Crash>>, deletion: Option<Vec<Crash>>) -> Vec<Step> {
    let mut steps = vec![step(Scenario::Create, creation)];
    if deletion.is_some() {
        steps.extend([step(Scenario::Add, None), step(Scenario::Delete, deletion)]);
    }
    steps.push(step(Scenario::Tombstone, None));
    steps
}

fn step(scenario: Scenario, crashes: Option<Vec<Crash>>) -> Step {
    Step {
        scenario,
        passing: crashes.is_none(),
        crashes: crashes.unwrap_or_default(),
    }
}

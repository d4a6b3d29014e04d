//! Seeds that everything has to come to rest for. `make soak` plays many more.

use simulation::{Sabotage, Script, run, soak::soak};

#[test]
fn two_thousand_seeds_come_to_rest() {
    let soaked = soak(1..2001, Sabotage::NONE);
    if let Some((seed, ending)) = soaked.failed {
        let violation = ending.violation.unwrap_or_default();
        panic!(
            "{}seed {seed} failed: {violation}\nagain: make soak SEED={seed}",
            ending.story
        );
    }
    assert_eq!(soaked.seeds, 2000);
    // A schedule under which nothing of this happens proves nothing.
    assert!(soaked.refused > 0, "no write came under an epoch that is over");
    assert!(soaked.excused > 0, "no create came late");
}

#[test]
fn a_seed_is_the_same_story_letter_by_letter() {
    for seed in 1..=12 {
        let here = run(seed, Script::Everything, Sabotage::NONE, true);
        let elsewhere = std::thread::spawn(move || run(seed, Script::Everything, Sabotage::NONE, true))
            .join()
            .expect("a story ends");
        assert!(here.story.lines().count() > 100, "seed {seed} is too short a story");
        assert!(here.story == elsewhere.story, "seed {seed} is told in two ways");
        let untold = run(seed, Script::Everything, Sabotage::NONE, false);
        assert_eq!(
            (here.passes, here.seconds),
            (untold.passes, untold.seconds),
            "telling changed the story of seed {seed}"
        );
    }
}

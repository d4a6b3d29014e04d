//! Many seeds. Owns: sharing them among threads, each story on one. Promises: the failing seed with the lowest number is told.

use crate::{Ending, Sabotage, Script, run};
use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Soaked {
    /// How many were played.
    pub seeds: u64,
    /// The lowest of those that failed, with its story.
    pub failed: Option<(u64, Ending)>,
    /// Passes of all reconcilers.
    pub passes: u64,
    /// Writes under an epoch that was over, all refused.
    pub refused: u64,
    /// What arrived too late to be called back, because its process was stopped in the middle of sending it.
    pub excused: u64,
}

/// Plays these seeds, up to the first failure.
pub fn soak(seeds: Range<u64>, sabotage: Sabotage) -> Soaked {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let soaked = Mutex::new(Soaked::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || seed > failed.load(Ordering::Relaxed) {
                return;
            }
            let ending = run(seed, Script::of(seed), sabotage, false);
            if ending.violation.is_some() {
                failed.fetch_min(seed, Ordering::Relaxed);
            }
            let mut soaked = soaked.lock().unwrap_or_else(PoisonError::into_inner);
            soaked.seeds += 1;
            soaked.passes += ending.passes;
            soaked.refused += ending.refused;
            soaked.excused += ending.excused;
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut soaked = soaked.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = failed.into_inner();
    // Once more, and told this time: it is the same story.
    soaked.failed = (failed < u64::MAX).then(|| (failed, run(failed, Script::of(failed), sabotage, true)));
    soaked
}

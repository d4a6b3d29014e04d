//! `simulation`: many seeds, or the story of one.

use clap::Parser;
use simulation::{Sabotage, Script, run, soak::soak};
use std::{process::ExitCode, time::Instant};

/// Plays the pure cores of Toolplane under a seeded schedule of everything that can go wrong.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Play this seed only, and tell its story
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// How many seeds to play
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Take one guard away (a name of docs/guards.md), to see what happens
    #[arg(long, value_parser = guard)]
    without: Option<Sabotage>,
}

fn guard(name: &str) -> Result<Sabotage, String> {
    Sabotage::without(name).ok_or_else(|| format!("docs/guards.md has no guard {name}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sabotage = arguments.without.unwrap_or_default();
    match arguments.seed {
        Some(seed) => one(seed, sabotage),
        None => many(arguments.first, arguments.seeds, sabotage),
    }
}

fn one(seed: u64, sabotage: Sabotage) -> ExitCode {
    let ending = run(seed, Script::of(seed), sabotage, true);
    print!("{}", ending.story);
    if let Some(violation) = ending.violation {
        println!("seed {seed} FAILED: {violation}");
        return ExitCode::FAILURE;
    }
    println!(
        "seed {seed} came to rest after {} s and {} passes",
        ending.seconds, ending.passes
    );
    ExitCode::SUCCESS
}

fn many(first: u64, seeds: u64, sabotage: Sabotage) -> ExitCode {
    let began = Instant::now();
    let soaked = soak(first..first.saturating_add(seeds), sabotage);
    let took = began.elapsed().as_secs_f64();
    if let Some((seed, ending)) = soaked.failed {
        print!("{}", ending.story);
        println!("seed {seed} FAILED: {}", ending.violation.unwrap_or_default());
        println!("again: make soak SEED={seed}");
        return ExitCode::FAILURE;
    }
    #[allow(clippy::cast_precision_loss)] // it is for people
    let rate = soaked.seeds as f64 / took;
    println!(
        "{} seeds came to rest in {took:.1} s: {rate:.0} seeds/s, {} passes, {} stale writes refused, {} late arrivals put right",
        soaked.seeds, soaked.passes, soaked.refused, soaked.excused
    );
    ExitCode::SUCCESS
}

//! What is being waited for, on one line that moves, or on plain lines when nobody is there to see it move.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Tells a person how far the demo is.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
}

/// One step. Dropped without [`Step::done`], it has failed.
#[derive(Debug)]
pub(super) struct Step {
    title: String,
    began: Instant,
    bar: Option<ProgressBar>,
    said: Mutex<String>,
    done: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Begins a step.
    pub(super) fn step(&self, title: &str) -> Step {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner:.cyan} {prefix}  {wide_msg:.dim}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Step {
            title: title.to_owned(),
            began: Instant::now(),
            bar,
            said: Mutex::default(),
            done: false,
        }
    }
}

/// Lines between steps.
pub(super) fn note(text: &str) {
    println!("{text}");
}

impl Step {
    /// What is being waited for now. The same again is not said twice.
    pub(super) fn waiting(&self, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said == text {
            return;
        }
        text.clone_into(&mut said);
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => println!("  ...  {}: {text}", self.title),
        }
    }

    /// The step is done, and how; the detail may be empty.
    pub(super) fn done(mut self, detail: &str) {
        self.done = true;
        let seconds = self.began.elapsed().as_secs_f64();
        let title = &self.title;
        match &self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                println!("\u{1b}[32m✓\u{1b}[0m {title}  \u{1b}[2m{detail}  {seconds:.1}s\u{1b}[0m");
            }
            None => println!("  ok   {title}  {detail}  {seconds:.1}s"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        println!("  --   {}", self.title);
    }
}

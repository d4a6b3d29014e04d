//! `toolplane doctor`: everything that the control plane leans on, each with what to do when it gives way.

mod checks;
mod demo;

use crate::configuration::Settings;
use std::{io::IsTerminal, process::ExitCode};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// All is well; the detail may be empty.
    Ok(String),
    /// Something is wrong, and what to do about it.
    Failed { problem: String, remedy: String },
    /// It makes no sense to look, and why.
    Skipped(String),
}

impl Finding {
    pub(super) fn failed(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// From an error that knows its remedy.
    pub(super) fn from_error(error: &(dyn miette::Diagnostic + 'static)) -> Self {
        let remedy = error.help().map(|help| help.to_string()).unwrap_or_default();
        let mut problem = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(beneath) = cause {
            let text = beneath.to_string();
            // A cause that its parent repeats says nothing new.
            if !problem.contains(&text) {
                problem = format!("{problem}: {text}");
            }
            cause = beneath.source();
        }
        Self::Failed { problem, remedy }
    }
}

/// Prints findings as they come in, and remembers whether one was bad.
#[derive(Debug, Default)]
pub(super) struct Report {
    failed: usize,
}

impl Report {
    pub(super) fn add(&mut self, part: &str, finding: &Finding) {
        let colours = std::io::stdout().is_terminal();
        if matches!(finding, Finding::Failed { .. }) {
            self.failed += 1;
        }
        println!("{}", line(part, finding, colours));
    }
}

fn line(part: &str, finding: &Finding, colours: bool) -> String {
    let (word, colour, text) = match finding {
        Finding::Ok(detail) => ("ok", "32", detail.clone()),
        Finding::Failed { problem, remedy } => ("failed", "31", format!("{problem}\n{:28}-> {remedy}", "")),
        Finding::Skipped(reason) => ("skipped", "33", reason.clone()),
    };
    let word = format!("{word:<8}");
    let word = if colours {
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    } else {
        word
    };
    format!("{word}{part:<20}{text}").trim_end().to_owned()
}

pub(super) async fn run(demo: bool, settings: miette::Result<Settings>) -> miette::Result<ExitCode> {
    let mut report = Report::default();
    match settings {
        Ok(settings) => {
            report.add(
                "configuration",
                &Finding::Ok(format!("installation {}", settings.installation)),
            );
            checks::run(&settings, &mut report).await;
        }
        Err(error) => report.add("configuration", &Finding::from_error(error.as_ref())),
    }
    if demo {
        demo::run(&mut report).await;
    } else {
        let reason = "not needed here: droplets have their own (`doctor --demo` checks this machine's)";
        report.add("docker engine", &Finding::Skipped(reason.to_owned()));
    }
    match report.failed {
        0 => Ok(ExitCode::SUCCESS),
        failed => {
            println!("\n{failed} of the checks failed");
            Ok(ExitCode::FAILURE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::connect;

    #[test]
    fn a_line_says_what_to_do() {
        let lines = [
            line("database", &Finding::Ok("PostgreSQL 15.14".to_owned()), false),
            line("migrations", &Finding::failed("2 pending", "run `toolplane migrate`"), false),
            line("docker engine", &Finding::Skipped("not needed".to_owned()), false),
        ];
        assert_eq!(
            lines.join("\n"),
            "ok      database            PostgreSQL 15.14\n\
             failed  migrations          2 pending\n                            -> run `toolplane migrate`\n\
             skipped docker engine       not needed"
        );
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_its_help() {
        let error = connect::Error::Unmigrated(vec!["1_first".to_owned()]);
        let Finding::Failed { problem, remedy } = Finding::from_error(&error) else {
            panic!("an error is a failure")
        };
        assert_eq!(problem, "the database's schema is not up to date: 1_first pending");
        assert_eq!(remedy, "run `toolplane migrate` with a user who may create tables");
    }
}

//! `--watch`: after the list, each event when it comes, and again when it comes again.

use super::{About, read, render};
use crate::cli::ReportOutput;
use jiff::{SignedDuration, Timestamp};
use schema::{Database, RecordedEvent};
use std::{collections::HashMap, time::Duration};

/// How often the events are read. Reading is cheap, and a terminal is read by a person.
const PERIOD: Duration = Duration::from_secs(1);
/// An event is stamped before it is committed, so one that is read late may be this much older than the newest.
const SLACK: SignedDuration = SignedDuration::from_secs(10);

/// What was printed, as far back as something may still come.
struct Printed {
    counts: HashMap<i64, (i64, Timestamp)>,
    newest: Option<Timestamp>,
}

impl Printed {
    fn new(events: &[RecordedEvent]) -> Self {
        let mut printed = Self {
            counts: HashMap::new(),
            newest: None,
        };
        printed.fresh(events.to_vec());
        printed
    }

    /// The events that were not printed as they are now. Remembers them.
    fn fresh(&mut self, events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
        let known = &self.counts;
        let fresh: Vec<RecordedEvent> = events
            .into_iter()
            .filter(|event| known.get(&event.id).is_none_or(|(count, _)| *count < event.count))
            .collect();
        for event in &fresh {
            self.counts.insert(event.id, (event.count, event.last_seen));
            self.newest = self.newest.max(Some(event.last_seen));
        }
        if let Some(since) = self.since() {
            self.counts.retain(|_, (_, last_seen)| *last_seen >= since);
        }
        fresh
    }

    fn since(&self) -> Option<Timestamp> {
        self.newest.map(|newest| newest - SLACK)
    }
}

/// Until Ctrl-C. A database that is away for a while is waited for.
pub(super) async fn run(
    database: &Database,
    about: &About,
    output: ReportOutput,
    first: Vec<RecordedEvent>,
) -> miette::Result<()> {
    // The header stands over the first table, wherever that comes.
    let mut header = first.is_empty();
    let mut printed = Printed::new(&first);
    let mut away = false;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        match read(database, about, printed.since(), usize::MAX).await {
            Ok(events) => {
                away = false;
                let fresh = printed.fresh(events);
                if fresh.is_empty() {
                    continue;
                }
                if !super::print(&render(&fresh, output, Timestamp::now(), header)) {
                    return Ok(());
                }
                header = false;
            }
            Err(error) if !away => {
                away = true;
                eprintln!("{error}; waiting for the database");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::events::tests::{at, recorded};

    #[test]
    fn each_time_is_printed_once_however_often_it_is_read() {
        let (first, second) = (recorded(1, 1, at(0)), recorded(2, 1, at(5)));
        let mut printed = Printed::new(std::slice::from_ref(&first));
        assert_eq!(
            printed.fresh(vec![first.clone(), second.clone()]),
            std::slice::from_ref(&second)
        );
        assert_eq!(printed.fresh(vec![first.clone(), second.clone()]), []);
        let again = recorded(1, 2, at(6));
        assert_eq!(printed.fresh(vec![second, again.clone()]), [again], "it happened again");
        // Stamped earlier, committed later.
        let late = recorded(3, 1, at(1));
        assert_eq!(printed.fresh(vec![late.clone()]), [late]);
        assert_eq!(printed.since(), Some(at(6) - SLACK));
    }
}

//! `--watch`: after the table, each row again when it changes.

use super::{Listing, read, render, table};
use crate::cli::{Get, Output};
use jiff::Timestamp;
use schema::Database;
use std::time::Duration;

/// How often the rows are read. Reading is cheap, and a terminal is read by a person.
const PERIOD: Duration = Duration::from_secs(1);

/// Until Ctrl-C. A database that is away for a while is waited for.
pub(super) async fn run(database: &Database, get: &Get, first: Listing) -> miette::Result<()> {
    let mut before = first;
    let mut away = false;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        match read(database, get.kind, get.name.as_deref()).await {
            Ok(now) => {
                away = false;
                let changed = changed(&before, &now);
                if !changed.is_empty() {
                    let text = match get.output {
                        Output::Table | Output::Wide => table(&changed, get.output == Output::Wide, Timestamp::now(), false),
                        Output::Json | Output::Yaml | Output::Name => render(&changed, get.output, Timestamp::now()),
                    };
                    if !super::print(&text) {
                        return Ok(());
                    }
                }
                before = now;
            }
            Err(error) if !away => {
                away = true;
                eprintln!("{error}; waiting for the database");
            }
            Err(_) => {}
        }
    }
}

/// The rows that are new or say something else. That a thing was seen again is no change.
fn changed(before: &Listing, after: &Listing) -> Listing {
    match (before, after) {
        (Listing::Environments(before), Listing::Environments(after)) => {
            let steady = |row: &model::Environment| {
                let mut row = row.clone();
                row.status.observed_at = None;
                row.last_heartbeat_at = None;
                row.updated_at = row.created_at;
                row
            };
            let differs = |row: &&model::Environment| !before.iter().any(|old| steady(old) == steady(row));
            Listing::Environments(after.iter().filter(differs).cloned().collect())
        }
        (Listing::Instances(before, _), Listing::Instances(after, catalog)) => {
            let steady = |row: &model::Instance| {
                let mut row = row.clone();
                row.status.observed_at = None;
                row.updated_at = row.created_at;
                row
            };
            let differs = |row: &&model::Instance| !before.iter().any(|old| steady(old) == steady(row));
            Listing::Instances(after.iter().filter(differs).cloned().collect(), catalog.clone())
        }
        (Listing::Catalog(before), Listing::Catalog(after)) => {
            Listing::Catalog(after.iter().filter(|row| !before.contains(row)).cloned().collect())
        }
        (_, after) => after.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::get::tests::{environments, instances};
    use jiff::SignedDuration;

    #[test]
    fn seen_again_is_no_change_and_another_status_is() {
        let (Listing::Environments(before), Listing::Instances(instances, catalog)) = (environments(), instances()) else {
            panic!("other listings")
        };
        let mut after = before.clone();
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        after[0].status.observed_at = Some(later);
        after[0].updated_at = later;
        assert!(changed(&Listing::Environments(before.clone()), &Listing::Environments(after.clone())).is_empty());
        after[0].status.phase = model::EnvironmentPhase::Unresponsive;
        assert!(!changed(&Listing::Environments(before), &Listing::Environments(after)).is_empty());
        let fewer = Listing::Instances(instances[1..].to_vec(), catalog.clone());
        let Listing::Instances(added, _) = changed(&fewer, &Listing::Instances(instances.clone(), catalog)) else {
            panic!("another listing")
        };
        assert_eq!(added, instances[..1]);
    }
}

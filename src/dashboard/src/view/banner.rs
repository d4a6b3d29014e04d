//! What holds up many environments at once, told once and above all of them.

use super::span;
use jiff::Timestamp;
use model::{Condition, ConditionStatus, EnvironmentRecord, Subject};
use std::collections::BTreeMap;

pub(super) struct Banner {
    pub(super) tone: &'static str,
    pub(super) title: &'static str,
    pub(super) message: String,
    pub(super) environments: String,
    pub(super) since: String,
}

/// The condition types that have one cause for all, with what is above them and how bad that is.
const SHARED: [(&str, &str, &str); 2] = [
    (
        "FleetTrusted",
        "DigitalOcean's answers are not believed: nothing is created or destroyed because of them",
        "bad",
    ),
    (
        "BudgetAvailable",
        "The budget of DigitalOcean requests is spent for now",
        "busy",
    ),
];

/// One banner for each shared cause among these environments.
pub(super) fn banners(records: &[EnvironmentRecord], now: Timestamp) -> Vec<Banner> {
    SHARED
        .iter()
        .filter_map(|(kind, title, tone)| {
            let open: Vec<&Condition> = records.iter().filter_map(|record| open(record, kind)).collect();
            let since = open.iter().map(|condition| condition.last_transition_time).min()?;
            let environments = match open.len() {
                1 => "1 environment of this page".to_owned(),
                many => format!("{many} environments of this page"),
            };
            Some(Banner {
                tone,
                title,
                message: commonest(&open),
                environments,
                since: format!("{} ago", span(since, now)),
            })
        })
        .collect()
}

fn open<'r>(record: &'r EnvironmentRecord, kind: &str) -> Option<&'r Condition> {
    match &record.subject {
        Subject::Row(row) => {
            let condition = row.status.conditions.get(kind)?;
            (condition.status == ConditionStatus::False).then_some(condition)
        }
        Subject::Tombstone(_) => None,
    }
}

/// Each says it at a moment of its own, so the texts may differ in a number.
fn commonest(conditions: &[&Condition]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for condition in conditions {
        *counts.entry(&condition.message).or_default() += 1;
    }
    let commonest = counts.into_iter().max_by_key(|(_, count)| *count);
    commonest.map(|(message, _)| message.to_owned()).unwrap_or_default()
}

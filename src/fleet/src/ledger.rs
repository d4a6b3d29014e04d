//! What was published, and what a new list changes in it.
//!
//! Owns: how each droplet and firewall stands to the last list ([`Standing`]). Must not: do I/O, read a clock. Promises: nothing
//! that is wanted goes from `Seen` to `Gone` through a list that is in doubt; what is confirmed goes whatever the share; a list
//! that says the same as the last one changes nothing.

use crate::breaker::{Count, Doubt, Limits, judge};
use jiff::Timestamp;
use model::EnvironmentId;
use schema::{FleetKind, FleetRow, Standing};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Something that a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is; `None` for what the installation has once.
    pub environment: Option<EnvironmentId>,
    /// What decisions need to know of it.
    pub seen: Value,
}

/// A list, as far as it came, by droplet id or firewall name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// All of it.
    Whole(BTreeMap<String, Listed>),
    /// It failed part-way, or its pages don't add up. With what did not add up.
    Truncated(String),
}

/// What a list is judged beside. All times are the database's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside<'a> {
    /// Of what.
    pub kind: FleetKind,
    /// When the list began.
    pub began: Timestamp,
    /// The verdict so far.
    pub withheld: Option<&'a (Timestamp, String)>,
    /// What was missing then is confirmed to be gone.
    pub confirmed_at: Option<Timestamp>,
    /// The environments that want a droplet, among those of [`Ledger::absent`].
    pub wanted: &'a HashSet<EnvironmentId>,
}

/// What a list comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What stands differently.
    pub rows: Vec<FleetRow>,
    /// Since when and why what is missing is not believed to be gone.
    pub withheld: Option<(Timestamp, String)>,
    /// What is missing, and has to be asked for by id before it is gone.
    pub missing: Vec<String>,
    /// What lost the tags that it is listed by, so that only asking for it by id tells whether it is there.
    pub unlisted: Vec<String>,
}

/// Everything that was published of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    rows: BTreeMap<String, FleetRow>,
}

impl Ledger {
    /// From what is stored.
    pub fn new(rows: Vec<FleetRow>) -> Self {
        let mut ledger = Self::default();
        ledger.take(rows);
        ledger
    }

    /// Remembers what was published.
    pub fn take(&mut self, rows: Vec<FleetRow>) {
        self.rows.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
    }

    /// Everything, also what went.
    pub fn into_rows(self) -> Vec<FleetRow> {
        self.rows.into_values().collect()
    }

    /// What is known of one.
    pub fn get(&self, key: &str) -> Option<&FleetRow> {
        self.rows.get(key)
    }

    /// The environments of what a list lacks. The verdict asks which of them still want what they had.
    pub fn absent(&self, list: &List) -> Vec<EnvironmentId> {
        let List::Whole(listed) = list else { return Vec::new() };
        let absent = self.rows.values().filter(|row| there(row) && !listed.contains_key(&row.key));
        let environments: HashSet<EnvironmentId> = absent.filter_map(|row| row.environment_id).collect();
        environments.into_iter().collect()
    }

    /// Judges a list.
    pub fn judge(&self, limits: &Limits, list: &List, beside: &Beside<'_>) -> Verdict {
        match list {
            List::Whole(listed) => self.judge_whole(limits, listed, beside),
            List::Truncated(message) => {
                let doubt = || Doubt::Truncated(message.clone()).sentence(beside.kind, beside.began);
                let withheld = beside.withheld.cloned().unwrap_or_else(|| (beside.began, doubt()));
                Verdict {
                    withheld: Some(withheld),
                    ..Verdict::default()
                }
            }
        }
    }

    fn judge_whole(&self, limits: &Limits, listed: &BTreeMap<String, Listed>, beside: &Beside<'_>) -> Verdict {
        let mut rows = self.news(listed, beside.began);
        let lacking = self.lacking(listed, beside);
        rows.extend(lacking.removed.iter().map(|row| stands(row, Standing::Removed, beside.began)));
        // Since when it was missing: that is before the confirmation, so it is not counted again.
        rows.extend(lacking.confirmed.iter().map(|row| stands(row, Standing::Gone, row.since)));
        let known = self.rows.values().filter(|row| there(row)).count();
        let count = Count {
            listed: listed.len(),
            known: known - lacking.removed.len() - lacking.confirmed.len() - lacking.unlisted.len(),
            missing: lacking.missing.len(),
            vanished: self.vanished(limits, listed, beside),
        };
        let keys = |rows: &[&FleetRow]| rows.iter().map(|row| row.key.clone()).collect();
        let unlisted = keys(&lacking.unlisted);
        let Some(doubt) = judge(limits, count) else {
            rows.extend(lacking.missing.iter().map(|row| stands(row, Standing::Gone, beside.began)));
            return Verdict {
                rows,
                unlisted,
                ..Verdict::default()
            };
        };
        let fresh = lacking.missing.iter().filter(|row| row.standing != Standing::Missing);
        let fresh: Vec<FleetRow> = fresh.map(|row| stands(row, Standing::Missing, beside.began)).collect();
        let sentence = || doubt.sentence(beside.kind, beside.began);
        let withheld = match beside.withheld {
            // The sentence changes only with what it says: everybody who waits has it in a condition.
            Some((since, reason)) if fresh.is_empty() && rows.is_empty() => (*since, reason.clone()),
            Some((since, _)) => (*since, sentence()),
            None => (beside.began, sentence()),
        };
        rows.extend(fresh);
        Verdict {
            rows,
            withheld: Some(withheld),
            missing: keys(&lacking.missing),
            unlisted,
        }
    }

    /// What a list has that is new, different, or back.
    fn news(&self, listed: &BTreeMap<String, Listed>, began: Timestamp) -> Vec<FleetRow> {
        let mut rows = Vec::new();
        for (key, listed) in listed {
            let before = self.rows.get(key);
            let stood = before.filter(|row| row.standing == Standing::Seen);
            if stood.is_some_and(|row| row.seen == listed.seen && row.environment_id == listed.environment) {
                continue;
            }
            rows.push(FleetRow {
                key: key.clone(),
                environment_id: listed.environment,
                seen: listed.seen.clone(),
                standing: Standing::Seen,
                since: stood.map_or(began, |row| row.since),
            });
        }
        rows
    }

    /// What a list lacks of what was there.
    fn lacking(&self, listed: &BTreeMap<String, Listed>, beside: &Beside<'_>) -> Lacking<'_> {
        let seen: HashSet<EnvironmentId> = listed.values().filter_map(|listed| listed.environment).collect();
        let mut lacking = Lacking::default();
        for row in self.rows.values().filter(|row| there(row) && !listed.contains_key(&row.key)) {
            // One of several that goes is a duplicate that was deleted; nothing follows from it but its end.
            let counts = row
                .environment_id
                .is_none_or(|id| beside.wanted.contains(&id) && !seen.contains(&id));
            let confirmed = row.standing == Standing::Missing && beside.confirmed_at.is_some_and(|at| row.since <= at);
            if !counts {
                lacking.removed.push(row);
            } else if confirmed {
                lacking.confirmed.push(row);
            } else if row.standing == Standing::Seen && !is_listed(beside.kind, &row.seen) {
                lacking.unlisted.push(row);
            } else {
                lacking.missing.push(row);
            }
        }
        lacking
    }

    /// How many went before this list, within the window, and were not confirmed to be gone.
    fn vanished(&self, limits: &Limits, listed: &BTreeMap<String, Listed>, beside: &Beside<'_>) -> usize {
        let window = beside.began.checked_sub(limits.window).unwrap_or(Timestamp::MIN);
        let from = beside.confirmed_at.map_or(window, |confirmed| confirmed.max(window));
        let gone = self
            .rows
            .values()
            .filter(|row| row.standing == Standing::Gone && row.since > from);
        gone.filter(|row| !listed.contains_key(&row.key)).count()
    }
}

#[derive(Default)]
struct Lacking<'a> {
    removed: Vec<&'a FleetRow>,
    confirmed: Vec<&'a FleetRow>,
    missing: Vec<&'a FleetRow>,
    unlisted: Vec<&'a FleetRow>,
}

/// Whether something that looks like this is in the lists. They are made by tags, and a droplet can lose those.
pub fn is_listed(kind: FleetKind, seen: &Value) -> bool {
    match kind {
        FleetKind::Droplets => seen.get("ours") != Some(&Value::Bool(false)),
        FleetKind::Firewalls => true,
    }
}

fn there(row: &FleetRow) -> bool {
    match row.standing {
        Standing::Seen | Standing::Missing => true,
        Standing::Gone | Standing::Removed => false,
    }
}

fn stands(row: &FleetRow, standing: Standing, since: Timestamp) -> FleetRow {
    FleetRow {
        standing,
        since,
        ..row.clone()
    }
}

#[cfg(test)]
mod tests;

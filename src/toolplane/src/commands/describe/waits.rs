//! What a row waits for, and when that goes on: read from its conditions, its intent and the deadlines that are configured.
//!
//! Owns: when each reason is over. Must not: decide what is done. Promises: a row that is as it should be waits for nothing.

use super::{Known, page::moment};
use crate::configuration::Settings;
use jiff::Timestamp;
use model::{Condition, Environment, EnvironmentDesiredState, EnvironmentPhase, Intent, IntentOutcome};
use std::time::Duration;

/// What is waited for, and when it goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) what: String,
    pub(super) goes_on: String,
}

/// What an environment waits for.
pub(super) fn environment(known: &Known, row: &Environment, settings: &Settings, now: Timestamp) -> Option<Waiting> {
    let waiting = |what: String, goes_on: String| Some(Waiting { what, goes_on });
    let (status, shard) = (&row.status, row.id.shard());
    let behind = status.observed_generation < row.generation;
    let at_rest = match row.spec.desired_state {
        EnvironmentDesiredState::Active => status.conditions.holds("Ready") && status.conditions.blocker().is_none(),
        EnvironmentDesiredState::Deleted => status.phase == EnvironmentPhase::Deleted,
    };
    if at_rest && !behind {
        return None;
    }
    if known.holder.is_none() {
        let what = format!("a replica of `toolplane serve`: nobody works on shard {shard}");
        return waiting(what, "as soon as one runs".to_owned());
    }
    if row.spec.paused {
        return waiting("spec.paused to be unset".to_owned(), "at once then".to_owned());
    }
    if behind {
        let what = format!("generation {} to be taken up", row.generation);
        let goes_on = format!("at once; within {} s if the notification was lost", settings.resync.as_secs());
        return waiting(what, goes_on);
    }
    let Some(blocker) = status.conditions.blocker() else {
        return waiting("a first look".to_owned(), "at once".to_owned());
    };
    let goes_on = goes_on(known, row, blocker, settings, now);
    waiting(format!("{} ({})", blocker.said(), blocker.kind), goes_on)
}

fn goes_on(known: &Known, row: &Environment, blocker: &Condition, settings: &Settings, now: Timestamp) -> String {
    let by = |from: Timestamp, patience: Duration| {
        let at = from.checked_add(patience).unwrap_or(Timestamp::MAX);
        moment(at, now)
    };
    let intent = known.record.intent.as_deref();
    let open = intent.filter(|intent| intent.outcome.is_none());
    match (&*blocker.kind, row.status.phase, open) {
        ("BudgetAvailable", _, _) => {
            let at = environment_reconciler::status::goes_on_at(blocker).map(|at| moment(at, now));
            at.unwrap_or_else(|| "at the time that the condition names".to_owned())
        }
        ("FleetTrusted", _, _) => "when DigitalOcean's answers are confirmed".to_owned(),
        ("ToolsStopped", _, _) => {
            let deadline = by(blocker.last_transition_time, settings.stop_deadline);
            format!("when they have stopped, at the latest {deadline}")
        }
        (_, EnvironmentPhase::ErrorCreation | EnvironmentPhase::ErrorDeletion, _) => {
            "by itself, after a pause that grows with each try; at once when the row changes".to_owned()
        }
        (_, EnvironmentPhase::Unresponsive, _) => "with the agent's next heartbeat".to_owned(),
        (_, _, Some(intent)) => {
            let window = by(intent.announced_at, settings.lag_window);
            format!("when the droplet is seen; another is announced only after the lag window, {window}")
        }
        _ => match intent.filter(|intent| launching(row, intent)) {
            Some(intent) => {
                let deadline = by(intent.announced_at, settings.launch_deadline);
                format!("when the agent reports; it is called late {deadline}")
            }
            None => format!(
                "when something changes; looked at again within {} s",
                settings.fleet_sweep.as_secs()
            ),
        },
    }
}

fn launching(row: &Environment, intent: &Intent) -> bool {
    row.status.phase == EnvironmentPhase::Creating && intent.outcome == Some(IntentOutcome::Adopted)
}

//! An environment that should have no droplet: tools stopped, droplet deleted by id, gone when it is seen to be gone.
//!
//! A row that is disabled and a row that was deleted take the same way; they differ in where they say so, and in their end.

use super::scene::{Progress, Scene, Steps};
use crate::{
    action::{Action, Cause},
    status::{Draft, StatusWrite, condition, failing_since},
};
use fleet::Droplet;
use jiff::{SignedDuration, Timestamp};
use model::{
    ConditionStatus, DropletId, Environment, EnvironmentPhase, InstanceState, Intent, IntentOutcome, Tombstone, desired::RunState,
};
use runtime::{Observation, Plan};

/// Where a deletion stands.
///
/// ```text
/// unseen -> uncertain (a create may yet come true) -> gone
///    |          | its droplet shows up                 ^
///    v          v                                      |
///  stopping (tools) -> destroying (until not seen) ----+
///                          |
///                          +-> untouchable (the recorded droplet lost its tags)
/// ```
enum Stage {
    /// The fleet is not known: the next pass looks.
    Unseen,
    /// An announced create may still come true: passes look until its window is over.
    Uncertain,
    /// The agent was told to stop the tools: passes wait for its report, or for the deadline.
    Stopping,
    /// Deletes are sent: passes look until the droplets are gone.
    Destroying,
    /// The recorded droplet does not carry our tags: a person has to look.
    Untouchable(DropletId),
    /// No droplet, and none under way.
    Gone,
}

pub(super) fn decide_row(scene: &Scene<'_>, row: &Environment) -> Plan<Action, StatusWrite> {
    let cause = Cause::Specification {
        column: "desired_state",
        generation: row.generation,
    };
    let mut draft = Draft::new(row, scene.now);
    let gone_already = row.status.phase == EnvironmentPhase::Deleted;
    let since = failing_since(&row.status.conditions, condition::TOOLS_STOPPED).unwrap_or(scene.now);
    let (stage, mut steps) = stage(scene, gone_already, since, cause);
    match stage {
        Stage::Unseen if gone_already => steps = Steps::none(Progress::Held),
        Stage::Unseen => pending(row, &mut draft),
        Stage::Uncertain | Stage::Stopping | Stage::Destroying | Stage::Untouchable(_) if row.spec.paused => {
            pending(row, &mut draft);
        }
        Stage::Uncertain => {
            draft.phase(EnvironmentPhase::Deleting);
            not_ready(&mut draft, "an announced droplet may still appear");
        }
        Stage::Stopping => {
            draft.phase(EnvironmentPhase::Deleting);
            not_ready(&mut draft, "the tools are being stopped");
            let (kind, message) = (condition::TOOLS_STOPPED, "the agent was told to stop the tools");
            draft.condition(kind, ConditionStatus::False, "Stopping", message);
        }
        Stage::Destroying => {
            draft.phase(EnvironmentPhase::Deleting);
            not_ready(&mut draft, "the droplet is being destroyed");
            draft.condition(condition::TOOLS_STOPPED, ConditionStatus::True, "Stopped", "");
        }
        Stage::Untouchable(droplet) => {
            draft.phase(EnvironmentPhase::ErrorDeletion);
            draft.error_message(format!(
                "do_droplet_id: droplet {droplet} does not carry this environment's tags, so it is not deleted; tag it again or delete it"
            ));
            not_ready(&mut draft, "the droplet lost its tags");
        }
        Stage::Gone => gone(&mut draft),
    }
    scene.plan(draft, steps, row.spec.paused)
}

pub(super) fn decide_tombstone(scene: &Scene<'_>, tombstone: &Tombstone) -> Plan<Action, StatusWrite> {
    let (stage, mut steps) = stage(scene, false, tombstone.deleted_at, Cause::RowDeleted);
    match stage {
        Stage::Unseen | Stage::Uncertain | Stage::Stopping | Stage::Destroying | Stage::Untouchable(_) => {}
        Stage::Gone => steps.actions.push(Action::FinishTombstone),
    }
    Plan {
        actions: steps.actions,
        status: None,
        requeue: steps.requeue,
    }
}

/// Where the deletion stands, and what to do next for it. `since` is when the tools were first to stop.
fn stage(scene: &Scene<'_>, gone_already: bool, since: Timestamp, cause: Cause) -> (Stage, Steps) {
    match scene.droplets() {
        Observation::Unknown => {
            let steps = Steps {
                actions: vec![Action::Look],
                requeue: Some(scene.policy.patience(SignedDuration::ZERO)),
                progress: Progress::Held,
            };
            (Stage::Unseen, steps)
        }
        Observation::Absent => nothing_seen(scene, gone_already),
        Observation::Present(droplets) => seen(scene, droplets, since, cause),
    }
}

fn seen(scene: &Scene<'_>, droplets: &[Droplet], since: Timestamp, cause: Cause) -> (Stage, Steps) {
    let mut actions = scene.adoption(droplets);
    if let Some(untagged) = droplets.iter().find(|_| !droplets.iter().any(|droplet| droplet.ours)) {
        let steps = Steps {
            actions,
            requeue: None,
            progress: Progress::Underway("TagsMissing", "a droplet is deleted only with its tags"),
        };
        return (Stage::Untouchable(untagged.id), steps);
    }
    if let Some(left) = tools_awaited(scene, since) {
        let steps = Steps {
            actions,
            requeue: Some(left),
            progress: Progress::Underway("StoppingTools", "the tools are being stopped"),
        };
        return (Stage::Stopping, steps);
    }
    let accepted = droplets
        .iter()
        .filter_map(|droplet| scene.observed.outgoing.deleted_at(droplet.id));
    let (look, requeue) = scene.watch(accepted.min().unwrap_or(scene.now));
    actions.extend(scene.deletes(droplets, None, |_| cause));
    actions.extend(look);
    let steps = Steps {
        actions,
        requeue: Some(requeue),
        progress: Progress::Underway("Deleting", "the droplet is being destroyed"),
    };
    (Stage::Destroying, steps)
}

/// No droplet is seen. It is gone only when no announced create can come true any more.
fn nothing_seen(scene: &Scene<'_>, gone_already: bool) -> (Stage, Steps) {
    let Some(intent) = scene.intent() else {
        return (Stage::Gone, Steps::none(Progress::Settled));
    };
    let abandon = |cause| Steps {
        actions: vec![Action::ResolveIntent {
            intent: intent.id,
            outcome: IntentOutcome::Abandoned,
            cause,
        }],
        requeue: Some(SignedDuration::ZERO),
        progress: Progress::Underway("Abandoning", "the announced droplet is given up"),
    };
    match (intent.outcome, scene.window_left(intent)) {
        (None, _) if scene.unsent(intent) => (Stage::Uncertain, abandon(Cause::NeverSent(intent.id))),
        (None, None) => (Stage::Uncertain, abandon(Cause::LagWindowPassed(intent.id))),
        (None, Some(left)) => (Stage::Uncertain, look_until(scene, intent, left)),
        (Some(_), _) => match scene.hidden_left(intent) {
            Some(left) if !gone_already => (Stage::Uncertain, look_until(scene, intent, left)),
            Some(_) | None => (Stage::Gone, Steps::none(Progress::Settled)),
        },
    }
}

fn look_until(scene: &Scene<'_>, intent: &Intent, left: SignedDuration) -> Steps {
    let (look, requeue) = scene.watch(intent.announced_at);
    Steps {
        actions: look.into_iter().collect(),
        requeue: Some(requeue.min(left)),
        progress: Progress::Underway("AwaitingCreate", "an announced droplet may still appear, and is deleted then"),
    }
}

/// For how long the tools are still waited for; `None` once the agent confirmed the all-stopped set, or cannot.
fn tools_awaited(scene: &Scene<'_>, since: Timestamp) -> Option<SignedDuration> {
    let report = scene.record.current_report()?;
    let tools = scene.record.tools.as_ref()?;
    if scene.silent() {
        return None;
    }
    let told = tools.desired.as_ref().is_none_or(|set| {
        let all_stopped = set.instances.iter().all(|instance| instance.run == RunState::Stopped);
        all_stopped && report.applied.is_some_and(|applied| applied >= set.stamp)
    });
    let at_rest = report.instances.iter().all(|instance| match instance.state {
        InstanceState::Pending | InstanceState::Stopped | InstanceState::Failed => true,
        InstanceState::Pulling | InstanceState::Starting | InstanceState::Running | InstanceState::Stopping => false,
    });
    if told && at_rest {
        return None;
    }
    let left = scene.policy.stop_deadline - scene.now.duration_since(since);
    left.is_positive().then_some(left)
}

/// Deletion is wanted, and not begun: paused, or the fleet is not known.
fn pending(row: &Environment, draft: &mut Draft<'_>) {
    match row.status.phase {
        EnvironmentPhase::Deleting | EnvironmentPhase::ErrorDeletion | EnvironmentPhase::PendingDeletion => {}
        EnvironmentPhase::PendingCreation
        | EnvironmentPhase::Creating
        | EnvironmentPhase::Active
        | EnvironmentPhase::ErrorCreation
        | EnvironmentPhase::Deleted
        | EnvironmentPhase::Unresponsive => draft.phase(EnvironmentPhase::PendingDeletion),
    }
}

fn not_ready(draft: &mut Draft<'_>, message: &str) {
    draft.condition(condition::READY, ConditionStatus::False, "Deleting", message);
}

fn gone(draft: &mut Draft<'_>) {
    draft.phase(EnvironmentPhase::Deleted);
    draft.droplet(None);
    draft.condition(condition::READY, ConditionStatus::False, "Deleted", "");
    draft.condition(condition::DROPLET_READY, ConditionStatus::False, "Deleted", "");
    draft.without(&[condition::AGENT_READY, condition::TOOLS_STOPPED]);
}

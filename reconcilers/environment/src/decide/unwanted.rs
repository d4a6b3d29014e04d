//! An environment that should have no droplet: tools stopped, droplet deleted by id, gone when it is seen to be gone.
//!
//! A row that is disabled and a row that was deleted take the same way; they differ in where they say so, and in their end.

use super::{
    drift,
    scene::{Progress, Scene, Steps},
};
use crate::{
    action::{Action, Cause},
    status::{Draft, StatusWrite, condition},
};
use fleet::Droplet;
use jiff::{SignedDuration, Timestamp};
use model::{ConditionStatus, DropletId, Environment, EnvironmentPhase, Intent, IntentOutcome, Tombstone};
use runtime::{Observation, Plan};

/// Where a deletion stands.
///
/// ```text
/// unseen -> uncertain (a create may yet come true) -> gone
///    |          | its droplet shows up                 ^ |
///    v          v                                      | +- doubtful (too much is missing at once)
///  stopping (ports, tools) -> destroying (until not seen)
///                          |
///                          +-> untouchable (the recorded droplet lost its tags, and nothing proves it ours)
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
    /// No droplet is seen, and that is not believed: passes wait until it is.
    Doubtful,
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
    let since = match row.status.conditions.get(condition::TOOLS_STOPPED) {
        // They were stopped, or were waited for long enough.
        Some(said) if said.status == ConditionStatus::True => scene.now - scene.policy.stop_deadline,
        Some(said) => said.last_transition_time,
        None => scene.now,
    };
    let recorded = row.status.droplet_id;
    let (stage, mut steps) = stage(scene, recorded, gone_already, since, cause);
    match stage {
        Stage::Unseen if gone_already => steps = Steps::none(Progress::Held),
        Stage::Unseen => pending(row, &mut draft),
        Stage::Uncertain | Stage::Stopping | Stage::Destroying | Stage::Untouchable(_) | Stage::Doubtful if row.spec.paused => {
            pending(row, &mut draft);
        }
        Stage::Doubtful => {
            // Says why.
            scene.believes(&mut draft);
            draft.phase(EnvironmentPhase::Deleting);
            not_ready(&mut draft, "the droplet is not seen, and that is not believed yet");
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
    let recorded = tombstone.droplet_id;
    let (stage, mut steps) = stage(scene, recorded, false, tombstone.deleted_at, Cause::RowDeleted);
    match stage {
        Stage::Unseen | Stage::Uncertain | Stage::Stopping | Stage::Destroying | Stage::Untouchable(_) | Stage::Doubtful => {}
        // Its firewall goes once no droplet is on record, and the tombstone once no firewall is.
        Stage::Gone => steps.actions.extend(match (&scene.record.firewall, recorded) {
            (None, _) => Some(Action::FinishTombstone),
            (Some(_), Some(droplet)) => Some(Action::RecordDropletGone { droplet }),
            (Some(_), None) => None,
        }),
    }
    Plan {
        actions: steps.actions,
        status: None,
        requeue: steps.requeue,
    }
}

/// Where the deletion stands, and what to do next for it. `since` is when the tools were first to stop.
fn stage(scene: &Scene<'_>, recorded: Option<DropletId>, gone_already: bool, since: Timestamp, cause: Cause) -> (Stage, Steps) {
    match scene.droplets() {
        Observation::Unknown => (Stage::Unseen, scene.look()),
        Observation::Absent => nothing_seen(scene, gone_already),
        Observation::Present(droplets) => seen(scene, recorded, droplets, since, cause),
    }
}

fn seen(scene: &Scene<'_>, recorded: Option<DropletId>, droplets: &[Droplet], since: Timestamp, cause: Cause) -> (Stage, Steps) {
    let mut actions = scene.adoption(droplets);
    if let Some(untagged) = droplets.iter().find(|_| !droplets.iter().any(|droplet| droplet.ours)) {
        return without_tags(scene, recorded, untagged, actions);
    }
    if let Some(left) = scene.tools_awaited(since) {
        let steps = Steps {
            actions,
            requeue: Some(left),
            progress: Progress::underway("StoppingTools", "the tools are being stopped"),
        };
        return (Stage::Stopping, steps);
    }
    let accepted = droplets
        .iter()
        .filter_map(|droplet| scene.observed.outgoing.deleted_for(droplet.id));
    let (look, requeue) = scene.watch(accepted.max().unwrap_or_default());
    actions.extend(scene.deletes(droplets, None, |_| cause));
    actions.extend(look);
    let steps = Steps {
        actions,
        requeue: Some(requeue),
        progress: Progress::underway("Deleting", "the droplet is being destroyed"),
    };
    (Stage::Destroying, steps)
}

/// The only droplet does not carry our tags. It gets them again where it is proven to be ours, and is deleted with them; any other
/// is left alone.
fn without_tags(scene: &Scene<'_>, recorded: Option<DropletId>, untagged: &Droplet, mut actions: Vec<Action>) -> (Stage, Steps) {
    let progress = Progress::underway("TagsMissing", "a droplet is deleted only with its tags");
    if !drift::is_proven(scene, recorded, untagged) {
        let steps = Steps {
            actions,
            requeue: None,
            progress,
        };
        return (Stage::Untouchable(untagged.id), steps);
    }
    let (look, requeue) = scene.watch(scene.changed_for(untagged.id).unwrap_or_default());
    actions.extend(drift::retag(scene, untagged));
    actions.extend(look);
    let steps = Steps {
        actions,
        requeue: Some(requeue),
        progress,
    };
    (Stage::Destroying, steps)
}

/// No droplet is seen. It is gone only when no announced create can come true any more.
fn nothing_seen(scene: &Scene<'_>, gone_already: bool) -> (Stage, Steps) {
    let Some(intent) = scene.intent() else {
        return believed(scene, gone_already);
    };
    // How old an intent is, is asked of the database by the passes that read everything.
    if scene.standing(intent).is_none() && !gone_already {
        return (Stage::Unseen, scene.look());
    }
    let abandon = |cause| Steps {
        actions: vec![Action::ResolveIntent {
            intent: intent.id,
            outcome: IntentOutcome::Abandoned,
            cause,
        }],
        requeue: Some(SignedDuration::ZERO),
        progress: Progress::underway("Abandoning", "the announced droplet is given up"),
    };
    match (intent.outcome, scene.window_left(intent)) {
        (None, _) if scene.unsent(intent) => (Stage::Uncertain, abandon(Cause::NeverSent(intent.id))),
        (None, None) if !scene.trusted() => doubtful(),
        (None, None) => (Stage::Uncertain, abandon(Cause::LagWindowPassed(intent.id))),
        (None, Some(left)) => (Stage::Uncertain, look_until(scene, intent, left)),
        (Some(_), _) => match scene.hidden_left(intent) {
            Some(left) if !gone_already => (Stage::Uncertain, look_until(scene, intent, left)),
            Some(_) | None => believed(scene, gone_already),
        },
    }
}

/// Nothing is seen, and nothing can come any more: the droplet is gone, if that is believed.
fn believed(scene: &Scene<'_>, gone_already: bool) -> (Stage, Steps) {
    if scene.trusted() || gone_already {
        (Stage::Gone, Steps::none(Progress::Settled))
    } else {
        doubtful()
    }
}

fn doubtful() -> (Stage, Steps) {
    (Stage::Doubtful, Scene::withheld())
}

fn look_until(scene: &Scene<'_>, intent: &Intent, left: SignedDuration) -> Steps {
    let (look, requeue) = scene.watch_window(intent, left);
    Steps {
        actions: look.into_iter().collect(),
        requeue: Some(requeue),
        progress: Progress::underway("AwaitingCreate", "an announced droplet may still appear, and is deleted then"),
    }
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
    draft.without(&[
        condition::AGENT_READY,
        condition::TOOLS_STOPPED,
        condition::RESIZED,
        condition::PROJECT_ASSIGNED,
    ]);
}

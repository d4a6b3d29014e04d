//! An environment without its droplet: announce, create, look for it, and only then announce another. Nothing is announced that
//! could not be sent: an announcement grows old, and each one is another epoch of enrolment.

use super::{
    launch::no_droplet,
    scene::{Progress, Scene, Steps},
};
use crate::{
    action::{Action, Cause},
    status::Draft,
};
use fleet::Droplet;
use jiff::{SignedDuration, Timestamp};
use model::{Environment, EnvironmentPhase, EventType, Intent, IntentOutcome};

/// No droplet is the environment's. `others` carry its tags and are of earlier intents.
pub(super) fn missing(scene: &Scene<'_>, row: &Environment, others: &[Droplet], draft: &mut Draft<'_>) -> Steps {
    if row.spec.paused {
        if row.status.phase == EnvironmentPhase::Deleted {
            draft.phase(EnvironmentPhase::PendingCreation);
        }
        no_droplet(draft, "Missing", "there is no droplet");
        return Steps::none(Progress::Held);
    }
    // How old an intent is, is asked of the database by the passes that read everything.
    if scene.intent().is_some_and(|intent| scene.standing(intent).is_none()) {
        return scene.look();
    }
    // 1. Remove before add: what is not the environment's goes first, and only then another may come.
    if others.iter().any(|droplet| droplet.ours) {
        return superseded(scene, row, others, draft);
    }
    // 2. Whatever was announced has to have ended before something new is announced.
    match scene.intent() {
        Some(intent) => match intent.outcome {
            None => announced(scene, row, intent, draft),
            Some(IntentOutcome::Refused) => refused(scene, row, intent, draft),
            Some(IntentOutcome::Adopted | IntentOutcome::Lost | IntentOutcome::Abandoned) => match scene.hidden_left(intent) {
                Some(left) => hidden(scene, intent, left, draft),
                None => again(scene, row, draft),
            },
        },
        None => again(scene, row, draft),
    }
}

/// Droplets of earlier intents are seen, and none of the latest. Where one is recorded, their end follows from its absence.
fn superseded(scene: &Scene<'_>, row: &Environment, others: &[Droplet], draft: &mut Draft<'_>) -> Steps {
    if row.status.droplet_id.is_some() && !scene.believes(draft) {
        return Scene::withheld();
    }
    no_droplet(draft, "Superseded", "a droplet of an earlier intent is being destroyed first");
    draft.phase(EnvironmentPhase::Creating);
    let (look, requeue) = scene.watch(SignedDuration::ZERO);
    let mut actions = scene.deletes(others, None, |droplet| Cause::Superseded(droplet.id));
    actions.extend(look);
    Steps {
        actions,
        requeue: Some(requeue),
        progress: Progress::underway("Replacing", "a droplet of an earlier intent is being destroyed"),
    }
}

/// A create was announced and nobody knows how it ended.
fn announced(scene: &Scene<'_>, row: &Environment, intent: &Intent, draft: &mut Draft<'_>) -> Steps {
    draft.phase(EnvironmentPhase::Creating);
    draft.droplet(None);
    no_droplet(draft, "Creating", "the droplet was announced and is not seen yet");
    let unsent = scene.unsent(intent);
    let lost = |cause| Steps {
        actions: vec![Action::ResolveIntent {
            intent: intent.id,
            outcome: IntentOutcome::Lost,
            cause,
        }],
        requeue: Some(SignedDuration::ZERO),
        progress: Progress::underway("CreateLost", "the announced droplet never came; another is announced"),
    };
    let (actions, requeue) = match (unsent, scene.window_left(intent)) {
        (true, _) if !scene.sendable(intent) => return lost(Cause::NeverSent(intent.id)),
        (_, None) if !scene.believes(draft) => return Scene::withheld(),
        (_, None) => return lost(Cause::LagWindowPassed(intent.id)),
        (true, Some(_)) if let Some(until) = scene.short_until() => return unsendable(scene, intent, until, draft),
        (true, Some(left)) => (
            vec![Action::CreateDroplet { cause: wish(row) }],
            scene.watch_window(intent, left).1,
        ),
        (false, Some(left)) => {
            let (look, requeue) = scene.watch_window(intent, left);
            (look.into_iter().collect(), requeue)
        }
    };
    Steps {
        actions,
        requeue: Some(requeue),
        progress: Progress::underway("Creating", "the droplet is being created"),
    }
}

/// The announced create cannot be sent now. It goes out when it can, or is given up when it has grown too old for that.
fn unsendable(scene: &Scene<'_>, intent: &Intent, until: Timestamp, draft: &mut Draft<'_>) -> Steps {
    let steps = scene.short(until, draft);
    let left = scene.policy.send_within() - scene.age(intent);
    Steps {
        requeue: steps.requeue.map(|requeue| requeue.min(left)),
        ..steps
    }
}

/// The last create was refused: a change of the row tries again at once, else time does.
fn refused(scene: &Scene<'_>, row: &Environment, intent: &Intent, draft: &mut Draft<'_>) -> Steps {
    let pause = match row.status.phase {
        EnvironmentPhase::ErrorCreation => scene.policy.refused_retry,
        EnvironmentPhase::PendingCreation
        | EnvironmentPhase::Creating
        | EnvironmentPhase::Active
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting
        | EnvironmentPhase::Deleted
        | EnvironmentPhase::ErrorDeletion
        | EnvironmentPhase::Unresponsive => scene.policy.busy_retry,
    };
    let left = pause - scene.age(intent);
    if left.is_positive() && row.status.observed_generation == row.generation {
        return Steps {
            actions: Vec::new(),
            requeue: Some(left),
            progress: Progress::Held,
        };
    }
    again(scene, row, draft)
}

/// The droplet was seen, or named by an answer, so short a time ago that its absence from a read proves nothing.
fn hidden(scene: &Scene<'_>, intent: &Intent, left: SignedDuration, draft: &mut Draft<'_>) -> Steps {
    draft.phase(EnvironmentPhase::Creating);
    no_droplet(draft, "NotListed", "the young droplet is missing from DigitalOcean's answers");
    let (look, requeue) = scene.watch_window(intent, left);
    Steps {
        actions: look.into_iter().collect(),
        requeue: Some(requeue),
        progress: Progress::underway("NotListed", "the droplet is too young for its absence to be believed"),
    }
}

/// The environment's droplet is going away, and another is wanted: it comes once this one is gone.
pub(super) fn leaving(scene: &Scene<'_>, kept: &Droplet, draft: &mut Draft<'_>) -> Steps {
    draft.phase(EnvironmentPhase::Creating);
    no_droplet(draft, "Leaving", "the earlier droplet is still being destroyed");
    let (look, requeue) = scene.watch(scene.observed.outgoing.deleted_for(kept.id).unwrap_or_default());
    let mut actions = scene.deletes(std::slice::from_ref(kept), None, |_| Cause::Superseded(kept.id));
    actions.extend(look);
    Steps {
        actions,
        requeue: Some(requeue),
        progress: Progress::underway("Replacing", "the earlier droplet is still being destroyed"),
    }
}

/// There is no droplet any more, or never was one. Only the very first is created whatever is missing from the fleet: any other may
/// be in the place of one that is only not seen.
fn again(scene: &Scene<'_>, row: &Environment, draft: &mut Draft<'_>) -> Steps {
    let first = scene.intent().is_none() && row.status.droplet_id.is_none();
    if !first && !scene.believes(draft) {
        return Scene::withheld();
    }
    match scene.short_until() {
        Some(until) => unannounced(scene, row, until, draft),
        None => create(row, draft),
    }
}

/// A droplet is to be created, and could not be now.
fn unannounced(scene: &Scene<'_>, row: &Environment, until: Timestamp, draft: &mut Draft<'_>) -> Steps {
    // What was never begun stays so.
    draft.phase(match row.status.phase {
        EnvironmentPhase::PendingCreation
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting
        | EnvironmentPhase::Deleted
        | EnvironmentPhase::ErrorDeletion => EnvironmentPhase::PendingCreation,
        EnvironmentPhase::Creating
        | EnvironmentPhase::Active
        | EnvironmentPhase::ErrorCreation
        | EnvironmentPhase::Unresponsive => EnvironmentPhase::Creating,
    });
    no_droplet(
        draft,
        "RequestLimitReached",
        "there is no droplet, and none can be created now",
    );
    scene.short(until, draft)
}

/// There is no droplet, and none is under way.
fn create(row: &Environment, draft: &mut Draft<'_>) -> Steps {
    let cause = match row.status.droplet_id {
        Some(gone) => {
            let message = format!("droplet {gone} is gone; another is created and gets the tools back");
            draft.event(EventType::Warning, "DropletGone", message, Cause::DropletGone(gone));
            Cause::DropletGone(gone)
        }
        None => wish(row),
    };
    draft.phase(EnvironmentPhase::Creating);
    draft.droplet(None);
    no_droplet(draft, "Creating", "the droplet was announced and is not seen yet");
    Steps {
        actions: vec![Action::AnnounceIntent { cause }, Action::CreateDroplet { cause }],
        requeue: Some(SignedDuration::from_secs(2)),
        progress: Progress::underway("Creating", "the droplet is being created"),
    }
}

/// The column that wants a droplet.
fn wish(row: &Environment) -> Cause {
    Cause::Specification {
        column: "desired_state",
        generation: row.generation,
    }
}

//! An environment that should have a droplet: have one, keep it as it should be, wait for its agent, watch it.

use super::{
    create, drift, launch,
    launch::Launch,
    resize,
    resize::Resize,
    scene::{Progress, RECHECK, Scene, Steps},
};
use crate::{
    action::{Action, Cause},
    status::{Draft, StatusWrite},
};
use fleet::Droplet;
use jiff::SignedDuration;
use model::{Environment, EnvironmentPhase, EventType};
use runtime::{Observation, Plan};

pub(super) fn decide(scene: &Scene<'_>, row: &Environment) -> Plan<Action, StatusWrite> {
    let mut draft = Draft::new(row, scene.now);
    let steps = match scene.droplets() {
        Observation::Unknown => unseen(scene, row, &mut draft),
        Observation::Absent => create::missing(scene, row, &[], &mut draft),
        Observation::Present(droplets) => match scene.kept(row.status.droplet_id, droplets) {
            Some(kept) if scene.leaving(kept.id) => create::leaving(scene, kept, &mut draft),
            Some(kept) => standing(scene, row, kept, droplets, &mut draft),
            None => create::missing(scene, row, droplets, &mut draft),
        },
    };
    scene.plan(draft, steps, row.spec.paused)
}

/// The fleet is not known. A settled environment is left as it is; one that needs something done has to be looked at first.
fn unseen(scene: &Scene<'_>, row: &Environment, draft: &mut Draft<'_>) -> Steps {
    match row.status.phase {
        EnvironmentPhase::Active | EnvironmentPhase::Unresponsive => {
            let heard = launch::agent(scene, draft);
            let resizing = draft.said(crate::status::condition::RESIZED).is_some();
            if row.status.droplet_id.is_some() && scene.heard_at().is_some() && !resizing {
                launch::phase_by_agent(draft, heard);
            }
            Steps {
                actions: Vec::new(),
                requeue: Some(RECHECK),
                progress: Progress::Held,
            }
        }
        EnvironmentPhase::Deleted
        | EnvironmentPhase::PendingCreation
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting
        | EnvironmentPhase::ErrorDeletion => {
            draft.phase(EnvironmentPhase::PendingCreation);
            scene.look()
        }
        EnvironmentPhase::Creating | EnvironmentPhase::ErrorCreation => scene.look(),
    }
}

/// The environment's droplet is there.
fn standing(scene: &Scene<'_>, row: &Environment, kept: &Droplet, droplets: &[Droplet], draft: &mut Draft<'_>) -> Steps {
    let unasked = scene.intent().is_some_and(|intent| scene.standing(intent).is_none());
    if unasked && scene.heard_at().is_none() && !row.spec.paused {
        return scene.look();
    }
    // 1. Remove before add: the announcement is closed, and what is twice goes.
    let mut actions = scene.adoption(droplets);
    actions.extend(scene.deletes(droplets, Some(kept.id), |_| Cause::Duplicate { kept: kept.id }));
    if row.status.droplet_id != Some(kept.id) {
        let message = format!("droplet {} is this environment's", kept.id);
        draft.event(EventType::Normal, "DropletAdopted", message, Cause::DropletSeen(kept.id));
    }
    if !row.spec.paused
        && let Some(mut steps) = launch::hopeless(scene, kept, draft)
    {
        steps.actions.splice(..0, actions);
        return steps;
    }
    // 2. What it is.
    draft.droplet(Some(kept));
    let resize = resize::decide(scene, row, kept, draft);
    let launch = launch::say(scene, kept, resize.silences, draft);
    // 3. What it should be.
    actions.extend(corrections(scene, row, kept, &resize, draft));
    let (look, again) = watched(scene, row, kept, launch);
    actions.extend(look);
    let requeue = [resize.requeue, launch.requeue, again].into_iter().flatten().min();
    let progress = progress(scene, kept, resize, launch, actions.is_empty());
    if let Progress::Failed(_, message) = &progress {
        draft.error_message(message.clone());
    }
    Steps {
        actions,
        requeue,
        progress,
    }
}

/// One change for each difference. Nothing but tags is changed of a droplet whose tags are not ours, and a busy droplet takes one
/// action at a time.
fn corrections(scene: &Scene<'_>, row: &Environment, kept: &Droplet, resize: &Resize, draft: &mut Draft<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    if drift::is_proven(scene, row.status.droplet_id, kept) {
        actions.extend(drift::retag(scene, kept));
    }
    if !kept.ours {
        return actions;
    }
    actions.extend(drift::project(scene, kept, draft));
    if kept.locked {
        return actions;
    }
    let powered = || if resize.powers { None } else { drift::power_on(scene, kept) };
    let renamed = || if resize.powers { None } else { drift::rename(scene, kept) };
    actions.extend(resize.action.clone().or_else(powered).or_else(renamed));
    actions
}

/// Whether the droplet is looked at again soon: while it is not ready, busy, or something that was changed is yet to be seen.
fn watched(scene: &Scene<'_>, row: &Environment, kept: &Droplet, launch: Launch) -> (Option<Action>, Option<SignedDuration>) {
    let differs = *kept.size != *row.spec.size || drift::differs(scene, kept);
    let changed = scene
        .changed_for(kept.id)
        .filter(|age| differs && *age < scene.policy.change_retry);
    let since = if row.spec.paused {
        None
    } else if changed.is_some() {
        changed
    } else if kept.locked {
        Some(SignedDuration::from_mins(1))
    } else if launch.stands {
        None
    } else {
        Some(scene.intent().map_or(SignedDuration::ZERO, |intent| scene.age(intent)))
    };
    since.map_or((None, None), |age| {
        let (look, again) = scene.watch(age);
        (look, Some(again))
    })
}

fn progress(scene: &Scene<'_>, kept: &Droplet, resize: Resize, launch: Launch, idle: bool) -> Progress {
    if !kept.ours {
        return Progress::underway(
            "TagsMissing",
            "the droplet lost its tags; it is kept, and would not be deleted without them",
        );
    }
    if let Some(progress) = resize.progress {
        return progress;
    }
    let (Launch { stands, heard, .. }, differs) = (launch, drift::differs(scene, kept));
    if stands && heard && idle && !differs {
        Progress::Settled
    } else if stands && heard {
        Progress::underway("Correcting", "the droplet is being made as it should be")
    } else if stands && scene.heard_at().is_some() {
        Progress::underway(
            "AgentSilent",
            "the agent's heartbeats do not come; nothing is destroyed for that",
        )
    } else {
        Progress::underway("Launching", "the droplet or its agent is not ready yet")
    }
}

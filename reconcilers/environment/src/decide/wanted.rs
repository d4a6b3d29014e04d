//! An environment that should have a droplet: create it, adopt it, wait for its agent, watch it.

use super::scene::{Progress, Scene, Steps};
use crate::{
    action::{Action, Cause},
    status::{Draft, StatusWrite, condition},
};
use fleet::{Droplet, DropletState};
use jiff::SignedDuration;
use model::{ConditionStatus, Environment, EnvironmentPhase, EventType, Intent, IntentOutcome};
use runtime::{Observation, Plan};

/// How soon a settled environment looks again when the fleet could not be read.
const RECHECK: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn decide(scene: &Scene<'_>, row: &Environment) -> Plan<Action, StatusWrite> {
    let mut draft = Draft::new(row, scene.now);
    let steps = match scene.droplets() {
        Observation::Unknown => unseen(scene, row, &mut draft),
        Observation::Absent => missing(scene, row, &[], &mut draft),
        Observation::Present(droplets) => match scene.kept(row.status.droplet_id, droplets) {
            Some(kept) if scene.leaving(kept.id) => leaving(scene, kept, &mut draft),
            Some(kept) => standing(scene, row, kept, droplets, &mut draft),
            None => missing(scene, row, droplets, &mut draft),
        },
    };
    scene.plan(draft, steps, row.spec.paused)
}

/// The fleet is not known. A settled environment is left as it is; one that needs something done has to be looked at first.
fn unseen(scene: &Scene<'_>, row: &Environment, draft: &mut Draft<'_>) -> Steps {
    match row.status.phase {
        EnvironmentPhase::Active | EnvironmentPhase::Unresponsive => {
            let heard = agent(scene, draft);
            if row.status.droplet_id.is_some() && scene.heard_at().is_some() {
                phase_by_agent(draft, heard);
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
            look(scene)
        }
        EnvironmentPhase::Creating | EnvironmentPhase::ErrorCreation => look(scene),
    }
}

fn look(scene: &Scene<'_>) -> Steps {
    Steps {
        actions: vec![Action::Look],
        requeue: Some(scene.policy.patience(SignedDuration::ZERO)),
        progress: Progress::Held,
    }
}

/// No droplet is the environment's. `others` carry its tags and are of earlier intents.
fn missing(scene: &Scene<'_>, row: &Environment, others: &[Droplet], draft: &mut Draft<'_>) -> Steps {
    if row.spec.paused {
        if row.status.phase == EnvironmentPhase::Deleted {
            draft.phase(EnvironmentPhase::PendingCreation);
        }
        no_droplet(draft, "Missing", "there is no droplet");
        return Steps::none(Progress::Held);
    }
    // 1. Remove before add: what is not the environment's goes first, and only then another may come.
    if others.iter().any(|droplet| droplet.ours) {
        no_droplet(draft, "Superseded", "a droplet of an earlier intent is being destroyed first");
        draft.phase(EnvironmentPhase::Creating);
        let (look, requeue) = scene.watch(scene.now);
        let mut actions = scene.deletes(others, None, |droplet| Cause::Superseded(droplet.id));
        actions.extend(look);
        return Steps {
            actions,
            requeue: Some(requeue),
            progress: Progress::Underway("Replacing", "a droplet of an earlier intent is being destroyed"),
        };
    }
    // 2. Whatever was announced has to have ended before something new is announced.
    match scene.intent() {
        Some(intent) => match intent.outcome {
            None => announced(scene, row, intent, draft),
            Some(IntentOutcome::Refused) => refused(scene, row, intent, draft),
            Some(IntentOutcome::Adopted | IntentOutcome::Lost | IntentOutcome::Abandoned) => match scene.hidden_left(intent) {
                Some(left) => hidden(scene, intent, left, draft),
                None => create(row, draft),
            },
        },
        None => create(row, draft),
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
        progress: Progress::Underway("CreateLost", "the announced droplet never came; another is announced"),
    };
    let (look, requeue) = scene.watch(intent.announced_at);
    let (actions, left) = match (unsent, scene.window_left(intent)) {
        (true, _) if !scene.sendable(intent) => return lost(Cause::NeverSent(intent.id)),
        (_, None) => return lost(Cause::LagWindowPassed(intent.id)),
        (true, Some(left)) => (vec![Action::CreateDroplet { cause: wish(row) }], left),
        (false, Some(left)) => (look.into_iter().collect(), left),
    };
    Steps {
        actions,
        requeue: Some(requeue.min(left)),
        progress: Progress::Underway("Creating", "the droplet is being created"),
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
    let left = pause - scene.now.duration_since(intent.announced_at);
    if left.is_positive() && row.status.observed_generation == row.generation {
        return Steps {
            actions: Vec::new(),
            requeue: Some(left),
            progress: Progress::Held,
        };
    }
    create(row, draft)
}

/// The droplet was seen, or named by an answer, so short a time ago that its absence from a read proves nothing.
fn hidden(scene: &Scene<'_>, intent: &Intent, left: SignedDuration, draft: &mut Draft<'_>) -> Steps {
    draft.phase(EnvironmentPhase::Creating);
    no_droplet(draft, "NotListed", "the young droplet is missing from DigitalOcean's answers");
    let (look, requeue) = scene.watch(intent.announced_at);
    Steps {
        actions: look.into_iter().collect(),
        requeue: Some(requeue.min(left)),
        progress: Progress::Underway("NotListed", "the droplet is too young for its absence to be believed"),
    }
}

/// The environment was disabled and is wanted again while its droplet goes away: the next one comes once this one is gone.
fn leaving(scene: &Scene<'_>, kept: &Droplet, draft: &mut Draft<'_>) -> Steps {
    draft.phase(EnvironmentPhase::Creating);
    no_droplet(draft, "Leaving", "the earlier droplet is still being destroyed");
    let (look, requeue) = scene.watch(scene.observed.outgoing.deleted_at(kept.id).unwrap_or(scene.now));
    let mut actions = scene.deletes(std::slice::from_ref(kept), None, |_| Cause::Superseded(kept.id));
    actions.extend(look);
    Steps {
        actions,
        requeue: Some(requeue),
        progress: Progress::Underway("Replacing", "the earlier droplet is still being destroyed"),
    }
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
        progress: Progress::Underway("Creating", "the droplet is being created"),
    }
}

/// The environment's droplet is there.
fn standing(scene: &Scene<'_>, row: &Environment, kept: &Droplet, droplets: &[Droplet], draft: &mut Draft<'_>) -> Steps {
    let mut actions = scene.adoption(droplets);
    actions.extend(scene.deletes(droplets, Some(kept.id), |_| Cause::Duplicate { kept: kept.id }));
    if kept.state == DropletState::Off {
        actions.push(Action::PowerOn { droplet: kept.id });
    }
    if row.status.droplet_id != Some(kept.id) {
        let message = format!("droplet {} is this environment's", kept.id);
        draft.event(EventType::Normal, "DropletAdopted", message, Cause::DropletSeen(kept.id));
    }
    draft.droplet(Some(kept));

    let stands = droplet(kept, draft);
    let heard = agent(scene, draft);
    if scene.heard_at().is_some() {
        match row.status.phase {
            EnvironmentPhase::Active | EnvironmentPhase::Unresponsive => phase_by_agent(draft, heard),
            EnvironmentPhase::PendingCreation
            | EnvironmentPhase::Creating
            | EnvironmentPhase::ErrorCreation
            | EnvironmentPhase::PendingDeletion
            | EnvironmentPhase::Deleting
            | EnvironmentPhase::Deleted
            | EnvironmentPhase::ErrorDeletion
                if stands =>
            {
                phase_by_agent(draft, heard);
            }
            EnvironmentPhase::PendingCreation
            | EnvironmentPhase::Creating
            | EnvironmentPhase::ErrorCreation
            | EnvironmentPhase::PendingDeletion
            | EnvironmentPhase::Deleting
            | EnvironmentPhase::Deleted
            | EnvironmentPhase::ErrorDeletion => draft.phase(EnvironmentPhase::Creating),
        }
    } else {
        draft.phase(EnvironmentPhase::Creating);
    }
    draft.without(&[condition::TOOLS_STOPPED]);
    let requeue = launch(scene, stands, heard, draft);
    let (look, again) = if stands || row.spec.paused {
        (None, None)
    } else {
        let began = scene.intent().map_or(scene.now, |intent| intent.announced_at);
        let (look, again) = scene.watch(began);
        (look, Some(again))
    };
    actions.extend(look);
    let progress = if !kept.ours {
        Progress::Underway(
            "TagsMissing",
            "the droplet lost its tags; it is kept, and would not be deleted without them",
        )
    } else if actions.is_empty() && stands && heard {
        Progress::Settled
    } else if stands && !heard && scene.heard_at().is_some() {
        Progress::Underway(
            "AgentSilent",
            "the agent's heartbeats do not come; nothing is destroyed for that",
        )
    } else {
        Progress::Underway("Launching", "the droplet or its agent is not ready yet")
    };
    Steps {
        actions,
        requeue: again.into_iter().chain(requeue).min(),
        progress,
    }
}

/// Says how the droplet is. Returns whether it is active with an address.
fn droplet(kept: &Droplet, draft: &mut Draft<'_>) -> bool {
    let (status, reason, message) = match (kept.state, kept.address) {
        (DropletState::Active, Some(_)) => (ConditionStatus::True, "Active", ""),
        (DropletState::Active, None) => (
            ConditionStatus::False,
            "NoAddress",
            "the droplet has no public IPv4 address yet",
        ),
        (DropletState::New, _) => (ConditionStatus::False, "Booting", "DigitalOcean is making the droplet"),
        (DropletState::Off, _) => (
            ConditionStatus::False,
            "PoweredOff",
            "the droplet is off and is being powered on",
        ),
        (DropletState::Archived, _) => (
            ConditionStatus::False,
            "Archived",
            "DigitalOcean archived the droplet; write to its support",
        ),
    };
    draft.condition(condition::DROPLET_READY, status, reason, message);
    status == ConditionStatus::True
}

/// Says how the agent is. Returns whether it is heard.
fn agent(scene: &Scene<'_>, draft: &mut Draft<'_>) -> bool {
    let enrolled = scene.intent().is_some_and(|intent| intent.enrolled_key.is_some());
    let (status, reason, message) = match (scene.heard_at(), scene.silent()) {
        (Some(_), false) => (ConditionStatus::True, "HeartbeatsReceived", ""),
        (Some(_), true) => (
            ConditionStatus::False,
            "HeartbeatsMissed",
            "three heartbeats or more were missed",
        ),
        (None, _) if enrolled => (
            ConditionStatus::False,
            "Enrolled",
            "the agent enrolled and has not reported yet",
        ),
        (None, _) => (ConditionStatus::False, "NotEnrolled", "the agent has not enrolled yet"),
    };
    draft.condition(condition::AGENT_READY, status, reason, message);
    status == ConditionStatus::True
}

fn phase_by_agent(draft: &mut Draft<'_>, heard: bool) {
    let phase = if heard {
        EnvironmentPhase::Active
    } else {
        EnvironmentPhase::Unresponsive
    };
    draft.phase(phase);
}

/// Says whether tools can run, and whether the launch takes too long. Returns when that is to be asked again.
fn launch(scene: &Scene<'_>, stands: bool, heard: bool, draft: &mut Draft<'_>) -> Option<SignedDuration> {
    if stands && heard {
        draft.condition(condition::READY, ConditionStatus::True, "Ready", "");
        return None;
    }
    if scene.heard_at().is_some() {
        let (reason, message) = if stands {
            ("AgentSilent", "the agent is not heard; its tools keep running")
        } else {
            ("DropletNotReady", "the droplet is not running")
        };
        draft.condition(condition::READY, ConditionStatus::False, reason, message);
        return None;
    }
    let announced_at = scene.intent()?.announced_at;
    let left = scene.policy.launch_deadline - scene.now.duration_since(announced_at);
    if left.is_positive() {
        draft.condition(
            condition::READY,
            ConditionStatus::False,
            "Launching",
            "the droplet or its agent is not ready yet",
        );
        return Some(left);
    }
    let message = if stands {
        "the droplet runs, but its agent has not reported; see the droplet's cloud-init output"
    } else {
        "the droplet has not become active with a public address"
    };
    draft.condition(condition::READY, ConditionStatus::False, "LaunchDeadlineExceeded", message);
    None
}

/// The conditions of an environment without a droplet.
fn no_droplet(draft: &mut Draft<'_>, reason: &str, message: &str) {
    draft.condition(condition::DROPLET_READY, ConditionStatus::False, reason, message);
    draft.condition(condition::AGENT_READY, ConditionStatus::False, "NoDroplet", "");
    draft.condition(condition::READY, ConditionStatus::False, reason, message);
    draft.without(&[condition::TOOLS_STOPPED]);
}

/// The column that wants a droplet.
fn wish(row: &Environment) -> Cause {
    Cause::Specification {
        column: "desired_state",
        generation: row.generation,
    }
}

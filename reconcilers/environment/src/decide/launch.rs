//! How a droplet and its agent are: what the conditions say of them, and when a launch takes too long.
//!
//! ```text
//! announced -> active with an address -> enrolled -> heard: launched, for good
//!     |                |
//!     |                +- launch deadline, not enrolled ----> error_creation; heals by itself when it enrols
//!     |                +- enrolment over, not enrolled -----> replaced, ever more seldom
//!     +- launch deadline, not active -----------------------> error_creation; heals by itself when it is
//! ```

use super::scene::{Progress, Scene, Steps};
use crate::{
    action::{Action, Cause},
    status::{Draft, condition},
};
use fleet::{Droplet, DropletState};
use jiff::SignedDuration;
use model::{ConditionStatus, EnvironmentPhase, EventType, Intent};

/// How far a droplet is.
#[derive(Clone, Copy)]
pub(super) struct Launch {
    /// It is active with an address.
    pub(super) stands: bool,
    /// Its agent is heard.
    pub(super) heard: bool,
    /// When that is to be asked again.
    pub(super) requeue: Option<SignedDuration>,
}

/// Says how droplet and agent are, and whether tools can run.
pub(super) fn say(scene: &Scene<'_>, kept: &Droplet, resizing: bool, draft: &mut Draft<'_>) -> Launch {
    let stands = droplet(kept, draft);
    let heard = agent(scene, draft);
    let requeue = if scene.heard_at().is_some() {
        launched(stands, heard, resizing, draft);
        None
    } else {
        launching(scene, stands, draft)
    };
    Launch { stands, heard, requeue }
}

/// The droplet was launched once. Nothing that its agent does or does not do destroys it.
fn launched(stands: bool, heard: bool, resizing: bool, draft: &mut Draft<'_>) {
    let settled = matches!(
        draft.before().phase,
        EnvironmentPhase::Active | EnvironmentPhase::Unresponsive
    );
    if resizing && settled {
        // The agent is silent because it was told to be.
    } else if settled || stands {
        phase_by_agent(draft, heard);
    } else {
        draft.phase(EnvironmentPhase::Creating);
    }
    let (reason, message) = match (resizing, stands, heard) {
        (true, _, _) => (
            "Resizing",
            "the droplet is being given another size; its tools come back after that",
        ),
        (false, true, true) => return draft.condition(condition::READY, ConditionStatus::True, "Ready", ""),
        (false, true, false) => ("AgentSilent", "the agent is not heard; its tools keep running"),
        (false, false, _) => ("DropletNotReady", "the droplet is not running"),
    };
    draft.condition(condition::READY, ConditionStatus::False, reason, message);
}

/// The agent was never heard. Returns when to ask again.
fn launching(scene: &Scene<'_>, stands: bool, draft: &mut Draft<'_>) -> Option<SignedDuration> {
    let waits = |draft: &mut Draft<'_>| {
        let message = "the droplet or its agent is not ready yet";
        draft.phase(EnvironmentPhase::Creating);
        draft.condition(condition::READY, ConditionStatus::False, "Launching", message);
    };
    let Some(intent) = scene.intent() else {
        waits(draft);
        return None;
    };
    let left = scene.policy.launch_deadline - scene.age(intent);
    if left.is_positive() {
        waits(draft);
        return Some(left);
    }
    let (reason, message) = match (stands, intent.enrolled_key.is_some()) {
        (false, _) => (
            "LaunchDeadlineExceeded",
            "the droplet has not become active with a public address in time; DigitalOcean's status page may say why",
        ),
        (true, false) => (
            "EnrolmentDeadlineExceeded",
            "the droplet runs, but its agent has not enrolled in time: is public_url reached from it? See its cloud-init output",
        ),
        (true, true) => (
            "ReportDeadlineExceeded",
            "the agent enrolled, but has not reported in time: see its log on the droplet",
        ),
    };
    draft.phase(EnvironmentPhase::ErrorCreation);
    draft.error_message(message.to_owned());
    draft.condition(condition::READY, ConditionStatus::False, reason, message);
    replaced_in(scene, intent)
}

/// When a droplet whose agent never enrolled is replaced, if it comes to that. `None` also when its agent enrolled.
fn replaced_in(scene: &Scene<'_>, intent: &Intent) -> Option<SignedDuration> {
    let standing = scene.standing(intent).filter(|_| intent.enrolled_key.is_none())?;
    let nth = standing.unenrolled?;
    let left = scene.policy.replace_after(nth) - standing.age;
    Some(left.max(standing.enrolment_left).max(SignedDuration::ZERO))
}

/// A droplet whose agent can never enrol any more is destroyed, once its turn has come, and another follows.
pub(super) fn hopeless(scene: &Scene<'_>, kept: &Droplet, draft: &mut Draft<'_>) -> Option<Steps> {
    let intent = scene.intent()?;
    let due = replaced_in(scene, intent).is_some_and(|left| left.is_zero());
    if !(scene.made(intent, kept) && due && kept.ours && scene.heard_at().is_none()) {
        return None;
    }
    let cause = Cause::NeverEnrolled(kept.id);
    let message = format!(
        "droplet {} is replaced: its agent never enrolled, and cannot any more",
        kept.id
    );
    draft.event(EventType::Warning, "DropletReplaced", message, cause);
    draft.droplet(Some(kept));
    draft.phase(EnvironmentPhase::Creating);
    no_droplet(
        draft,
        "Replacing",
        "the droplet's agent never enrolled; another droplet takes its place",
    );
    Some(Steps {
        actions: vec![Action::DeleteDroplet { droplet: kept.id, cause }],
        requeue: Some(scene.policy.patience(SignedDuration::ZERO)),
        progress: Progress::underway("Replacing", "a droplet whose agent never enrolled is being destroyed"),
    })
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
pub(super) fn agent(scene: &Scene<'_>, draft: &mut Draft<'_>) -> bool {
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

pub(super) fn phase_by_agent(draft: &mut Draft<'_>, heard: bool) {
    let phase = if heard {
        EnvironmentPhase::Active
    } else {
        EnvironmentPhase::Unresponsive
    };
    draft.phase(phase);
}

/// The conditions of an environment without a droplet.
pub(super) fn no_droplet(draft: &mut Draft<'_>, reason: &str, message: &str) {
    draft.condition(condition::DROPLET_READY, ConditionStatus::False, reason, message);
    draft.condition(condition::AGENT_READY, ConditionStatus::False, "NoDroplet", "");
    draft.condition(condition::READY, ConditionStatus::False, reason, message);
    draft.without(&[condition::TOOLS_STOPPED, condition::RESIZED]);
}

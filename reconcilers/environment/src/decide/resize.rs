//! A droplet of another size than the specification's is resized in place: its disk stays as it is, so that it can be made smaller
//! again, and its tools come back after it.
//!
//! ```text
//! fits <----------------------------------------------------------------------+
//!   | size_slug changed, or somebody resized the droplet                      |
//!   v                                                                         |
//! reachable? -- no --> Resized=False; nothing is stopped                      |
//!   | Resized=Unknown                                                         |
//!   v                                                                         |
//! ToolsStopped=False: ports close, tools stop                                 |
//!   | at rest, or the stop deadline                                           |
//!   v                                                                         |
//! ToolsStopped=True: shutdown -- shutdown deadline --> power off              |
//!   | seen off                                                                |
//!   v                                                                         |
//! resize -- refused or failed --> Resized=False; power on, tools back         |
//!   | seen of the right size                                                  |
//!   v                                                                         |
//! power on -- seen active --> tools back -- agent heard ----------------------+
//! ```
//!
//! Where it stands is read from the droplet and from the row's conditions alone, so that any process can go on with it.

use super::scene::{Progress, RECHECK, Scene};
use crate::{
    action::{Action, Cause, Change},
    sizes::Reach,
    status::{Draft, RESIZE_REFUSED, condition, failing_since},
};
use fleet::{Droplet, DropletState};
use jiff::{SignedDuration, Timestamp};
use model::{Condition, ConditionStatus, Environment, EventType};

/// The reason of a resize that was accepted and did not happen.
const RESIZE_FAILED: &str = "ResizeFailed";

/// What a resize asks for.
#[derive(Default)]
pub(super) struct Resize {
    /// At most one.
    pub(super) action: Option<Action>,
    /// Whether it decides on the droplet's power.
    pub(super) powers: bool,
    /// Whether the agent is silent for its sake.
    pub(super) silences: bool,
    /// What stands in the way, or how far it is.
    pub(super) progress: Option<Progress>,
    /// When to look at it again.
    pub(super) requeue: Option<SignedDuration>,
}

pub(super) fn decide(scene: &Scene<'_>, row: &Environment, kept: &Droplet, draft: &mut Draft<'_>) -> Resize {
    let begun = draft
        .said(condition::RESIZED)
        .filter(|said| said.status == ConditionStatus::Unknown);
    if row.spec.paused {
        return Resize {
            silences: begun.is_some(),
            ..Resize::default()
        };
    }
    if *kept.size == *row.spec.size {
        return fits(scene, kept, begun, draft);
    }
    match kept.state {
        // The first boot is not interrupted: the agent has to have been there once.
        DropletState::Active | DropletState::Off if kept.ours && scene.heard_at().is_some() => {}
        DropletState::New | DropletState::Active | DropletState::Off | DropletState::Archived => {
            draft.without(&[condition::TOOLS_STOPPED]);
            return Resize::default();
        }
    }
    if let Some(refused) = refused(scene, row, kept, draft) {
        return refused;
    }
    match scene.observed.sizes.reach(&row.spec.size, &row.spec.region, kept.disk) {
        Reach::Unknown => Resize {
            action: Some(Action::ReadSizes {
                cause: differs(row, kept),
            }),
            powers: begun.is_some(),
            silences: begun.is_some(),
            progress: Some(Progress::underway(
                "ReadingSizes",
                "whether the droplet can get its size is being read",
            )),
            requeue: Some(RECHECK),
        },
        Reach::Unreachable(message) => given_up("SizeUnreachable", message, draft),
        Reach::Reachable => step(scene, row, kept, begun, draft),
    }
}

/// The droplet has its size. Its tools may run as soon as it does, and the resize is over when its agent is heard again.
fn fits(scene: &Scene<'_>, kept: &Droplet, begun: Option<&Condition>, draft: &mut Draft<'_>) -> Resize {
    let Some(begun) = begun else {
        draft.without(&[condition::RESIZED, condition::TOOLS_STOPPED]);
        return Resize::default();
    };
    let patience = scene.policy.launch_deadline - scene.now.duration_since(begun.last_transition_time);
    match kept.state {
        DropletState::Active if scene.silent() && patience.is_positive() => {
            draft.without(&[condition::TOOLS_STOPPED]);
            Resize {
                silences: true,
                progress: Some(Progress::underway(
                    "Resized",
                    "the droplet has its size; its agent is awaited",
                )),
                requeue: Some(patience),
                ..Resize::default()
            }
        }
        DropletState::Active => {
            let message = format!("droplet {} is of size {}, and its tools come back", kept.id, &*kept.size);
            draft.event(EventType::Normal, "DropletResized", message, Cause::DropletSeen(kept.id));
            draft.without(&[condition::RESIZED, condition::TOOLS_STOPPED]);
            Resize::default()
        }
        DropletState::New | DropletState::Off | DropletState::Archived => Resize {
            silences: true,
            progress: Some(Progress::underway(
                "Resized",
                "the droplet has its size and is being powered on",
            )),
            ..Resize::default()
        },
    }
}

/// A resize that DigitalOcean refused or could not carry out is not tried again at once: its tools would be stopped for nothing.
fn refused(scene: &Scene<'_>, row: &Environment, kept: &Droplet, draft: &mut Draft<'_>) -> Option<Resize> {
    if scene.observed.outgoing.failed_resize == Some(kept.id) && kept.state == DropletState::Off && !kept.locked {
        let message = format!(
            "size_slug: DigitalOcean accepted {} and could not carry it out; it is tried again later, or when size_slug changes",
            row.spec.size
        );
        return Some(given_up(RESIZE_FAILED, message, draft));
    }
    let said = draft.said(condition::RESIZED)?;
    let known = *said.reason == *RESIZE_REFUSED || *said.reason == *RESIZE_FAILED;
    let left = scene.policy.resize_retry - scene.now.duration_since(said.last_transition_time);
    let stands = known && said.status == ConditionStatus::False && said.observed_generation == row.generation;
    if !(stands && left.is_positive()) {
        return None;
    }
    let reason = if *said.reason == *RESIZE_REFUSED {
        RESIZE_REFUSED
    } else {
        RESIZE_FAILED
    };
    Some(Resize {
        requeue: Some(left),
        ..given_up(reason, said.message.to_string(), draft)
    })
}

/// The size cannot be reached: the droplet goes on as it is, with its tools.
fn given_up(reason: &'static str, message: String, draft: &mut Draft<'_>) -> Resize {
    draft.condition(condition::RESIZED, ConditionStatus::False, reason, &message);
    draft.without(&[condition::TOOLS_STOPPED]);
    Resize {
        progress: Some(Progress::Failed(reason, message)),
        ..Resize::default()
    }
}

/// The next step of a resize that is under way.
fn step(scene: &Scene<'_>, row: &Environment, kept: &Droplet, begun: Option<&Condition>, draft: &mut Draft<'_>) -> Resize {
    let message = format!("the droplet is being resized from {} to {}", &*kept.size, row.spec.size);
    draft.condition(condition::RESIZED, ConditionStatus::Unknown, "Resizing", &message);
    let (action, requeue) = match kept.state {
        _ if kept.locked => (None, None),
        DropletState::Active => stop(scene, row, kept, begun.is_some(), draft),
        DropletState::Off => {
            let size = row.spec.size.clone();
            (scene.change(kept.id, Change::Resize { size }, differs(row, kept)), None)
        }
        DropletState::New | DropletState::Archived => (None, None),
    };
    Resize {
        action,
        powers: true,
        silences: true,
        progress: Some(Progress::underway("Resizing", "the droplet is being given another size")),
        requeue,
    }
}

/// Stops the tools, then the droplet.
fn stop(
    scene: &Scene<'_>,
    row: &Environment,
    kept: &Droplet,
    begun: bool,
    draft: &mut Draft<'_>,
) -> (Option<Action>, Option<SignedDuration>) {
    if let Some(stopped) = stopped_since(draft).filter(|_| begun) {
        let left = scene.policy.shutdown_deadline - scene.now.duration_since(stopped);
        let (change, cause, requeue) = if left.is_positive() {
            (Change::Shutdown, differs(row, kept), Some(left))
        } else {
            (Change::PowerOff, Cause::ShutdownIgnored(kept.id), Some(RECHECK))
        };
        return (scene.change(kept.id, change, cause), requeue);
    }
    let since = failing_since(&row.status.conditions, condition::TOOLS_STOPPED).unwrap_or(scene.now);
    if let Some(left) = scene.tools_awaited(since) {
        let message = "the agent was told to stop the tools, for the droplet to be resized";
        draft.condition(condition::TOOLS_STOPPED, ConditionStatus::False, "Stopping", message);
        return (None, Some(left));
    }
    draft.condition(condition::TOOLS_STOPPED, ConditionStatus::True, "Stopped", "");
    let shutdown = scene.change(kept.id, Change::Shutdown, differs(row, kept));
    (shutdown, Some(scene.policy.shutdown_deadline))
}

/// Since when the tools are stopped.
fn stopped_since(draft: &Draft<'_>) -> Option<Timestamp> {
    let said = draft.said(condition::TOOLS_STOPPED)?;
    (said.status == ConditionStatus::True).then_some(said.last_transition_time)
}

fn differs(row: &Environment, kept: &Droplet) -> Cause {
    Cause::SizeDiffers {
        droplet: kept.id,
        generation: row.generation,
    }
}

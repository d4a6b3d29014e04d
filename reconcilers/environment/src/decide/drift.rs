//! What somebody else did to a droplet that is the environment's: each difference is corrected by one change. Owns: which
//! differences count, and whether a droplet without our tags is proven to be ours. Must not: know sizes (see `resize`).

use super::scene::Scene;
use crate::{
    action::{Action, Cause, Change},
    project::Membership,
    status::{Draft, condition},
};
use fleet::{Droplet, DropletState};
use model::{ConditionStatus, DropletId, IntentOutcome};

/// Whether a droplet is the one that was made for this environment, although its tags do not say so: its id is on record, and its
/// name or its intent is ours as well. One whose tags name another installation or environment is not.
pub(super) fn is_proven(scene: &Scene<'_>, recorded: Option<DropletId>, droplet: &Droplet) -> bool {
    let unclaimed = droplet.ours || !droplet.missing.is_empty();
    let intent = scene
        .intent()
        .filter(|intent| matches!(intent.outcome, None | Some(IntentOutcome::Adopted)));
    let answered = intent.is_some_and(|intent| intent.droplet_id == Some(droplet.id));
    let tagged = intent.is_some_and(|intent| droplet.intent == Some(intent.id));
    let on_record = answered || recorded == Some(droplet.id);
    unclaimed && on_record && (droplet.named || answered || tagged)
}

/// Gives a proven droplet its tags again, the installation's first: by that the base firewall holds.
pub(super) fn retag(scene: &Scene<'_>, droplet: &Droplet) -> Vec<Action> {
    let cause = Cause::Untagged(droplet.id);
    let change = |change| scene.change(droplet.id, change, cause);
    let marks = droplet.missing.iter().filter_map(|mark| change(Change::Tag(*mark)));
    let mut actions: Vec<Action> = marks.collect();
    actions.extend(lost_intent(scene, droplet).and_then(|intent| change(Change::TagIntent(intent))));
    actions
}

/// The intent that made a droplet whose tags name none.
fn lost_intent(scene: &Scene<'_>, droplet: &Droplet) -> Option<model::IntentId> {
    let made = scene.intent().filter(|intent| intent.droplet_id == Some(droplet.id));
    made.filter(|_| droplet.intent.is_none()).map(|intent| intent.id)
}

/// Whether a droplet differs from what it was made as, in anything but its size.
pub(super) fn differs(scene: &Scene<'_>, droplet: &Droplet) -> bool {
    let untagged = !droplet.missing.is_empty() || lost_intent(scene, droplet).is_some();
    untagged || !droplet.named || droplet.state == DropletState::Off
}

/// Switches a droplet on that is off.
pub(super) fn power_on(scene: &Scene<'_>, droplet: &Droplet) -> Option<Action> {
    match droplet.state {
        DropletState::Off => scene.change(droplet.id, Change::PowerOn, Cause::DropletOff(droplet.id)),
        DropletState::New | DropletState::Active | DropletState::Archived => None,
    }
}

/// Gives a droplet its name again.
pub(super) fn rename(scene: &Scene<'_>, droplet: &Droplet) -> Option<Action> {
    match droplet.state {
        DropletState::Active | DropletState::Off if !droplet.named => {
            scene.change(droplet.id, Change::Rename, Cause::Renamed(droplet.id))
        }
        DropletState::New | DropletState::Active | DropletState::Off | DropletState::Archived => None,
    }
}

/// Puts a droplet into the configured project, or says why it cannot be.
pub(super) fn project(scene: &Scene<'_>, droplet: &Droplet, draft: &mut Draft<'_>) -> Option<Action> {
    match &scene.observed.project {
        Membership::Unknown => None,
        Membership::NoProject => {
            let message = "digitalocean_project: no project of the account has this id or name";
            let kind = condition::PROJECT_ASSIGNED;
            draft.condition(kind, ConditionStatus::False, "NoProject", message);
            None
        }
        Membership::Unmanaged => {
            draft.without(&[condition::PROJECT_ASSIGNED]);
            None
        }
        Membership::Known(inside) => {
            draft.without(&[condition::PROJECT_ASSIGNED]);
            // DigitalOcean does not know a droplet everywhere until it is active.
            let outside = droplet.state != DropletState::New && !inside.contains(&droplet.id);
            outside.then(|| scene.change(droplet.id, Change::AssignProject, Cause::OutsideProject(droplet.id)))?
        }
    }
}

//! What a plan of the environment reconciler can do, one external effect each, and why. Owns: their vocabulary. Must not: do it.

use fleet::Mark;
use model::{DropletId, EnvironmentId, Explain, Explanation, IntentId, IntentOutcome, Word};
use std::fmt;

/// One effect. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the environment's droplets anew: what is remembered is too old for something under way.
    Look,
    /// Read the sizes that DigitalOcean offers: what is known of them does not tell whether a size can be reached.
    ReadSizes {
        /// Why another size is wanted.
        cause: Cause,
    },
    /// Commit that a droplet is about to be created. Leaves the permission to send it once in the outbox.
    AnnounceIntent {
        /// Why there has to be a droplet.
        cause: Cause,
    },
    /// Send the announced create. Uses the permission up, so that no answer, or a lost one, is never followed by a second try.
    CreateDroplet {
        /// Why there has to be a droplet.
        cause: Cause,
    },
    /// Record which droplet an intent made.
    NameDroplet {
        /// The intent.
        intent: IntentId,
        /// Its droplet.
        droplet: DropletId,
    },
    /// Close an intent.
    ResolveIntent {
        /// The intent.
        intent: IntentId,
        /// How it ended.
        outcome: IntentOutcome,
        /// Why.
        cause: Cause,
    },
    /// Change one thing about a droplet that is the environment's.
    ChangeDroplet {
        /// Which.
        droplet: DropletId,
        /// What.
        change: Change,
        /// Why.
        cause: Cause,
    },
    /// Destroy a droplet whose tags were seen to be ours.
    DeleteDroplet {
        /// Which.
        droplet: DropletId,
        /// Why it has to go.
        cause: Cause,
    },
    /// Record that a deleted row's droplet was seen to be gone, so that its firewall may go.
    RecordDropletGone {
        /// Which.
        droplet: DropletId,
    },
    /// Forget a deleted row whose droplet and firewall were seen to be gone.
    FinishTombstone,
}

/// One change of a droplet. Believed only once it was observed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Switch it on.
    PowerOn,
    /// Ask its operating system to shut down.
    Shutdown,
    /// Pull the plug of one that does not shut down.
    PowerOff,
    /// Give it another size, with its disk as it is, so that it can be made smaller again. It has to be off.
    Resize {
        /// The size's slug.
        size: Word,
    },
    /// Give it its name again.
    Rename,
    /// Give it a tag again that says whose it is.
    Tag(Mark),
    /// Give it the tag of its intent again.
    TagIntent(IntentId),
    /// Put it into the configured project.
    AssignProject,
}

/// Why something is done, for `reconcile_events.cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A column of the specification.
    Specification {
        /// Its name.
        column: &'static str,
        /// The generation that said so.
        generation: i64,
    },
    /// The row was deleted.
    RowDeleted,
    /// The recorded droplet was seen to be gone.
    DropletGone(DropletId),
    /// The droplet was seen.
    DropletSeen(DropletId),
    /// The droplet was seen with its power off.
    DropletOff(DropletId),
    /// The droplet was seen with another size than the specification's.
    SizeDiffers {
        /// Which.
        droplet: DropletId,
        /// The generation whose `size_slug` it is not of.
        generation: i64,
    },
    /// The droplet was told to shut down, and did not.
    ShutdownIgnored(DropletId),
    /// The droplet was seen with another name.
    Renamed(DropletId),
    /// The droplet was seen without one of its tags.
    Untagged(DropletId),
    /// The droplet was seen outside the configured project.
    OutsideProject(DropletId),
    /// Another droplet is the environment's.
    Duplicate {
        /// The one that stays.
        kept: DropletId,
    },
    /// The droplet is of an intent that a later one replaced: its agent can no longer enrol.
    Superseded(DropletId),
    /// The droplet's agent did not enrol while its enrolment was taken.
    NeverEnrolled(DropletId),
    /// The droplet's tags name an environment that has neither a row nor a tombstone.
    Orphan(EnvironmentId),
    /// The lag window passed and no droplet of the intent was seen.
    LagWindowPassed(IntentId),
    /// Less is seen than there can be.
    FleetDoubtful,
    /// The create was never sent.
    NeverSent(IntentId),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Specification { column, generation } => write!(f, "spec.{column} of generation {generation}"),
            Self::RowDeleted => f.write_str("the row was deleted"),
            Self::DropletGone(id) => write!(f, "droplet {id} is gone"),
            Self::DropletSeen(id) => write!(f, "droplet {id} was seen"),
            Self::DropletOff(id) => write!(f, "droplet {id} is powered off"),
            Self::SizeDiffers { droplet, generation } => {
                write!(f, "droplet {droplet} is not of spec.size_slug of generation {generation}")
            }
            Self::ShutdownIgnored(id) => write!(f, "droplet {id} did not shut down in time"),
            Self::Renamed(id) => write!(f, "droplet {id} has another name"),
            Self::Untagged(id) => write!(f, "droplet {id} lost its tags"),
            Self::OutsideProject(id) => write!(f, "droplet {id} is not in the configured project"),
            Self::Duplicate { kept } => write!(f, "droplet {kept} is the environment's"),
            Self::Superseded(id) => write!(f, "droplet {id} is of a superseded intent"),
            Self::NeverEnrolled(id) => write!(f, "the agent of droplet {id} never enrolled, and cannot any more"),
            Self::Orphan(id) => write!(f, "environment {id} has neither a row nor a tombstone"),
            Self::LagWindowPassed(id) => write!(f, "no droplet of intent {id} within the lag window"),
            Self::FleetDoubtful => f.write_str("so much is missing at once that nothing missing is believed"),
            Self::NeverSent(id) => write!(f, "intent {id} was never sent"),
        }
    }
}

impl From<Cause> for model::Cause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Specification { column, generation } => Self::specification(column, generation),
            other @ (Cause::RowDeleted
            | Cause::DropletGone(_)
            | Cause::DropletSeen(_)
            | Cause::DropletOff(_)
            | Cause::SizeDiffers { .. }
            | Cause::ShutdownIgnored(_)
            | Cause::Renamed(_)
            | Cause::Untagged(_)
            | Cause::OutsideProject(_)
            | Cause::Duplicate { .. }
            | Cause::Superseded(_)
            | Cause::NeverEnrolled(_)
            | Cause::Orphan(_)
            | Cause::LagWindowPassed(_)
            | Cause::FleetDoubtful
            | Cause::NeverSent(_)) => Self::observation(other.to_string()),
        }
    }
}

impl Change {
    /// One upper-camel-case word, for events and plans, and what is done.
    pub(crate) fn told(&self) -> (&'static str, &'static str) {
        match self {
            Self::PowerOn => ("DropletPoweredOn", "is powered on"),
            Self::Shutdown => ("DropletShutDown", "is told to shut down"),
            Self::PowerOff => ("DropletPoweredOff", "is powered off"),
            Self::Resize { .. } => ("DropletResizing", "is given another size"),
            Self::Rename => ("DropletRenamed", "is given its name again"),
            Self::Tag(_) | Self::TagIntent(_) => ("DropletTagged", "is given its tag again"),
            Self::AssignProject => ("DropletAssigned", "is put into the configured project"),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::PowerOn => "PowerOn",
            Self::Shutdown => "Shutdown",
            Self::PowerOff => "PowerOff",
            Self::Resize { .. } => "Resize",
            Self::Rename => "Rename",
            Self::Tag(_) | Self::TagIntent(_) => "Tag",
            Self::AssignProject => "AssignProject",
        }
    }
}

impl Action {
    /// The reason of the event that tells of it; `None` for what only looks.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Look | Self::ReadSizes { .. } => None,
            Self::AnnounceIntent { .. } => Some("CreateAnnounced"),
            Self::CreateDroplet { .. } => Some("DropletCreated"),
            Self::NameDroplet { .. } => Some("DropletFound"),
            Self::ResolveIntent { outcome, .. } => Some(match outcome {
                IntentOutcome::Adopted => "CreateSeen",
                IntentOutcome::Refused => "CreateRefused",
                IntentOutcome::Lost => "CreateLost",
                IntentOutcome::Abandoned => "CreateAbandoned",
            }),
            Self::ChangeDroplet { change, .. } => Some(change.told().0),
            Self::DeleteDroplet { .. } => Some("DropletDeleted"),
            Self::RecordDropletGone { .. } => Some("DropletGone"),
            Self::FinishTombstone => Some("TombstoneFinished"),
        }
    }
}

impl Explain for Action {
    fn explain(&self) -> Explanation {
        let say = |action, object: String, message: String, cause: Cause| Explanation {
            action,
            object,
            message,
            cause: cause.into(),
        };
        let droplets = || "droplets".to_owned();
        match self {
            Self::Look => Explanation {
                action: "Look",
                object: droplets(),
                message: "the environment's droplets are read".to_owned(),
                cause: model::Cause::observation("what is known of them is too old"),
            },
            Self::ReadSizes { cause } => say("ReadSizes", "sizes".to_owned(), "the sizes are read".to_owned(), *cause),
            Self::AnnounceIntent { cause } => {
                let message = "a create is announced".to_owned();
                say("AnnounceIntent", "intent".to_owned(), message, *cause)
            }
            Self::CreateDroplet { cause } => {
                let message = "the announced droplet is created".to_owned();
                say("CreateDroplet", "droplet".to_owned(), message, *cause)
            }
            Self::NameDroplet { intent, droplet } => {
                let message = format!("droplet {droplet} is recorded as the intent's");
                say(
                    "NameDroplet",
                    format!("intent {intent}"),
                    message,
                    Cause::DropletSeen(*droplet),
                )
            }
            Self::ResolveIntent { intent, outcome, cause } => {
                let message = format!("the intent is closed: {}", outcome_word(*outcome));
                say("ResolveIntent", format!("intent {intent}"), message, *cause)
            }
            Self::ChangeDroplet { droplet, change, cause } => {
                let message = format!("droplet {droplet} {}", change.told().1);
                say(change.word(), format!("droplet {droplet}"), message, *cause)
            }
            Self::DeleteDroplet { droplet, cause } => {
                let message = format!("droplet {droplet} is destroyed");
                say("DeleteDroplet", format!("droplet {droplet}"), message, *cause)
            }
            Self::RecordDropletGone { droplet } => {
                let message = format!("droplet {droplet} is recorded as gone");
                say(
                    "RecordDropletGone",
                    "tombstone".to_owned(),
                    message,
                    Cause::DropletGone(*droplet),
                )
            }
            Self::FinishTombstone => {
                let message = "the tombstone is removed".to_owned();
                say("FinishTombstone", "tombstone".to_owned(), message, Cause::RowDeleted)
            }
        }
    }

    fn only_reads(&self) -> bool {
        self.reason().is_none()
    }
}

fn outcome_word(outcome: IntentOutcome) -> &'static str {
    match outcome {
        IntentOutcome::Adopted => "its droplet is the environment's",
        IntentOutcome::Refused => "DigitalOcean refused it",
        IntentOutcome::Lost => "its droplet never came",
        IntentOutcome::Abandoned => "its droplet is not wanted any more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One action of each kind. Its place here is the proof that none is left out.
    fn place(action: &Action) -> usize {
        match action {
            Action::Look => 0,
            Action::ReadSizes { .. } => 1,
            Action::AnnounceIntent { .. } => 2,
            Action::CreateDroplet { .. } => 3,
            Action::NameDroplet { .. } => 4,
            Action::ResolveIntent { outcome, .. } => match outcome {
                IntentOutcome::Adopted => 5,
                IntentOutcome::Refused => 6,
                IntentOutcome::Lost => 7,
                IntentOutcome::Abandoned => 8,
            },
            Action::ChangeDroplet { change, .. } => match change {
                Change::PowerOn => 9,
                Change::Shutdown => 10,
                Change::PowerOff => 11,
                Change::Resize { .. } => 12,
                Change::Rename => 13,
                Change::Tag(_) => 14,
                Change::TagIntent(_) => 15,
                Change::AssignProject => 16,
            },
            Action::DeleteDroplet { .. } => 17,
            Action::RecordDropletGone { .. } => 18,
            Action::FinishTombstone => 19,
        }
    }

    fn one_of_each() -> Vec<Action> {
        let (droplet, intent) = (DropletId(7), IntentId::random());
        let wish = Cause::Specification {
            column: "size_slug",
            generation: 3,
        };
        let resolve = |outcome| Action::ResolveIntent {
            intent,
            outcome,
            cause: Cause::DropletSeen(droplet),
        };
        let change = |change| Action::ChangeDroplet {
            droplet,
            change,
            cause: Cause::DropletOff(droplet),
        };
        vec![
            Action::Look,
            Action::ReadSizes { cause: wish },
            Action::AnnounceIntent { cause: wish },
            Action::CreateDroplet { cause: wish },
            Action::NameDroplet { intent, droplet },
            resolve(IntentOutcome::Adopted),
            resolve(IntentOutcome::Refused),
            resolve(IntentOutcome::Lost),
            resolve(IntentOutcome::Abandoned),
            change(Change::PowerOn),
            change(Change::Shutdown),
            change(Change::PowerOff),
            change(Change::Resize {
                size: "s-2vcpu-2gb".into(),
            }),
            change(Change::Rename),
            change(Change::Tag(Mark::Installation)),
            change(Change::TagIntent(intent)),
            change(Change::AssignProject),
            Action::DeleteDroplet {
                droplet,
                cause: Cause::Duplicate { kept: DropletId(6) },
            },
            Action::RecordDropletGone { droplet },
            Action::FinishTombstone,
        ]
    }

    #[test]
    fn every_action_that_changes_something_has_an_event_and_every_action_a_cause() {
        let actions = one_of_each();
        assert_eq!(actions.iter().map(place).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        for action in &actions {
            let explained = action.explain();
            assert!(
                !explained.cause.to_string().is_empty() && !explained.message.is_empty(),
                "{action:?}"
            );
            assert_eq!(action.reason().is_none(), action.only_reads(), "{action:?}");
        }
        assert_eq!(
            actions[3].explain().cause,
            model::Cause::specification("size_slug", 3),
            "the column and its generation are kept apart"
        );
        assert_eq!(actions[17].explain().cause.to_string(), "droplet 6 is the environment's");
    }
}

//! How a pass is told: reports and endpoints.
//!
//! Owns: which words a state and a failure get. Must not: choose what is done. Promises: what is told as running is what answers,
//! and a failure is told until it is over.

use super::Pass;
use crate::{
    board::{Endpoint, Verdict},
    container::{Container, Exit, Readiness},
    desired::Wanted,
    ledger::Failure,
};
use jiff::Timestamp;
use model::{DesiredInstance, InstanceReport, InstanceState};
use runtime::Error;

/// What the board says after an action failed. What serves or is being stopped goes on being told as that.
pub fn after_failure(mut verdict: Verdict, wanted: &Wanted, error: &Error, now: Timestamp) -> Verdict {
    verdict.ledger.fail(Failure {
        reason: error.reason(),
        message: error.message().to_owned(),
        at: now,
    });
    // Whatever exit is seen next, it is not one of a process that this agent started.
    verdict.ledger.supervised = false;
    if verdict.report.is_none() {
        verdict.report = match wanted {
            Wanted::Instance(instance) => Some(pending(instance)),
            Wanted::Nothing => None,
        };
    }
    if let Some(report) = &mut verdict.report {
        report.state = match report.state {
            InstanceState::Running => InstanceState::Running,
            InstanceState::Stopping => InstanceState::Stopping,
            InstanceState::Pending
            | InstanceState::Pulling
            | InstanceState::Starting
            | InstanceState::Stopped
            | InstanceState::Failed => InstanceState::Failed,
        };
        report.reason = Some(error.reason().to_owned());
        report.message = Some(error.message().to_owned());
    }
    verdict
}

/// Before anything is known.
pub(super) fn pending(instance: &DesiredInstance) -> InstanceReport {
    InstanceReport {
        instance_id: instance.instance_id,
        generation: instance.generation,
        state: InstanceState::Pending,
        version: None,
        image_digest: None,
        container_id: None,
        port: Some(instance.port),
        restarts: 0,
        exit_code: None,
        reason: None,
        message: None,
    }
}

impl<'a> Pass<'a> {
    /// A container of an earlier specification that answers.
    pub(super) fn still_serving(&self) -> (Option<&'a Container>, Option<Endpoint>) {
        let ready = |container: &&&Container| container.readiness == Readiness::Ready;
        let shown = self.leftovers.iter().find(ready).copied();
        (shown, shown.and_then(|container| self.endpoint(container)))
    }

    pub(super) fn endpoint(&self, container: &Container) -> Option<Endpoint> {
        let port = self.instance.port;
        container.address.map(|address| Endpoint { port, address })
    }

    /// The report about this pass, with the latest failure unless it is over.
    pub(super) fn report(&self, state: InstanceState, container: Option<&Container>) -> InstanceReport {
        let failure = match state {
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => None,
            InstanceState::Pending | InstanceState::Pulling | InstanceState::Starting | InstanceState::Failed => {
                self.ledger.failure.as_ref()
            }
        };
        let is_current = |container: &&Container| Some(&container.id) == self.current.map(|current| &current.id);
        InstanceReport {
            state,
            version: container.and_then(|container| match container {
                current if is_current(&current) => Some(self.instance.version.clone()),
                leftover => leftover.version.clone(),
            }),
            image_digest: container.and_then(|container| container.image_digest.clone()),
            container_id: container.map(|container| container.id.0.clone()),
            restarts: self.ledger.restarts,
            exit_code: self.ledger.exit_code,
            reason: failure.map(|failure| failure.reason.to_owned()),
            message: failure.map(|failure| failure.message.clone()),
            ..pending(self.instance)
        }
    }
}

/// An exit as a failure.
pub(super) fn crash(exit: &Exit) -> Failure {
    let (reason, how) = if exit.out_of_memory && exit.code != 0 {
        ("OutOfMemory", "was killed for want of memory")
    } else {
        ("Crashed", "exited")
    };
    let output = match exit.last_output.as_str() {
        "" => String::new(),
        text => format!("; its last output: {text}"),
    };
    Failure {
        reason,
        message: format!(
            "it {how} with code {} after {} s{output}",
            exit.code,
            exit.ran_for.as_secs().max(0)
        ),
        at: exit.at,
    }
}

//! What to do about one instance.
//!
//! Owns: every choice. Must not: do I/O, read a clock, be random, log. Promises: applied to an engine that obeys, the plans come to
//! an end, and what is left is exactly one container, or none; nothing is done while the engine is unknown.
//!
//! ```text
//! wanted running:  Absent -> (pull) -> (remove others) -> create -> start -> probe -> Running
//!                                                           ^                 |
//!                     Exited / failed: wait for the backoff +-----------------+
//! wanted stopped:  stop; the container stays, without a process
//! not wanted:      stop -> remove -> forget
//! ```
//!
//! Before a container that may serve is stopped, one pass says so and withdraws its endpoint, and only the next one stops it.

use crate::{
    act::{Action, Target},
    board::{Endpoint, Verdict},
    container::{Container, Exit, Lifecycle, Readiness},
    desired::Wanted,
    image::Image,
    ledger::{Failure, Ledger, STABLE},
    observe::Observed,
    pulls::Pull,
    spec_hash,
};
use jiff::{SignedDuration, Timestamp};
use model::{DesiredInstance, InstanceReport, InstanceState, desired::RunState};
use runtime::Observation;

mod telling;
#[cfg(test)]
mod tests;

pub use telling::after_failure;
use telling::{crash, pending};

/// What a pass comes to.
pub type Plan = runtime::Plan<Action, Verdict>;

/// After an effect, and while something passes by itself.
const SOON: SignedDuration = SignedDuration::from_millis(20);
/// While the engine is removing a container.
const SHORTLY: SignedDuration = SignedDuration::from_millis(200);
/// While the engine is away, or a pull goes on, whose end wakes the key.
const PATIENTLY: SignedDuration = SignedDuration::from_secs(2);
/// Between two probes of what is ready.
const PROBE_READY: SignedDuration = SignedDuration::from_secs(10);
/// Between two probes of what was ready before.
const PROBE_LOST: SignedDuration = SignedDuration::from_secs(1);
/// Failed probes in a row after which a tool does not count as running any more.
const LOST_AFTER: u32 = 3;
/// A container that is not ready after this long is told as failed. It goes on being probed.
const READY_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// One pass over one instance.
pub fn decide(wanted: &Wanted, observed: &Observed, now: Timestamp) -> Plan {
    let containers: &[Container] = match &observed.containers {
        Observation::Unknown => return unknown(wanted, observed),
        Observation::Absent => &[],
        Observation::Present(containers) => containers,
    };
    match wanted {
        Wanted::Nothing => not_wanted(containers, &observed.last),
        Wanted::Instance(instance) => {
            let pass = Pass::new(instance, containers, observed, now);
            match instance.run {
                RunState::Running => pass.running(),
                RunState::Stopped => pass.stopped(),
            }
        }
    }
}

/// Nothing is done; what was known before is said again, with the reason why it may be old.
fn unknown(wanted: &Wanted, observed: &Observed) -> Plan {
    let last = &observed.last;
    let report = match (&last.report, wanted) {
        (Some(report), Wanted::Instance(_) | Wanted::Nothing) => Some(report.clone()),
        (None, Wanted::Instance(instance)) => Some(pending(instance)),
        (None, Wanted::Nothing) => None,
    };
    let report = report.map(|report| InstanceReport {
        reason: Some("EngineUnavailable".to_owned()),
        message: observed.trouble.clone(),
        ..report
    });
    conclude(Vec::new(), Verdict { report, ..last.clone() }, Some(PATIENTLY), last)
}

fn not_wanted(containers: &[Container], last: &Verdict) -> Plan {
    let Some(container) = containers.first() else {
        return conclude(Vec::new(), Verdict::default(), None, last);
    };
    let report = InstanceReport {
        instance_id: container.instance,
        generation: container.generation,
        state: InstanceState::Stopping,
        version: container.version.clone(),
        image_digest: container.image_digest.clone(),
        container_id: Some(container.id.0.clone()),
        port: None,
        restarts: last.ledger.restarts,
        exit_code: last.ledger.exit_code,
        reason: None,
        message: None,
    };
    let verdict = Verdict {
        report: Some(report),
        endpoint: None,
        ledger: last.ledger.clone(),
    };
    conclude(removal(containers), verdict, Some(SHORTLY), last)
}

/// The plan for a conclusion. Stops nothing before the board says that it will be stopped.
fn conclude(actions: Vec<Action>, verdict: Verdict, requeue: Option<SignedDuration>, last: &Verdict) -> Plan {
    let state = |verdict: &Verdict| verdict.report.as_ref().map(|report| report.state);
    let announced = last.endpoint == verdict.endpoint && state(last) == state(&verdict);
    let stops = actions.iter().any(|action| matches!(action, Action::StopContainer { .. }));
    if stops && !announced {
        return Plan {
            actions: Vec::new(),
            status: Some(verdict),
            requeue: Some(SignedDuration::ZERO),
        };
    }
    Plan {
        requeue: if actions.is_empty() { requeue } else { Some(SOON) },
        actions,
        status: (verdict != *last).then_some(verdict),
    }
}

/// Stop what runs, then remove, by exact id.
fn removal<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Vec<Action> {
    let mut actions = Vec::new();
    for container in containers {
        let id = container.id.clone();
        match container.lifecycle {
            Lifecycle::Running { .. } | Lifecycle::Paused => {
                actions.push(stop(container));
                actions.push(Action::RemoveContainer { id });
            }
            Lifecycle::Created | Lifecycle::Exited(_) | Lifecycle::Broken => actions.push(Action::RemoveContainer { id }),
            Lifecycle::Removing => {}
        }
    }
    actions
}

fn stop(container: &Container) -> Action {
    Action::StopContainer {
        id: container.id.clone(),
        grace_seconds: container.grace_seconds,
    }
}

/// An instance that is wanted, and what the engine has of it.
struct Pass<'a> {
    instance: &'a DesiredInstance,
    /// The container that is to stay.
    current: Option<&'a Container>,
    /// Containers of other specifications, and ones too many.
    leftovers: Vec<&'a Container>,
    observed: &'a Observed,
    ledger: Ledger,
    now: Timestamp,
}

impl<'a> Pass<'a> {
    fn new(instance: &'a DesiredInstance, containers: &'a [Container], observed: &'a Observed, now: Timestamp) -> Self {
        let stays = |container: &&Container| match container.lifecycle {
            Lifecycle::Created | Lifecycle::Running { .. } | Lifecycle::Paused | Lifecycle::Exited(_) => {
                spec_hash::matches(&container.spec_hash, &instance.container)
            }
            Lifecycle::Removing | Lifecycle::Broken => false,
        };
        // Of several, the one that runs, then the youngest: the id only makes it the same one each time.
        let current = containers
            .iter()
            .filter(stays)
            .max_by_key(|container| (container.is_up(), container.created, &container.id));
        let leftovers = containers
            .iter()
            .filter(|container| Some(&container.id) != current.map(|current| &current.id))
            .collect();
        Self {
            instance,
            current,
            leftovers,
            observed,
            ledger: observed.last.ledger.clone().for_spec(&spec_hash::of(&instance.container)),
            now,
        }
    }

    fn stopped(mut self) -> Plan {
        // The exit that follows is wanted, and the next start a new beginning.
        self.ledger.supervised = false;
        self.ledger.forgive();
        let up: Vec<Action> = self
            .current
            .filter(|container| container.is_up())
            .map(stop)
            .into_iter()
            .collect();
        let actions = [removal(self.leftovers.iter().copied()), up].concat();
        let stops = self
            .current
            .into_iter()
            .chain(self.leftovers.iter().copied())
            .any(Container::is_up);
        let state = if stops {
            InstanceState::Stopping
        } else {
            InstanceState::Stopped
        };
        let removing = (!self.leftovers.is_empty()).then_some(SHORTLY);
        let report = self.report(state, self.current.filter(|_| stops));
        self.conclude(actions, report, None, removing)
    }

    fn running(self) -> Plan {
        match self.current {
            Some(container) => self.supervise(container),
            None => self.introduce(),
        }
    }

    fn supervise(mut self, container: &'a Container) -> Plan {
        let mut actions = removal(self.leftovers.iter().copied());
        match &container.lifecycle {
            Lifecycle::Created => self.start(container, actions),
            Lifecycle::Exited(exit) => {
                self.count_exit(container, exit);
                self.start(container, actions)
            }
            Lifecycle::Paused => {
                actions.push(Action::UnpauseContainer {
                    id: container.id.clone(),
                });
                let report = self.report(InstanceState::Starting, Some(container));
                self.conclude(actions, report, None, Some(SHORTLY))
            }
            Lifecycle::Running { since } => {
                let age = self.now.duration_since(*since);
                self.judge(container, age, actions)
            }
            // Neither stays, so neither is ever current; looking again is right all the same.
            Lifecycle::Removing | Lifecycle::Broken => {
                let report = self.report(InstanceState::Starting, None);
                self.conclude(actions, report, None, Some(SHORTLY))
            }
        }
    }

    /// A process that runs: what its probe says.
    fn judge(mut self, container: &'a Container, age: SignedDuration, actions: Vec<Action>) -> Plan {
        self.ledger.supervised = true;
        let overdue = age > READY_WITHIN;
        match &container.readiness {
            Readiness::Ready => {
                if age >= STABLE {
                    self.ledger.forgive();
                }
                self.serve(container, actions, PROBE_READY)
            }
            Readiness::Lost { failures, .. } if *failures < LOST_AFTER => self.serve(container, actions, PROBE_LOST),
            Readiness::Lost { failures, message } => {
                let message = format!("it was ready, and {failures} probes in a row failed: {message}");
                self.not_ready(container, actions, &message)
            }
            Readiness::NotYet { message } if overdue => {
                let message = format!("not ready within {} s of its start: {message}", READY_WITHIN.as_secs());
                self.not_ready(container, actions, &message)
            }
            Readiness::NotYet { .. } | Readiness::Unprobed => {
                let report = self.report(InstanceState::Starting, Some(container));
                let pause = (age / 10).clamp(SignedDuration::from_millis(50), SignedDuration::from_secs(1));
                self.conclude(actions, report, None, Some(pause))
            }
        }
    }

    fn serve(self, container: &'a Container, actions: Vec<Action>, again: SignedDuration) -> Plan {
        let report = self.report(InstanceState::Running, Some(container));
        let endpoint = self.endpoint(container);
        self.conclude(actions, report, endpoint, Some(again))
    }

    fn not_ready(self, container: &'a Container, actions: Vec<Action>, message: &str) -> Plan {
        let report = InstanceReport {
            reason: Some("NotReady".to_owned()),
            message: Some(message.to_owned()),
            ..self.report(InstanceState::Failed, Some(container))
        };
        self.conclude(actions, report, None, Some(PROBE_LOST))
    }

    /// Starts a container that does not run, when its time has come.
    fn start(mut self, container: &'a Container, mut actions: Vec<Action>) -> Plan {
        if let Some(wait) = self.ledger.wait(self.now) {
            return self.failed(actions, Some(wait));
        }
        if self
            .ledger
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == "StartFailed")
        {
            // What the engine could not start it may never start: its network or its layers may be gone. Begin anew.
            actions.push(Action::RemoveContainer {
                id: container.id.clone(),
            });
        } else {
            self.ledger.restarts += u32::from(self.ledger.failure.is_some());
            self.ledger.supervised = true;
            actions.push(Action::StartContainer(Target::Observed(container.id.clone())));
        }
        let report = self.report(InstanceState::Starting, Some(container));
        self.conclude(actions, report, None, None)
    }

    /// An exit counts once, and only if this agent had seen the process alive: after a reboot everything has exited.
    fn count_exit(&mut self, container: &Container, exit: &Exit) {
        let counted = Some((container.id.clone(), exit.at));
        if self.ledger.exit == counted {
            return;
        }
        self.ledger.exit = counted;
        self.ledger.exit_code = Some(exit.code);
        if self.ledger.supervised {
            if exit.ran_for >= STABLE {
                self.ledger.forgive();
            }
            self.ledger.fail(crash(exit));
        }
    }

    /// No container of this specification: make one, as soon as its image is there. Others go on serving until then.
    fn introduce(mut self) -> Plan {
        if let (Observation::Absent, Some(Pull::Failed { message, at })) = (&self.observed.image, &self.observed.pull) {
            self.ledger.fail(Failure {
                reason: "ImagePullFailed",
                message: format!("cannot pull {}: {message}", self.instance.container.image),
                at: *at,
            });
        }
        if let Some(wait) = self.ledger.wait(self.now) {
            return self.failed(Vec::new(), Some(wait));
        }
        match (&self.observed.image, &self.observed.pull) {
            (Observation::Unknown, _) => self.wait_for_image(Vec::new(), InstanceState::Pending),
            (Observation::Absent, Some(Pull::Running { progress })) => {
                let progress = format!("pulling {}: {progress}", self.instance.container.image);
                self.pulling(progress)
            }
            (Observation::Absent, Some(Pull::Failed { .. }) | None) => {
                let reference = self.instance.container.image.clone();
                self.wait_for_image(vec![Action::PullImage { reference }], InstanceState::Pulling)
            }
            (Observation::Present(image), _) => self.create(image),
        }
    }

    fn create(mut self, image: &Image) -> Plan {
        let command = image.command(self.instance.container.arguments.as_deref());
        if command.is_empty() {
            self.ledger.fail(Failure {
                reason: "NoCommand",
                message: format!(
                    "the image {} names no command, and the instance no arguments",
                    self.instance.container.image
                ),
                at: Timestamp::UNIX_EPOCH,
            });
            return self.failed(Vec::new(), None);
        }
        // 1. What there is makes room: the public port and the name belong to one container at a time.
        let mut actions = removal(self.leftovers.iter().copied());
        let removing = self
            .leftovers
            .iter()
            .any(|container| container.lifecycle == Lifecycle::Removing);
        if !removing {
            // 2. The network that the container is attached to.
            if self.observed.network == Observation::Absent {
                actions.push(Action::CreateNetwork);
            }
            // 3. The container. It is started by its name, because its id is not known before it is created.
            let image = image.clone();
            actions.push(Action::CreateContainer { image, command });
            actions.push(Action::StartContainer(Target::Created));
        }
        // Someone removed the container of a process that this agent had started.
        let vanished = self.ledger.supervised && self.leftovers.is_empty();
        self.ledger.restarts += u32::from(vanished);
        self.ledger.supervised = true;
        let report = self.report(InstanceState::Starting, None);
        self.conclude(actions, report, None, Some(SHORTLY))
    }

    fn pulling(self, progress: String) -> Plan {
        let (shown, endpoint) = self.still_serving();
        let report = InstanceReport {
            message: Some(progress),
            ..self.report(InstanceState::Pulling, shown)
        };
        self.conclude(Vec::new(), report, endpoint, Some(PATIENTLY))
    }

    fn wait_for_image(self, actions: Vec<Action>, state: InstanceState) -> Plan {
        let (shown, endpoint) = self.still_serving();
        let report = self.report(state, shown);
        self.conclude(actions, report, endpoint, Some(PATIENTLY))
    }

    /// The latest failure, and when the next attempt is.
    fn failed(self, actions: Vec<Action>, wait: Option<SignedDuration>) -> Plan {
        // What these actions are going to stop does not count.
        let (shown, endpoint) = if actions.is_empty() {
            self.still_serving()
        } else {
            (None, None)
        };
        let report = self.report(InstanceState::Failed, shown.or(self.current));
        let next = wait.and_then(|_| self.ledger.retry_at());
        let message = match (report.message.clone(), next) {
            (Some(message), Some(next)) => Some(format!("{message}; next attempt at {next:.0}")),
            (message, None) | (message @ None, Some(_)) => message,
        };
        self.conclude(actions, InstanceReport { message, ..report }, endpoint, wait)
    }

    fn conclude(
        self,
        actions: Vec<Action>,
        report: InstanceReport,
        endpoint: Option<Endpoint>,
        requeue: Option<SignedDuration>,
    ) -> Plan {
        let verdict = Verdict {
            report: Some(report),
            endpoint,
            ledger: self.ledger,
        };
        conclude(actions, verdict, requeue, &self.observed.last)
    }
}

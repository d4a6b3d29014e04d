//! A model of everything around `decide`: a cloud with lag, an agent, the rows, a process with an outbox that can crash, and a
//! clock. It is stepped as the runner steps a real reconciler.

use super::decide;
use crate::{
    action::{Action, Cause},
    observe::Observed,
    outbox::Outbox,
    policy::Policy,
    status::{StatusWrite, with_failure},
};
use fleet::{Droplet, DropletState, Sighting};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, DropletId, DropletVitals, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase,
    EnvironmentRecord, EnvironmentSpec, EnvironmentStatus, Intent, IntentId, IntentKind, IntentOutcome, ReceivedReport, Stamp,
    Tombstone, Tools, UserId, record::Subject,
};
use runtime::{Error, Plan};
use std::net::Ipv4Addr;

/// What happens to the next effects of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing goes wrong.
    None,
    /// The n-th effect fails, and has none.
    Before(usize),
    /// The n-th effect happens, and its answer is lost.
    After(usize),
    /// The n-th effect is refused, and will be until the row changes.
    Refused(usize),
    /// The process dies just before the n-th effect.
    CrashBefore(usize),
    /// The process dies just after the n-th effect.
    CrashAfter(usize),
}

/// A droplet with everything that DigitalOcean may hide.
#[derive(Clone, Debug)]
pub(super) struct Real {
    pub(super) droplet: Droplet,
    /// Shown by lists and gets from then on.
    shown_from: Timestamp,
    /// Shown until then, once its delete was accepted.
    pub(super) gone_at: Option<Timestamp>,
    active_at: Timestamp,
    address_at: Timestamp,
}

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    pub(super) record: Option<EnvironmentRecord>,
    pub(super) cloud: Vec<Real>,
    pub(super) outbox: Outbox,
    /// What memory holds, as of some earlier read.
    pub(super) cached: Sighting,
    /// Whether the next authoritative read of the cloud fails.
    pub(super) cloud_unreadable: bool,
    /// How long a create stays hidden, and a delete shown.
    pub(super) lag: SignedDuration,
    /// Whether agents boot, enrol and report.
    pub(super) agents_work: bool,
    next_id: u64,
    /// Creates that DigitalOcean carried out.
    pub(super) created: usize,
}

pub(super) const fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub(super) fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(super) fn environment() -> Environment {
    Environment {
        id: EnvironmentId::random(),
        generation: 1,
        spec: EnvironmentSpec {
            user_id: UserId::random(),
            region: "nyc3".into(),
            size: "s-1vcpu-1gb".into(),
            image: "ubuntu-22-04-x64".into(),
            desired_state: EnvironmentDesiredState::Active,
            paused: false,
        },
        status: EnvironmentStatus::default(),
        last_heartbeat_at: None,
        created_at: noon(),
        updated_at: noon(),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: noon(),
            policy: Policy::default(),
            record: Some(EnvironmentRecord {
                subject: Subject::Row(environment()),
                intent: None,
                tools: None,
                firewall: None,
            }),
            cloud: Vec::new(),
            outbox: Outbox::default(),
            cached: Sighting::UNKNOWN,
            cloud_unreadable: false,
            lag: secs(0),
            agents_work: true,
            next_id: 100,
            created: 0,
        }
    }

    pub(super) fn row(&self) -> &Environment {
        match &self.record.as_ref().unwrap().subject {
            Subject::Row(row) => row,
            Subject::Tombstone(_) => panic!("the row is deleted"),
        }
    }

    pub(super) fn row_mut(&mut self) -> &mut Environment {
        match &mut self.record.as_mut().unwrap().subject {
            Subject::Row(row) => row,
            Subject::Tombstone(_) => panic!("the row is deleted"),
        }
    }

    /// The user wants something else.
    pub(super) fn want(&mut self, desired: EnvironmentDesiredState) {
        if let Some(EnvironmentRecord {
            subject: Subject::Row(row),
            ..
        }) = &mut self.record
            && row.spec.desired_state != desired
        {
            row.spec.desired_state = desired;
            row.generation += 1;
        }
    }

    /// The user deletes the row.
    pub(super) fn delete_row(&mut self) {
        let now = self.now;
        if let Some(record) = &mut self.record
            && let Subject::Row(row) = &record.subject
        {
            record.subject = Subject::Tombstone(Tombstone {
                environment_id: row.id,
                user_id: row.spec.user_id,
                droplet_id: row.status.droplet_id,
                ip_address: row.status.ip_address,
                agent_epoch: row.status.agent_epoch,
                deleted_at: now,
            });
        }
    }

    /// Somebody destroys every droplet behind our back.
    pub(super) fn vandalise(&mut self) {
        self.cloud.clear();
    }

    /// Droplets that exist, and whose delete was not accepted.
    pub(super) fn live(&self) -> Vec<DropletId> {
        let live = self.cloud.iter().filter(|real| real.gone_at.is_none() && real.droplet.ours);
        live.map(|real| real.droplet.id).collect()
    }

    /// Puts a droplet into the cloud.
    pub(super) fn place(&mut self, intent: Option<IntentId>, ours: bool) -> DropletId {
        self.next_id += 1;
        let id = DropletId(self.next_id);
        self.cloud.push(Real {
            droplet: Droplet {
                id,
                state: DropletState::New,
                address: None,
                created_at: Some(self.now),
                ours,
                missing: Box::default(),
                intent,
                size: "s-1vcpu-1gb".into(),
                disk: 25,
                locked: false,
                named: true,
            },
            shown_from: self.now + self.lag,
            gone_at: None,
            active_at: self.now + secs(20),
            address_at: self.now + secs(25),
        });
        id
    }

    fn pass_time(&mut self, by: SignedDuration) {
        self.now += by;
        let now = self.now;
        self.cloud.retain(|real| real.gone_at.is_none_or(|gone_at| gone_at > now));
        for real in &mut self.cloud {
            if real.droplet.state == DropletState::New && real.active_at <= now {
                real.droplet.state = DropletState::Active;
            }
            if real.droplet.state == DropletState::Active && real.address_at <= now {
                real.droplet.address = Some(Ipv4Addr::new(127, 1, 2, 3));
            }
        }
        self.agents();
    }

    /// The agent of the latest intent's droplet enrols and reports; no other agent is let in.
    fn agents(&mut self) {
        let (now, working) = (self.now, self.agents_work);
        let Some(record) = &mut self.record else { return };
        let epoch = record.agent_epoch();
        let Some(intent) = &mut record.intent else { return };
        let runs = self
            .cloud
            .iter()
            .any(|real| real.droplet.intent == Some(intent.id) && real.droplet.address.is_some());
        let alive = matches!(intent.outcome, None | Some(IntentOutcome::Adopted));
        if !(working && runs && alive && intent.epoch == epoch) {
            return;
        }
        intent.enrolled_key = Some("ab".repeat(32));
        let tools = record.tools.get_or_insert_default();
        let sequence = match &tools.report {
            Some(received) if received.epoch == epoch => received.report.sequence + 1,
            Some(_) | None => 1,
        };
        tools.report = Some(ReceivedReport {
            epoch,
            report: AgentReport {
                boot_id: intent.id.0,
                sequence,
                applied: tools.desired.as_ref().map(|set| set.stamp),
                agent_version: "0.1.0".into(),
                vitals: DropletVitals::default(),
                instances: Vec::new(),
                received_at: now,
            },
        });
    }

    /// What an authoritative read sees; `None` when it fails.
    pub(super) fn read(&self) -> Option<Sighting> {
        if self.cloud_unreadable {
            return None;
        }
        let shown = self.cloud.iter().filter(|real| real.shown_from <= self.now);
        Some(Sighting::new(shown.map(|real| real.droplet.clone()).collect(), self.now))
    }

    pub(super) fn observed(&self, sighting: Sighting) -> Observed {
        let id = self.record.as_ref().unwrap().id();
        Observed {
            sighting,
            heard_at: None,
            outgoing: self.outbox.outgoing(id),
        }
    }

    fn decide(&self, sighting: Sighting) -> Plan<Action, StatusWrite> {
        decide(
            &self.policy,
            self.record.as_ref().unwrap(),
            &self.observed(sighting),
            self.now,
        )
    }

    /// The plan of a pass that reads everything.
    pub(super) fn plan(&self) -> Plan<Action, StatusWrite> {
        self.decide(self.read().unwrap_or(Sighting::UNKNOWN))
    }

    /// One pass, as the runner does it. Returns when to come back.
    pub(super) fn pass(&mut self, fault: Fault) -> Option<SignedDuration> {
        self.record.as_ref()?;
        let glance = self.decide(self.cached.clone());
        if glance.is_noop() {
            return glance.requeue;
        }
        let Some(sighting) = self.read() else {
            let unknown = self.decide(Sighting::UNKNOWN);
            let harmless = |action: &Action| matches!(action, Action::Look);
            assert!(unknown.actions.iter().all(harmless), "Unknown led to {:?}", unknown.actions);
            return Some(secs(5));
        };
        self.cached = sighting.clone();
        let Plan {
            actions,
            status,
            requeue,
        } = self.decide(sighting);
        for (nth, action) in actions.iter().enumerate() {
            let failure = match fault {
                Fault::Before(n) if n == nth => Some(Error::retriable("Unavailable", "no answer")),
                Fault::After(n) if n == nth => {
                    self.carry_out(action);
                    if let Action::AnnounceIntent { .. } = action {
                        // Nobody heard which intent it became.
                        self.outbox.take(self.record.as_ref().unwrap().id());
                    }
                    Some(Error::retriable("Ambiguous", "no answer"))
                }
                Fault::Refused(n) if n == nth => {
                    if let Action::CreateDroplet { .. } = action {
                        let intent = self.outbox.take(self.record.as_ref().unwrap().id()).unwrap();
                        self.resolve(intent.id, IntentOutcome::Refused);
                        Some(Error::terminal("Refused", "region_slug: no such region"))
                    } else {
                        self.carry_out(action);
                        None
                    }
                }
                Fault::CrashBefore(n) | Fault::CrashAfter(n) if n == nth => {
                    if fault == Fault::CrashAfter(n) {
                        self.carry_out(action);
                    }
                    self.outbox = Outbox::default();
                    self.cached = Sighting::UNKNOWN;
                    return Some(secs(1));
                }
                Fault::None
                | Fault::Before(_)
                | Fault::After(_)
                | Fault::Refused(_)
                | Fault::CrashBefore(_)
                | Fault::CrashAfter(_) => {
                    self.carry_out(action);
                    None
                }
            };
            if let Some(error) = failure {
                self.write(status, Some(&error));
                return Some(secs(2));
            }
        }
        self.write(status, None);
        requeue
    }

    fn write(&mut self, status: Option<StatusWrite>, failure: Option<&Error>) {
        let now = self.now;
        let Some(EnvironmentRecord {
            subject: Subject::Row(row),
            ..
        }) = &mut self.record
        else {
            return;
        };
        let planned = status.and_then(|write| write.status);
        let mut status = planned.unwrap_or_else(|| row.status.clone());
        if let Some(failure) = failure {
            status = with_failure(row, status, failure, now);
        }
        // The epoch is the announcement's to write.
        status.agent_epoch = row.status.agent_epoch;
        row.status = status;
    }

    fn resolve(&mut self, id: IntentId, outcome: IntentOutcome) {
        let intent = self.record.as_mut().unwrap().intent.as_mut().unwrap();
        assert_eq!(intent.id, id);
        intent.outcome = Some(outcome);
    }

    fn carry_out(&mut self, action: &Action) {
        let record = self.record.as_mut().unwrap();
        let environment = record.id();
        match action {
            Action::Look => self.cached = self.read().unwrap_or(Sighting::UNKNOWN),
            Action::AnnounceIntent { .. } => {
                assert!(
                    record.intent.as_ref().is_none_or(|intent| intent.outcome.is_some()),
                    "two open intents"
                );
                let epoch = record.agent_epoch() + 1;
                let intent = Intent {
                    id: IntentId::random(),
                    environment_id: environment,
                    kind: IntentKind::Create,
                    epoch,
                    announced_at: self.now,
                    droplet_id: None,
                    enrolment_expires_at: self.now + secs(3600),
                    enrolled_key: None,
                    outcome: None,
                };
                record.intent = Some(Box::new(intent.clone()));
                self.row_mut().status.agent_epoch = epoch;
                self.outbox.put(intent);
            }
            Action::CreateDroplet { .. } => {
                let intent = self.outbox.take(environment).expect("a create without permission");
                let id = self.place(Some(intent.id), true);
                self.created += 1;
                self.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = Some(id);
            }
            Action::NameDroplet { droplet, .. } => record.intent.as_mut().unwrap().droplet_id = Some(*droplet),
            Action::ResolveIntent { intent, outcome, .. } => self.resolve(*intent, *outcome),
            Action::PowerOn { droplet } => {
                let real = self.cloud.iter_mut().find(|real| real.droplet.id == *droplet);
                if let Some(real) = real {
                    real.droplet.state = DropletState::Active;
                }
            }
            Action::DeleteDroplet { droplet, .. } => {
                let gone_at = self.now + self.lag;
                let real = self.cloud.iter_mut().find(|real| real.droplet.id == *droplet).unwrap();
                assert!(real.droplet.ours, "a delete of what is not ours");
                real.gone_at.get_or_insert(gone_at);
                self.outbox.deleted(environment, *droplet, self.now);
            }
            Action::FinishTombstone => {
                assert!(self.live().is_empty(), "a tombstone that left a droplet");
                self.record = None;
            }
        }
    }

    /// Lets time go on without faults until nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.cloud_unreadable = false;
        for _ in 0..400 {
            let requeue = self.pass(Fault::None);
            if self.record.is_none() || (requeue.is_none() && self.plan().is_noop()) {
                return;
            }
            self.pass_time(requeue.unwrap_or(secs(5)).clamp(secs(1), secs(30)));
            // A sweep every now and then.
            self.cached = self.read().unwrap();
        }
        panic!("not settled: {:#?} {:#?}", self.plan(), self.record);
    }

    pub(super) fn wait(&mut self, seconds: i64) {
        self.pass_time(secs(seconds));
    }

    pub(super) fn phase(&self) -> EnvironmentPhase {
        self.row().status.phase
    }

    /// What a pass would do now, by name.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.plan().actions.iter().map(name).collect()
    }

    /// An instance's container, as the agent would report it.
    pub(super) fn stamp(&mut self, stamp: Stamp, run: model::desired::RunState) {
        let record = self.record.as_mut().unwrap();
        let environment_id = record.id();
        record.tools.get_or_insert_default().desired = Some(model::DesiredSet {
            environment_id,
            stamp,
            instances: vec![model::DesiredInstance {
                instance_id: model::InstanceId::random(),
                generation: 1,
                run,
                version: "1".to_owned(),
                port: 31_000,
                container: model::container::ContainerDefaults::default().into_spec("acme/echo:1".to_owned()),
            }],
        });
    }

    pub(super) fn tools(&mut self) -> &mut Tools {
        self.record.as_mut().unwrap().tools.as_mut().unwrap()
    }
}

/// An action's name.
pub(super) fn name(action: &Action) -> &'static str {
    match action {
        Action::Look => "look",
        Action::AnnounceIntent { .. } => "announce",
        Action::CreateDroplet { .. } => "create",
        Action::NameDroplet { .. } => "name",
        Action::ResolveIntent { outcome, .. } => match outcome {
            IntentOutcome::Adopted => "adopted",
            IntentOutcome::Refused => "refused",
            IntentOutcome::Lost => "lost",
            IntentOutcome::Abandoned => "abandoned",
        },
        Action::PowerOn { .. } => "power on",
        Action::DeleteDroplet {
            cause: Cause::Duplicate { .. },
            ..
        } => "delete duplicate",
        Action::DeleteDroplet {
            cause: Cause::Superseded(_),
            ..
        } => "delete superseded",
        Action::DeleteDroplet { .. } => "delete",
        Action::FinishTombstone => "finish",
    }
}

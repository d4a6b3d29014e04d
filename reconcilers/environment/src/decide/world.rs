//! A model of everything around `decide`: a cloud with lag, an agent, the rows, a process with an outbox that can crash, and a
//! clock. It is stepped as the runner steps a real reconciler.

mod cloud;
mod passing;

pub(super) use cloud::{Real, Resizes};

use super::decide;
use crate::{
    action::{Action, Cause, Change},
    observe::Observed,
    outbox::Outbox,
    policy::Policy,
    project::Membership,
    sizes::Sizes,
    status::StatusWrite,
};
use fleet::{Sighting, Trust};
use jiff::{SignedDuration, Timestamp};
use model::{
    ConditionStatus, DropletId, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, EnvironmentRecord,
    EnvironmentSpec, EnvironmentStatus, IntentOutcome, RecordedFirewall, Stamp, Tombstone, Tools, UserId, record::Subject,
};
use runtime::{Plan, Read};
use schema::IntentStanding;
use std::collections::{BTreeMap, HashSet};

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
    /// Just before the n-th effect the requests run out, for so many seconds.
    Short(usize, i64),
    /// The process dies just before the n-th effect.
    CrashBefore(usize),
    /// The process dies just after the n-th effect.
    CrashAfter(usize),
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
    /// Whether what is missing is believed.
    pub(super) trust: Trust,
    /// Whether operating systems shut down when they are told to.
    pub(super) shutdowns_work: bool,
    pub(super) resizes: Resizes,
    /// What is remembered of the sizes.
    sizes: Sizes,
    /// Nothing is sent before this.
    pub(super) short_until: Option<Timestamp>,
    /// The droplets in the configured project; `None` when none is configured.
    pub(super) project: Option<HashSet<DropletId>>,
    /// How many droplets in a row had no agent that enrolled.
    unenrolled: u32,
    next_id: u64,
    /// Creates that DigitalOcean carried out.
    pub(super) created: usize,
}

pub(super) const fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// So much is missing that it is not believed.
pub(super) fn doubt(since: Timestamp) -> Trust {
    Trust::Withheld {
        since,
        reason: "40 of 100 droplets are missing".into(),
    }
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
            trust: Trust::Trusted,
            shutdowns_work: true,
            resizes: Resizes::Work,
            sizes: Sizes::default(),
            short_until: None,
            project: None,
            unenrolled: 0,
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

    /// The user wants another size.
    pub(super) fn resize(&mut self, size: &str) {
        if let Some(EnvironmentRecord {
            subject: Subject::Row(row),
            ..
        }) = &mut self.record
            && *row.spec.size != *size
        {
            row.spec.size = size.into();
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

    /// Now, by the clock of this process.
    fn moment(&self) -> SignedDuration {
        self.now.duration_since(noon())
    }

    /// What a pass observes. One that reads everything also asks how far the latest intent is.
    pub(super) fn observed(&self, sighting: Sighting, read: Read) -> Observed {
        let record = self.record.as_ref().unwrap();
        let id = record.id();
        if let (Read::Authoritative, Some(intent)) = (read, &record.intent) {
            let told = IntentStanding {
                intent: intent.id,
                age: self.now.duration_since(intent.announced_at),
                enrolment_left: intent.enrolment_expires_at.duration_since(self.now),
                unenrolled: self.unenrolled,
            };
            self.outbox.learn(id, told, self.moment());
        }
        Observed {
            sighting,
            heard_at: None,
            outgoing: self.outbox.outgoing(id, self.moment()),
            sizes: self.sizes.clone(),
            project: match &self.project {
                None => Membership::Unmanaged,
                Some(inside) => Membership::Known(inside.iter().copied().collect()),
            },
            short_until: self.short_until,
            short: self.short_until.is_some_and(|until| until > self.now),
        }
    }

    fn decide(&self, sighting: Sighting, read: Read) -> Plan<Action, StatusWrite> {
        decide(
            &self.policy,
            self.record.as_ref().unwrap(),
            &self.observed(sighting, read),
            self.now,
        )
    }

    /// The plan of a pass that reads everything.
    pub(super) fn plan(&self) -> Plan<Action, StatusWrite> {
        self.decide(self.read().unwrap_or(Sighting::UNKNOWN), Read::Authoritative)
    }

    /// Lets time go on without faults until nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.cloud_unreadable = false;
        for _ in 0..400 {
            let requeue = self.pass(Fault::None);
            if self.record.is_none() || (requeue.is_none() && self.plan().is_noop()) {
                return;
            }
            self.pass_time(requeue.unwrap_or(secs(5)).clamp(secs(1), secs(300)));
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

    /// A firewall is on record, with these ports that may be open.
    pub(super) fn firewall(&mut self, ports: &[u16]) {
        let (now, record) = (self.now, self.record.as_mut().unwrap());
        record.firewall = Some(Box::new(RecordedFirewall {
            id: None,
            announced_at: now,
            epoch: record.agent_epoch(),
            ports: ports.iter().copied().collect(),
            closing: BTreeMap::new(),
            state: ConditionStatus::True,
            reason: "InForce".into(),
            message: String::new(),
        }));
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
        Action::ReadSizes { .. } => "sizes",
        Action::RecordDropletGone { .. } => "record gone",
        Action::ChangeDroplet { change, .. } => match change {
            Change::PowerOn => "power on",
            Change::Shutdown => "shutdown",
            Change::PowerOff => "power off",
            Change::Resize { .. } => "resize",
            Change::Rename => "rename",
            Change::Tag(_) => "tag",
            Change::TagIntent(_) => "tag intent",
            Change::AssignProject => "assign",
        },
        Action::DeleteDroplet {
            cause: Cause::Duplicate { .. },
            ..
        } => "delete duplicate",
        Action::DeleteDroplet {
            cause: Cause::Superseded(_),
            ..
        } => "delete superseded",
        Action::DeleteDroplet {
            cause: Cause::NeverEnrolled(_),
            ..
        } => "delete hopeless",
        Action::DeleteDroplet { .. } => "delete",
        Action::FinishTombstone => "finish",
    }
}

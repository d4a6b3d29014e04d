//! A pass over the model, as the runner does it, with its faults, and what each effect does to rows, cloud and process.

use super::{Fault, World, cloud, secs};
use crate::{
    action::Action,
    outbox::{Outbox, Sending},
    status::{StatusWrite, with_failure},
};
use fleet::Sighting;
use jiff::SignedDuration;
use model::{EnvironmentRecord, Intent, IntentId, IntentKind, IntentOutcome, record::Subject};
use runtime::{Error, Plan, Read};

impl World {
    /// One pass, as the runner does it. Returns when to come back.
    pub(in crate::decide) fn pass(&mut self, fault: Fault) -> Option<SignedDuration> {
        self.record.as_ref()?;
        let glance = self.decide(self.cached.clone(), Read::Cached);
        if glance.is_noop() {
            return glance.requeue;
        }
        let Some(sighting) = self.read() else {
            let unknown = self.decide(Sighting::UNKNOWN, Read::Cached);
            let harmless = |action: &Action| matches!(action, Action::Look);
            assert!(unknown.actions.iter().all(harmless), "Unknown led to {:?}", unknown.actions);
            return Some(secs(5));
        };
        self.cached = sighting.clone();
        let Plan {
            actions,
            status,
            requeue,
        } = self.decide(sighting, Read::Authoritative);
        for (nth, action) in actions.iter().enumerate() {
            let failure = match fault {
                Fault::Before(n) if n == nth => Some(Error::retriable("Unavailable", "no answer")),
                Fault::After(n) if n == nth => {
                    let _ = self.carry_out(action);
                    if let Action::AnnounceIntent { .. } = action {
                        // Nobody heard which intent it became.
                        self.outbox.take(self.record.as_ref().unwrap().id());
                    }
                    Some(Error::retriable("Ambiguous", "no answer"))
                }
                Fault::Short(n, seconds) if n == nth => {
                    self.short_until = Some(self.now + secs(seconds));
                    self.carry_out(action)
                }
                Fault::Refused(n) if n == nth => {
                    if let Action::CreateDroplet { .. } = action {
                        let intent = self.outbox.take(self.record.as_ref().unwrap().id()).unwrap();
                        self.resolve(intent.id, IntentOutcome::Refused);
                        Some(Error::terminal("Refused", "region_slug: no such region"))
                    } else {
                        self.carry_out(action)
                    }
                }
                Fault::CrashBefore(n) | Fault::CrashAfter(n) if n == nth => {
                    if fault == Fault::CrashAfter(n) {
                        let _ = self.carry_out(action);
                    }
                    self.outbox = Outbox::default();
                    self.cached = Sighting::UNKNOWN;
                    return Some(secs(1));
                }
                Fault::None
                | Fault::Before(_)
                | Fault::After(_)
                | Fault::Short(..)
                | Fault::Refused(_)
                | Fault::CrashBefore(_)
                | Fault::CrashAfter(_) => self.carry_out(action),
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

    /// Returns why it was refused.
    fn carry_out(&mut self, action: &Action) -> Option<Error> {
        let moment = self.moment();
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
                let status = &mut self.row_mut().status;
                (status.agent_epoch, status.droplet_id) = (epoch, None);
                self.outbox.announced(intent, moment);
            }
            Action::CreateDroplet { .. } => {
                if let Some(until) = self.short_until.filter(|until| *until > self.now) {
                    let after = until.duration_since(self.now);
                    let (reason, message) = ("DigitalOceanRateLimited", "the request limit is reached".to_owned());
                    return Some(Error::Waiting { reason, message, after });
                }
                let intent = self.outbox.take(environment).expect("a create without permission");
                let id = self.place(Some(intent.id), true);
                let size = self.row().spec.size.clone();
                self.cloud.last_mut().unwrap().droplet.size = size;
                self.outbox.ended(intent, Sending::Sent, moment);
                self.created += 1;
                self.unenrolled += 1;
                self.record.as_mut().unwrap().intent.as_mut().unwrap().droplet_id = Some(id);
            }
            Action::NameDroplet { droplet, .. } => record.intent.as_mut().unwrap().droplet_id = Some(*droplet),
            Action::ResolveIntent { intent, outcome, .. } => self.resolve(*intent, *outcome),
            Action::ReadSizes { .. } => self.sizes.known = Some(cloud::sizes()),
            Action::ChangeDroplet { droplet, change, .. } => return self.change(*droplet, change),
            Action::DeleteDroplet { droplet, .. } => {
                let gone_at = self.now + self.lag;
                let real = self.cloud.iter_mut().find(|real| real.droplet.id == *droplet).unwrap();
                assert!(real.droplet.ours, "a delete of what is not ours");
                real.gone_at.get_or_insert(gone_at);
                self.outbox.deleted(environment, *droplet, true, moment);
            }
            Action::FinishTombstone => {
                assert!(self.live().is_empty(), "a tombstone that left a droplet");
                self.record = None;
            }
            Action::RecordDropletGone { .. } => {
                assert!(self.live().is_empty(), "a droplet that is there was recorded as gone");
                match &mut self.record.as_mut().unwrap().subject {
                    Subject::Tombstone(tombstone) => tombstone.droplet_id = None,
                    Subject::Row(_) => panic!("the row is there"),
                }
            }
        }
        None
    }
}

//! The model's DigitalOcean: droplets with everything that it may hide, actions that take their time, and the agents on them.

use super::{World, secs};
use crate::{action::Change, sizes::Size, status::RESIZE_REFUSED};
use fleet::{Droplet, DropletState, Mark, Sighting};
use jiff::{SignedDuration, Timestamp};
use model::{AgentReport, DropletId, DropletVitals, IntentId, IntentOutcome, ReceivedReport};
use runtime::Error;
use std::{net::Ipv4Addr, sync::Arc};

/// A droplet.
#[derive(Clone, Debug)]
pub(in crate::decide) struct Real {
    pub(in crate::decide) droplet: Droplet,
    /// Shown by lists and gets from then on.
    shown_from: Timestamp,
    /// Shown until then, once its delete was accepted.
    pub(in crate::decide) gone_at: Option<Timestamp>,
    active_at: Timestamp,
    address_at: Timestamp,
    /// An action that it is busy with, and when that ends.
    event: Option<(Change, Timestamp)>,
}

/// What becomes of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decide) enum Resizes {
    /// It works.
    Work,
    /// DigitalOcean refuses it.
    Refused,
    /// DigitalOcean takes it, and it fails.
    Fail,
}

/// The sizes that are offered.
pub(super) fn sizes() -> Arc<[Size]> {
    let size = |slug: &str, disk| Size {
        slug: slug.into(),
        disk,
        regions: ["nyc3".into()].into(),
    };
    Arc::from([
        size("s-1vcpu-512mb-10gb", 10),
        size("s-1vcpu-1gb", 25),
        size("s-2vcpu-4gb", 80),
    ])
}

impl Real {
    /// The action that it was busy with has ended. Whether it was a resize that failed.
    fn act(&mut self, change: Change, shutdowns_work: bool, resizes: Resizes) -> bool {
        self.droplet.locked = false;
        match change {
            Change::PowerOn => self.droplet.state = DropletState::Active,
            Change::Shutdown if !shutdowns_work => {}
            Change::Shutdown | Change::PowerOff => self.droplet.state = DropletState::Off,
            Change::Resize { .. } if resizes == Resizes::Fail => return true,
            Change::Resize { size } => self.droplet.size = size.clone(),
            Change::Rename => self.droplet.named = true,
            Change::Tag(_) | Change::TagIntent(_) | Change::AssignProject => {}
        }
        false
    }
}

impl World {
    /// Somebody destroys every droplet behind our back.
    pub(in crate::decide) fn vandalise(&mut self) {
        self.cloud.clear();
    }

    /// Somebody takes our tags off every droplet.
    pub(in crate::decide) fn untag(&mut self) {
        for real in &mut self.cloud {
            real.droplet.ours = false;
            real.droplet.missing = [Mark::Installation, Mark::Environment, Mark::Toolplane].into();
            real.droplet.intent = None;
        }
    }

    /// Droplets that exist, and whose delete was not accepted.
    pub(in crate::decide) fn live(&self) -> Vec<DropletId> {
        let live = self.cloud.iter().filter(|real| real.gone_at.is_none() && real.droplet.ours);
        live.map(|real| real.droplet.id).collect()
    }

    /// Puts a droplet into the cloud.
    pub(in crate::decide) fn place(&mut self, intent: Option<IntentId>, ours: bool) -> DropletId {
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
            event: None,
        });
        id
    }

    pub(super) fn pass_time(&mut self, by: SignedDuration) {
        self.now += by;
        let now = self.now;
        let mut failed = None;
        self.cloud.retain(|real| real.gone_at.is_none_or(|gone_at| gone_at > now));
        for real in &mut self.cloud {
            if real.droplet.state == DropletState::New && real.active_at <= now {
                real.droplet.state = DropletState::Active;
            }
            if let Some((change, _)) = real.event.take_if(|(_, ends)| *ends <= now)
                && real.act(change, self.shutdowns_work, self.resizes)
            {
                failed = Some(real.droplet.id);
            }
            if real.droplet.state == DropletState::Active && real.address_at <= now {
                real.droplet.address = Some(Ipv4Addr::new(127, 1, 2, 3));
            }
        }
        if let (Some(droplet), Some(record)) = (failed, &self.record) {
            // As one that follows the action finds out.
            self.outbox.resize_ended(record.id(), droplet, false);
        }
        self.agents();
    }

    /// The agent of the latest intent's droplet enrols and reports; no other agent is let in.
    fn agents(&mut self) {
        let (now, working) = (self.now, self.agents_work);
        let Some(record) = &mut self.record else { return };
        let epoch = record.agent_epoch();
        let Some(intent) = &mut record.intent else { return };
        let runs = self.cloud.iter().any(|real| {
            let droplet = &real.droplet;
            let made = droplet.intent == Some(intent.id) || intent.droplet_id == Some(droplet.id);
            made && droplet.address.is_some() && droplet.state == DropletState::Active
        });
        let alive = matches!(intent.outcome, None | Some(IntentOutcome::Adopted));
        let let_in = intent.enrolled_key.is_some() || now < intent.enrolment_expires_at;
        if !(working && runs && alive && let_in && intent.epoch == epoch) {
            return;
        }
        intent.enrolled_key = Some("ab".repeat(32));
        self.unenrolled = 0;
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
    pub(in crate::decide) fn read(&self) -> Option<Sighting> {
        if self.cloud_unreadable {
            return None;
        }
        let shown = self.cloud.iter().filter(|real| real.shown_from <= self.now);
        let sighting = Sighting::new(shown.map(|real| real.droplet.clone()).collect(), self.now);
        Some(Sighting {
            trust: self.trust.clone(),
            ..sighting
        })
    }

    /// Takes a change, or says why not.
    pub(super) fn change(&mut self, droplet: DropletId, change: &Change) -> Option<Error> {
        let (now, moment) = (self.now, self.moment());
        let environment = self.record.as_ref().unwrap().id();
        let Some(real) = self.cloud.iter_mut().find(|real| real.droplet.id == droplet) else {
            return Some(Error::retriable("NotFound", "no such droplet"));
        };
        match change {
            Change::Tag(mark) => {
                let known = real.droplet.missing.iter().copied();
                real.droplet.missing = known.filter(|lacks| lacks != mark).collect();
                let whole = |mark| !real.droplet.missing.contains(&mark);
                real.droplet.ours = whole(Mark::Installation) && whole(Mark::Environment);
            }
            Change::TagIntent(intent) => real.droplet.intent = Some(*intent),
            Change::AssignProject => {
                self.project.as_mut().unwrap().insert(droplet);
            }
            Change::PowerOn | Change::Shutdown | Change::PowerOff | Change::Resize { .. } | Change::Rename => {
                assert!(real.droplet.ours, "a change of what is not ours");
                if real.event.is_some() {
                    return Some(Error::retriable("DropletBusy", "a pending event"));
                }
                if let Change::Resize { .. } = change {
                    assert_eq!(real.droplet.state, DropletState::Off, "resized while it runs");
                    if self.resizes == Resizes::Refused {
                        return Some(Error::terminal(RESIZE_REFUSED, "size_slug: refused"));
                    }
                    self.outbox.resizing(environment, droplet, 1);
                }
                real.event = Some((change.clone(), now + secs(10)));
                real.droplet.locked = true;
            }
        }
        self.outbox.changed(environment, droplet, change.clone(), moment);
        None
    }
}

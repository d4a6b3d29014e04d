//! A model of the agent on one droplet, around the real container decisions.
//!
//! Owns: its memory, its disk and its engine. Must not: reach the database itself: what it sends and is sent goes through the
//! simulation. Promises: it converges on the set that it holds, keeps that on disk, and forgets everything else when it restarts.

use crate::{
    database::Heartbeat,
    dice::Dice,
    engine::Engine,
    moment::{Millis, millis, seconds, timestamp},
};
use container_reconciler::{Action, Observed, Verdict, Wanted, decide};
use model::{
    AgentReport, DesiredInstance, DesiredSet, DropletVitals, EnvironmentId, InstanceId, InstanceReport, IntentId, Stamp,
};
use runtime::Observation;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Between two heartbeats.
const HEARTBEAT: Millis = seconds(10);

/// What became of a set that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is held, or was already.
    Taken,
    /// The agent holds a newer one.
    Older(Stamp),
    /// The token is not one that this agent knows.
    Unauthorized,
}

/// What the agent wants to do next with the world.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Enrol with this key.
    Enrol,
    /// Tell this.
    Beat(Heartbeat),
}

/// A tool that is going to be stopped because it was told so, not because it fell over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Which.
    pub instance: InstanceId,
    /// Its public port.
    pub port: u16,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Where it runs.
    pub droplet: u64,
    /// Whose droplet it is, by its user data.
    pub environment: EnvironmentId,
    /// Of its user data.
    pub intent: IntentId,
    /// On disk.
    pub key: String,
    /// The set that it holds, on disk.
    pub set: Option<DesiredSet>,
    /// Of the tokens that it holds, in memory.
    pub epoch: Option<i64>,
    /// Ports whose tool has been ready since it was last told to stop.
    pub served: BTreeSet<u16>,
    /// It says and does nothing until then.
    pub silent_until: Millis,
    /// Its engine.
    pub engine: Engine,
    up: bool,
    boot: Uuid,
    sequence: i64,
    verdicts: BTreeMap<InstanceId, Verdict>,
    due: BTreeMap<InstanceId, Millis>,
    ports: BTreeMap<InstanceId, u16>,
    errand_at: Millis,
    told: Vec<InstanceReport>,
    told_stamp: Option<Stamp>,
}

impl Agent {
    /// The agent of a droplet that has not booted yet.
    pub fn new(droplet: u64, environment: EnvironmentId, intent: IntentId, key: String) -> Self {
        Self {
            droplet,
            environment,
            intent,
            key,
            set: None,
            epoch: None,
            served: BTreeSet::new(),
            silent_until: 0,
            engine: Engine::default(),
            up: false,
            boot: Uuid::nil(),
            sequence: 0,
            verdicts: BTreeMap::new(),
            due: BTreeMap::new(),
            ports: BTreeMap::new(),
            errand_at: 0,
            told: Vec::new(),
            told_stamp: None,
        }
    }

    /// The process is there and speaks.
    pub fn listens(&self, now: Millis) -> bool {
        self.up && now >= self.silent_until
    }

    /// The process starts: memory is empty, the disk is as it was.
    pub fn start(&mut self, now: Millis, dice: &mut Dice) {
        self.up = true;
        self.boot = dice.uuid();
        self.sequence = 0;
        self.epoch = None;
        self.verdicts.clear();
        self.due.clear();
        self.told.clear();
        self.errand_at = now + dice.between(500, seconds(5));
    }

    /// The machine goes down.
    pub fn power_lost(&mut self, now: Millis) {
        if self.up {
            self.up = false;
            self.epoch = None;
            self.engine.power_lost(now);
        }
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Takes a set that was pushed or fetched.
    pub fn offer(&mut self, now: Millis, set: DesiredSet) -> Push {
        if self.epoch != Some(set.stamp.epoch) {
            return Push::Unauthorized;
        }
        match self.set.as_ref().map(|held| held.stamp) {
            Some(held) if held > set.stamp => return Push::Older(held),
            Some(held) if held == set.stamp => return Push::Taken,
            Some(_) | None => {}
        }
        self.ports
            .extend(set.instances.iter().map(|told| (told.instance_id, told.port)));
        self.set = Some(set);
        self.due.clear();
        self.hurry(now);
        Push::Taken
    }

    /// Credentials came.
    pub fn enrolled(&mut self, now: Millis, epoch: i64) {
        self.epoch = Some(epoch);
        self.errand_at = now;
    }

    /// Nothing came of the last errand; the next one after this.
    pub fn later(&mut self, at: Millis) {
        self.errand_at = at;
    }

    /// A change is told soon.
    fn hurry(&mut self, now: Millis) {
        self.errand_at = self.errand_at.min(now + 100);
    }

    /// What is due to be sent.
    pub fn errand(&mut self, now: Millis, dice: &mut Dice) -> Option<Errand> {
        if now < self.errand_at {
            return None;
        }
        self.errand_at = now + HEARTBEAT - dice.between(0, seconds(1));
        let Some(epoch) = self.epoch else {
            return Some(Errand::Enrol);
        };
        self.sequence += 1;
        self.told = self.reports();
        self.told_stamp = self.set.as_ref().map(|set| set.stamp);
        Some(Errand::Beat(Heartbeat {
            environment: self.environment,
            epoch,
            report: AgentReport {
                boot_id: self.boot,
                sequence: self.sequence,
                applied: self.told_stamp,
                agent_version: "0.1.0".into(),
                vitals: DropletVitals::default(),
                instances: self.told.clone(),
                received_at: timestamp(now),
            },
            made_at: now,
        }))
    }

    fn reports(&self) -> Vec<InstanceReport> {
        self.verdicts.values().filter_map(|verdict| verdict.report.clone()).collect()
    }

    /// Runs the passes that are due, and says which tools were stopped because that is wanted.
    pub fn work(&mut self, now: Millis, dice: &mut Dice) -> Vec<Stopped> {
        let Some(set) = self.set.clone() else { return Vec::new() };
        let named = set.instances.iter().map(|instance| instance.instance_id);
        let known = self.engine.instances().chain(self.verdicts.keys().copied());
        let instances: BTreeSet<InstanceId> = named.chain(known).collect();
        let mut stopped = Vec::new();
        for id in instances {
            if self.due.get(&id).is_none_or(|due| *due <= now) {
                let wanted = set.instances.iter().find(|instance| instance.instance_id == id);
                self.pass(now, dice, id, wanted, &mut stopped);
            }
        }
        if self.reports() != self.told || self.set.as_ref().map(|set| set.stamp) != self.told_stamp {
            self.hurry(now);
        }
        stopped
    }

    /// One pass over one instance, as the runner does it.
    fn pass(
        &mut self,
        now: Millis,
        dice: &mut Dice,
        id: InstanceId,
        instance: Option<&DesiredInstance>,
        stopped: &mut Vec<Stopped>,
    ) {
        let wanted = instance.map_or(Wanted::Nothing, |instance| Wanted::Instance(instance.clone()));
        let last = self.verdicts.get(&id).cloned().unwrap_or_default();
        let (image, pull, network) = match instance {
            Some(instance) => self.engine.surroundings(now, &instance.container.image),
            None => (Observation::Unknown, None, Observation::Unknown),
        };
        let observed = Observed {
            containers: self.engine.containers(now, id),
            trouble: None,
            image,
            pull,
            network,
            last: last.clone(),
        };
        let plan = decide::decide(&wanted, &observed, timestamp(now));
        let (acted, pause) = (!plan.actions.is_empty(), plan.requeue.map_or(seconds(30), millis));
        let mut verdict = plan.status.unwrap_or(last.clone());
        for action in &plan.actions {
            if let (Action::StopContainer { .. }, Some(port)) = (action, self.ports.get(&id)) {
                stopped.push(Stopped {
                    instance: id,
                    port: *port,
                });
            }
            if let Err(error) = self.engine.carry_out(now, dice, id, instance, action) {
                verdict = decide::after_failure(verdict, &wanted, &error, timestamp(now));
                break;
            }
        }
        if let Some(endpoint) = verdict.endpoint {
            self.served.insert(endpoint.port);
        }
        self.due.insert(id, now + if acted { 20 } else { pause.max(50) });
        if verdict == Verdict::default() {
            self.verdicts.remove(&id);
            self.due.remove(&id);
        } else {
            self.verdicts.insert(id, verdict);
        }
    }

    /// Whether a tool is served.
    pub fn serves(&self, id: InstanceId) -> bool {
        self.verdicts.get(&id).is_some_and(|verdict| verdict.endpoint.is_some())
    }

    /// When there is something to do again.
    pub fn next(&self) -> Millis {
        self.due
            .values()
            .copied()
            .chain([self.errand_at])
            .min()
            .unwrap_or(self.errand_at)
    }
}

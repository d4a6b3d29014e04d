//! Agents among the others: they boot with their droplet, and speak with whichever replica answers.
//!
//! Owns: what arrives of what they say. Must not: know what they decide; `crate::agent` does.

use super::{Event, Simulation};
use crate::{
    agent::{Agent, Errand},
    database::Heartbeat,
    moment::seconds,
    world::World,
};
use model::{IntentId, Stamp};
use schema::HeartbeatOutcome;

impl Simulation {
    /// Droplets that were made have an agent.
    pub(super) fn adopt_agents(&mut self) {
        let World {
            cloud,
            agents,
            dice,
            installation,
            now,
            ..
        } = &mut self.world;
        let mut fresh = Vec::new();
        for (id, real) in cloud.droplets.range(agents.keys().next_back().map_or(0, |last| last + 1)..) {
            let carried = real.shown.tags.iter().map(String::as_str);
            let owner = model::tags::owner(carried.clone(), installation);
            if let (Some(owner), Some(intent)) = (owner, model::tags::intent_of(carried)) {
                let intent: IntentId = intent;
                fresh.push((*id, Agent::new(*id, owner, intent, format!("key-{}", dice.any()))));
            }
        }
        let now = *now;
        for (id, agent) in fresh {
            self.world.agents.insert(id, agent);
            self.at(now + seconds(2), Event::Agent(id));
        }
    }

    pub(super) fn agent(&mut self, droplet: u64) {
        let now = self.world.now;
        let World {
            cloud,
            database,
            agents,
            dice,
            invariants,
            ..
        } = &mut self.world;
        let (Some(agent), Some(real)) = (agents.get_mut(&droplet), cloud.droplets.get(&droplet)) else {
            return;
        };
        if !real.lives(now) {
            agent.power_lost(now);
            return;
        }
        if !real.runs(now) {
            agent.power_lost(now);
            return self.after(seconds(2), Event::Agent(droplet));
        }
        if !agent.is_up() {
            agent.start(now, dice);
        }
        if now < agent.silent_until {
            let until = agent.silent_until;
            return self.at(until, Event::Agent(droplet));
        }
        let stopped = agent.work(now, dice);
        let errand = agent.errand(now, dice);
        let next = agent.next().max(now + 20);
        for one in stopped {
            let excused = database.waited_out(agent.environment, one.port);
            invariants.stopping(cloud, now, droplet, one, excused);
            agent.served.remove(&one.port);
        }
        self.at(next, Event::Agent(droplet));
        match errand {
            Some(Errand::Enrol) => self.enrol(droplet),
            Some(Errand::Beat(heartbeat)) => self.beat(droplet, heartbeat),
            None => {}
        }
    }

    /// A heartbeat is sent, and may be lost.
    fn beat(&mut self, droplet: u64, heartbeat: Heartbeat) {
        if self.world.dice.permille(self.world.faults.agent) {
            return;
        }
        let (pause, heartbeat) = (self.world.dice.between(1, 300), Box::new(heartbeat));
        let event = Event::Heartbeat {
            droplet,
            heartbeat,
            again: false,
        };
        self.after(pause, event);
    }

    /// Whether any replica answers its API.
    fn api_answers(&self) -> bool {
        let now = self.world.now;
        self.replicas
            .iter()
            .any(|replica| replica.alive.is_some() && replica.stopped_until <= now)
    }

    fn enrol(&mut self, droplet: u64) {
        let answers = self.api_answers() && !self.world.dice.permille(self.world.faults.agent);
        let World {
            database,
            agents,
            dice,
            now,
            story,
            ..
        } = &mut self.world;
        let Some(agent) = agents.get_mut(&droplet) else { return };
        agent.later(*now + dice.between(500, seconds(15)));
        if !answers {
            return;
        }
        let (enrolled, epoch) = database.intent_enrol(*now, agent.intent, &agent.key);
        story.tell(
            *now,
            format!("droplet {droplet}"),
            format_args!("enrols: {enrolled:?} {epoch:?}"),
        );
        if let Some(epoch) = epoch {
            agent.enrolled(*now, epoch);
        }
        self.notify();
    }

    pub(super) fn heartbeat(&mut self, droplet: u64, heartbeat: &Heartbeat, again: bool) {
        if !self.api_answers() {
            return;
        }
        let id = heartbeat.environment;
        let World {
            database,
            agents,
            now,
            story,
            invariants,
            ..
        } = &mut self.world;
        let before = database
            .reports
            .get(&id)
            .filter(|row| row.received.epoch == heartbeat.epoch)
            .map(|row| row.made_at);
        let outcome = database.heartbeat_record(*now, heartbeat);
        if again {
            story.tell(
                *now,
                format!("droplet {droplet}"),
                format_args!("its heartbeat comes again: {outcome:?}"),
            );
        }
        match outcome {
            HeartbeatOutcome::Recorded { desired, .. } => {
                invariants.heard(id, before, heartbeat.made_at);
                self.recorded(droplet, heartbeat, desired, again);
            }
            HeartbeatOutcome::Replayed => {}
            HeartbeatOutcome::StaleEpoch | HeartbeatOutcome::UnknownEnvironment => {
                if let Some(agent) = agents.get_mut(&droplet).filter(|_| !again) {
                    agent.epoch = None;
                    agent.later(*now + seconds(5));
                }
            }
        }
    }

    /// A heartbeat was kept: it may come again, or else its agent hears of a newer set and fetches it.
    fn recorded(&mut self, droplet: u64, heartbeat: &Heartbeat, desired: Option<Stamp>, again: bool) {
        let World {
            database,
            agents,
            dice,
            now,
            faults,
            ..
        } = &mut self.world;
        if dice.permille(faults.agent / 2) && !again {
            let later = *now + dice.between(seconds(1), seconds(60));
            let event = Event::Heartbeat {
                droplet,
                heartbeat: Box::new(heartbeat.clone()),
                again: true,
            };
            self.at(later, event);
        } else if let Some(agent) = agents.get_mut(&droplet).filter(|agent| agent.listens(*now) && !again) {
            let held = agent.set.as_ref().map(|set| set.stamp);
            if desired > held
                && let Some((_, set)) = agent
                    .epoch
                    .and_then(|epoch| database.desired_set_get(heartbeat.environment, epoch))
            {
                agent.offer(*now, set);
                self.at(self.world.now + 20, Event::Agent(droplet));
            }
        }
    }
}

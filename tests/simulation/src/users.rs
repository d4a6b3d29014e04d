//! What people do: users to their rows, somebody to what is at DigitalOcean behind our back, and fate to agents, tools and replicas.

use crate::{
    moment::{Millis, seconds},
    simulation::{Address, Event, Simulation},
    world::World,
};
use digitalocean::{InboundRule, Peers, Ports, Protocol};
use model::{
    CatalogId, EnvironmentDesiredState, EnvironmentId, EnvironmentSpec, InstanceDesiredState, InstanceId, InstanceSpec, UserId,
    tags,
};
use std::collections::BTreeSet;

const SIZES: [&str; 2] = ["s-1vcpu-1gb", "s-1vcpu-2gb"];

impl Simulation {
    /// The rows that a story begins with.
    pub(crate) fn settle_in(&mut self) {
        let World {
            dice,
            database,
            environments,
            now,
            ..
        } = &mut self.world;
        for id in environments.clone() {
            let spec = EnvironmentSpec {
                user_id: UserId(dice.uuid()),
                region: "nyc3".into(),
                size: SIZES[0].into(),
                image: "ubuntu-22-04-x64".into(),
                desired_state: EnvironmentDesiredState::Active,
                paused: false,
            };
            database.insert_row(*now, id, spec);
            for _ in 0..dice.between(0, 2) {
                let instance = InstanceId(dice.uuid());
                database.insert_instance(*now, instance, instance_spec(id, database.catalog.id));
            }
        }
    }

    /// One edit by a user, and the time of the next.
    pub(crate) fn edit(&mut self) {
        let Some(every) = self.world.faults.edits else { return };
        let pause = self.world.dice.between(every / 4, every * 2);
        self.after(pause, Event::Edit);
        let World { dice, environments, .. } = &mut self.world;
        let Some(id) = dice.pick(environments).copied() else { return };
        let (name, told) = (self.world.name(id), self.world.edit(id));
        self.world.tell("user", format_args!("{name}: {told}"));
        self.notify();
    }

    /// One change at DigitalOcean behind our back, and the time of the next.
    pub(crate) fn drift(&mut self) {
        let Some(every) = self.world.faults.drift else { return };
        let pause = self.world.dice.between(every / 4, every * 2);
        self.after(pause, Event::Drift);
        if let Some(told) = self.world.drift() {
            self.world.tell("somebody", format_args!("{told}"));
        }
    }

    /// One thing that befalls an agent, a tool or a replica, and the time of the next.
    pub(crate) fn misfortune(&mut self) {
        let Some(every) = self.world.faults.misfortunes else { return };
        let pause = self.world.dice.between(every / 4, every * 2);
        self.after(pause, Event::Misfortune);
        if self.world.dice.permille(150) {
            return self.stop_a_replica();
        }
        let World {
            dice,
            agents,
            cloud,
            now,
            ..
        } = &mut self.world;
        let alive: Vec<u64> = agents
            .keys()
            .copied()
            .filter(|id| cloud.droplets.get(id).is_some_and(|real| real.runs(*now)))
            .collect();
        let Some(droplet) = dice.pick(&alive).copied() else { return };
        let Some(agent) = agents.get_mut(&droplet) else { return };
        let told = match dice.between(0, 3) {
            0 => {
                agent.start(*now, dice);
                "its agent restarts"
            }
            1 => {
                agent.silent_until = *now + dice.between(seconds(10), seconds(120));
                "its agent falls silent"
            }
            _ => {
                if !agent.engine.misfortune(*now, dice) {
                    return;
                }
                "a tool crashes or hangs"
            }
        };
        self.world.tell(&format!("droplet {droplet}"), format_args!("{told}"));
    }

    fn stop_a_replica(&mut self) {
        let Some(index) = self.world.dice.pick(&(0..self.replicas.len()).collect::<Vec<_>>()).copied() else {
            return;
        };
        let (now, pause) = (self.world.now, self.world.dice.between(seconds(5), seconds(90)));
        let replica = &mut self.replicas[index];
        if replica.alive.is_none() || replica.stopped_until > now {
            return;
        }
        replica.stopped_until = now + pause;
        let who = replica.name();
        self.world.tell(&who, format_args!("STOPS for {} s", pause / 1000));
    }

    /// Faults are off, and nobody edits any more. Who is stopped goes on when its time has come: what it is about to send leaves then,
    /// and not later than it goes on itself.
    pub(crate) fn calm(&mut self) {
        self.world.faults = self.world.faults.off();
        self.world.tell("story", format_args!("from now on nothing goes wrong"));
        for index in 0..self.replicas.len() {
            let to = Address {
                replica: index,
                incarnation: self.replicas[index].incarnation,
            };
            self.at(self.world.now + 10, Event::Resync(to));
        }
        self.world.calm();
        self.notify();
    }

    /// What is not yet as it has to be in the end.
    pub(crate) fn unsettled(&self) -> Option<String> {
        self.world.unsettled(&self.setup.firewalls)
    }

    /// Every key is worked on again.
    pub(crate) fn wake_everything(&mut self) {
        for index in 0..self.replicas.len() {
            let to = Address {
                replica: index,
                incarnation: self.replicas[index].incarnation,
            };
            self.at(self.world.now, Event::Resync(to));
        }
    }
}

fn instance_spec(environment: EnvironmentId, catalog: CatalogId) -> InstanceSpec {
    InstanceSpec {
        environment_id: environment,
        catalog_id: catalog,
        instance_name: None,
        version_to_run: "1".to_owned(),
        config_values_override: serde_json::Value::Null,
        desired_state: InstanceDesiredState::Running,
        paused: false,
    }
}

impl World {
    fn edit(&mut self, id: EnvironmentId) -> String {
        let now = self.now;
        let Some(row) = self.database.rows.get(&id) else {
            return "is deleted already".to_owned();
        };
        let deleted = row.spec.desired_state == EnvironmentDesiredState::Deleted;
        let (paused, size) = (row.spec.paused, row.spec.size.clone());
        match self.dice.between(0, 15) {
            0..=3 if deleted => {
                self.database
                    .specify(id, |spec| spec.desired_state = EnvironmentDesiredState::Active);
                "desired_state = active".to_owned()
            }
            0..=3 => {
                self.database
                    .specify(id, |spec| spec.desired_state = EnvironmentDesiredState::Deleted);
                "desired_state = deleted".to_owned()
            }
            4 => {
                self.database.request_status(id, !deleted);
                "a program writes status".to_owned()
            }
            5 => {
                self.database.delete_row(now, id);
                "deletes the row".to_owned()
            }
            6 => {
                self.database.specify(id, |spec| spec.paused = !paused);
                format!("paused = {}", !paused)
            }
            7 => {
                let other = if &*size == SIZES[0] { SIZES[1] } else { SIZES[0] };
                self.database.specify(id, |spec| spec.size = other.into());
                format!("size_slug = {other}")
            }
            _ => self.edit_instance(id),
        }
    }

    fn edit_instance(&mut self, id: EnvironmentId) -> String {
        let now = self.now;
        let own: Vec<InstanceId> = self
            .database
            .instances
            .values()
            .filter(|row| row.spec.environment_id == id)
            .map(|row| row.id)
            .collect();
        let Some(instance) = self
            .dice
            .pick(&own)
            .copied()
            .filter(|_| own.len() > 3 || self.dice.permille(700))
        else {
            let instance = InstanceId(self.dice.uuid());
            self.database
                .insert_instance(now, instance, instance_spec(id, self.database.catalog.id));
            return format!("adds tool {instance}");
        };
        match self.dice.between(0, 4) {
            0 => {
                self.database.specify_instance(instance, |spec| {
                    let next = if spec.version_to_run == "1" { "2" } else { "1" };
                    next.clone_into(&mut spec.version_to_run);
                });
                format!("another version of tool {instance}")
            }
            1 => {
                self.database
                    .specify_instance(instance, |spec| spec.desired_state = InstanceDesiredState::Removed);
                format!("removes tool {instance}")
            }
            2 => {
                self.database.delete_instance(instance);
                format!("deletes the row of tool {instance}")
            }
            _ => {
                self.database.specify_instance(instance, |spec| {
                    spec.desired_state = match spec.desired_state {
                        InstanceDesiredState::Running => InstanceDesiredState::Stopped,
                        InstanceDesiredState::Stopped | InstanceDesiredState::Removed => InstanceDesiredState::Running,
                    };
                });
                format!("stops or starts tool {instance}")
            }
        }
    }

    fn drift(&mut self) -> Option<String> {
        let now = self.now;
        // Somebody sees only what the console shows them as this environment's: droplets that are recorded.
        let recorded: Vec<u64> = self
            .database
            .rows
            .values()
            .filter_map(|row| Some(row.status.droplet_id?.0))
            .collect();
        let droplet = *self.dice.pick(&recorded)?;
        let choice = self.dice.between(0, 8);
        if choice < 6 {
            self.drift_of_droplet(droplet, choice)
        } else {
            self.cloud.droplets.get(&droplet).filter(|real| real.lives(now))?;
            self.drift_of_firewall(droplet, choice)
        }
    }

    fn drift_of_droplet(&mut self, droplet: u64, choice: i64) -> Option<String> {
        let now = self.now;
        let real = self.cloud.droplets.get_mut(&droplet).filter(|real| real.lives(now))?;
        Some(match choice {
            0 | 1 => {
                self.cloud.destroy(now, droplet);
                format!("destroys droplet {droplet}")
            }
            2 => {
                real.off_from = Some(now);
                format!("switches droplet {droplet} off")
            }
            3 => {
                "renamed".clone_into(&mut real.shown.name);
                format!("renames droplet {droplet}")
            }
            4 => {
                let place = usize::try_from(self.dice.between(0, 3)).unwrap_or(0);
                if place >= real.shown.tags.len() {
                    return None;
                }
                let tag = real.shown.tags.remove(place);
                format!("takes the tag {tag} from droplet {droplet}")
            }
            _ => {
                let mut carried = real.shown.tags.iter();
                let environment = carried.find(|tag| tag.starts_with("toolplane:environment:")).cloned()?;
                let carried = vec![
                    tags::TOOLPLANE.to_owned(),
                    "toolplane:installation:other".to_owned(),
                    environment,
                ];
                let made = self
                    .cloud
                    .create(now, &mut self.dice, "theirs".to_owned(), carried, SIZES[0], false);
                format!("clones droplet {droplet} for another installation: droplet {}", made.id)
            }
        })
    }

    fn drift_of_firewall(&mut self, droplet: u64, choice: i64) -> Option<String> {
        let id = self.firewall_of(droplet)?;
        Some(match choice {
            6 => {
                self.cloud.firewalls.remove(&id);
                format!("deletes {id}, the firewall of droplet {droplet}")
            }
            7 => {
                let rule = InboundRule {
                    protocol: Protocol::Tcp,
                    ports: Ports::One(8443),
                    sources: Peers {
                        addresses: vec!["198.51.100.7/32".to_owned()],
                        ..Peers::default()
                    },
                };
                self.cloud.firewalls.get_mut(&id)?.spec.inbound_rules.push(rule);
                format!("opens a port in {id}, the firewall of droplet {droplet}")
            }
            _ => {
                self.cloud.firewalls.get_mut(&id)?.spec.droplet_ids.clear();
                format!("detaches {id} from droplet {droplet}")
            }
        })
    }

    fn firewall_of(&self, droplet: u64) -> Option<String> {
        let (id, _) = self
            .cloud
            .firewalls
            .iter()
            .find(|(_, wall)| wall.spec.droplet_ids.contains(&droplet))?;
        Some(id.clone())
    }

    /// People tidy up what only people can: nothing stays paused, no size is wanted that is out of reach, and droplets carry the tags
    /// by which they are listed: the breaker withholds everything while the list lacks them all, and tells an operator.
    fn calm(&mut self) {
        let now: Millis = self.now;
        for id in self.environments.clone() {
            // A disk never shrinks, so the smaller size may be out of reach for good.
            let edited = self.database.rows.get(&id).is_some_and(|row| row.generation > 1);
            self.database.specify(id, |spec| {
                spec.paused = false;
                if edited {
                    spec.size = SIZES[1].into();
                }
            });
        }
        // Toolplane gives tags back to a droplet that is wanted. Nobody but a person does to one that is to be deleted.
        let wanted: BTreeSet<EnvironmentId> = self.wanted().collect();
        let agents = &self.agents;
        for (id, real) in self.cloud.droplets.iter_mut().filter(|(_, real)| real.lives(now)) {
            let Some(agent) = agents.get(id).filter(|agent| !wanted.contains(&agent.environment)) else {
                continue;
            };
            for tag in [tags::installation(&self.installation), tags::environment(agent.environment)] {
                if !real.shown.tags.contains(&tag) {
                    real.shown.tags.push(tag);
                }
            }
        }
    }

    /// The environments that want a droplet.
    pub fn wanted(&self) -> impl Iterator<Item = EnvironmentId> + '_ {
        let active = |row: &&model::Environment| row.spec.desired_state == EnvironmentDesiredState::Active;
        self.database.rows.values().filter(active).map(|row| row.id)
    }
}

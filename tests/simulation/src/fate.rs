//! What becomes of a request: when it arrives, whether it is answered, and who dies of it.

use crate::{
    moment::{Millis, seconds},
    reconcilers::Kind,
    schedule::Faults,
    simulation::{Address, Event, Flight, Simulation},
    wire::{Arrival, Request, To, Trouble},
};
use model::EnvironmentId;

/// At which moment of a request its process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Nothing was sent.
    Before,
    /// It had its effect, and nobody hears of it.
    After,
    /// It was answered, and nothing was made of the answer.
    Answered,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    death: Option<Death>,
    /// The process is stopped for so long before it sends.
    stopped: Option<Millis>,
    /// It never arrives.
    lost: bool,
    /// What the answer is in place of the effect's.
    trouble: Option<Trouble>,
}

impl Simulation {
    /// A process sends something.
    pub(crate) fn depart(&mut self, from: Address, kind: Kind, key: EnvironmentId, request: Request) {
        let faults = self.world.faults.clone();
        let fate = self.fate(&faults, request.to);
        let now = self.world.now;
        if fate.death == Some(Death::Before) {
            let who = self.replicas[from.replica].name();
            let what = request.what.clone();
            self.world.tell(&who, format_args!("is about to {what}, and"));
            return self.at(now, Event::Die(from));
        }
        let departs = match fate.stopped {
            Some(pause) => self.stopped(from, pause, &request),
            None => now,
        };
        let lands = departs + self.delay(&faults, request.to);
        let answers = lands + self.delay(&faults, request.to);
        self.steps += 1;
        let flight = self.steps << 8 | u64::try_from(from.replica).unwrap_or(0);
        let arrival = Arrival {
            replica: from.replica,
            late: fate.stopped.is_some(),
        };
        self.flights.insert(
            flight,
            Flight {
                from,
                kind,
                key,
                arrival,
                request,
            },
        );
        if !fate.lost {
            self.at(lands, Event::Land(flight));
        }
        if fate.death == Some(Death::After) {
            return self.at(lands, Event::Die(from));
        }
        let verdict = fate.trouble.map_or(Ok(()), Err);
        // Who is not answered waits for a while.
        let answers = if verdict == Err(Trouble::Lost) {
            answers + seconds(5)
        } else {
            answers
        };
        let dies = fate.death == Some(Death::Answered);
        self.at(answers, Event::Answer { flight, verdict, dies });
    }

    /// A process is stopped before it sends this. Returns when it goes on.
    fn stopped(&mut self, from: Address, pause: Millis, request: &Request) -> Millis {
        let replica = &mut self.replicas[from.replica];
        replica.stopped_until = self.world.now + pause;
        let (until, who, what) = (replica.stopped_until, replica.name(), &request.what);
        self.world
            .tell(&who, format_args!("STOPS for {} s, about to {what}", pause / 1000));
        until
    }

    /// How long one way takes: mostly a moment.
    fn delay(&mut self, faults: &Faults, to: To) -> Millis {
        let dice = &mut self.world.dice;
        let most = match to {
            To::CloudRead | To::CloudWrite if dice.permille(150) => faults.latency / 2,
            To::CloudRead | To::CloudWrite | To::Agent => 300,
            To::Database => 40,
        };
        dice.between(1, most)
    }

    fn fate(&mut self, faults: &Faults, to: To) -> Fate {
        let dice = &mut self.world.dice;
        let mut fate = Fate::default();
        if dice.permille(faults.crash) {
            fate.death = dice.pick(&[Death::Before, Death::After, Death::Answered]).copied();
            return fate;
        }
        if dice.permille(faults.stop) {
            fate.stopped = Some(dice.between(seconds(5), seconds(200)));
        }
        match to {
            To::CloudRead | To::CloudWrite => {
                if dice.permille(faults.lost_before) {
                    (fate.lost, fate.trouble) = (true, Some(Trouble::Lost));
                } else if dice.permille(faults.lost_after) {
                    fate.trouble = Some(Trouble::Lost);
                } else if dice.permille(faults.limited) {
                    (fate.lost, fate.trouble) = (true, Some(Trouble::Limited));
                } else if dice.permille(faults.unavailable) {
                    (fate.lost, fate.trouble) = (dice.permille(500), Some(Trouble::Unavailable));
                }
            }
            To::Database => {
                if dice.permille(faults.database) {
                    (fate.lost, fate.trouble) = (dice.permille(500), Some(Trouble::Lost));
                }
            }
            To::Agent => {
                if dice.permille(faults.agent) {
                    (fate.lost, fate.trouble) = (dice.permille(500), Some(Trouble::Lost));
                }
            }
        }
        fate
    }
}

//! Requests on their way: they arrive, and are answered. Owns: the moments of both. Must not: choose what goes wrong; `fate` does.

use super::{Event, Flight, Simulation};
use crate::{moment::Millis, wire::Trouble};

impl Simulation {
    /// When the last of what is under way arrives, and the last of who is stopped goes on.
    pub(crate) fn last_arrival(&self) -> Millis {
        let arrivals = self.events.iter().rev();
        let mut lands = arrivals.filter(|(_, event)| matches!(event, Event::Land(_)));
        let landed = lands.next().map_or(self.world.now, |((at, _), _)| *at);
        let stopped = self.replicas.iter().map(|replica| replica.stopped_until);
        stopped.max().unwrap_or(landed).max(landed)
    }

    pub(super) fn land(&mut self, flight: u64) {
        let Some(Flight {
            arrival,
            request,
            kind,
            key,
            ..
        }) = self.flights.get_mut(&flight)
        else {
            return;
        };
        let land = std::mem::replace(&mut request.land, Box::new(|_, _| String::new()));
        let (arrival, kind, key, what) = (*arrival, *kind, *key, request.what.clone());
        let answer = land(&mut self.world, &arrival);
        if self.world.story.is_told() {
            let (name, late) = (self.world.name(key), if arrival.late { " (LATE)" } else { "" });
            let who = format!("replica {}", arrival.replica);
            self.world
                .tell(&who, format_args!("{kind:?} {name}: {what}{late} = {answer}"));
        }
        self.adopt_agents();
    }

    pub(super) fn answered(&mut self, flight: u64, verdict: Result<(), Trouble>, dies: bool) {
        let Some(Flight {
            from,
            kind,
            key,
            request,
            ..
        }) = self.flights.remove(&flight)
        else {
            return;
        };
        if dies {
            return self.die(from);
        }
        if let Err(trouble) = verdict
            && self.world.story.is_told()
        {
            let (name, who) = (self.world.name(key), format!("replica {}", from.replica));
            let what = &request.what;
            self.world
                .story
                .tell(self.world.now, who, format_args!("{kind:?} {name}: {what}: {trouble:?}"));
        }
        (request.answer)(verdict);
        self.go_on(from.replica, kind, key);
        self.work(from.replica);
    }
}

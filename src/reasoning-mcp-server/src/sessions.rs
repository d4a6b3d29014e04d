//! The sessions that are held in memory.
//!
//! Owns how many there are and how long. It must not read a clock: `now` is a parameter. It promises that there are never more sessions
//! than asked for, that one unused for the time to live is gone, and that a session exists only once its first thought was taken.

use crate::graph::{Draft, Graph, Limits, Rejected, Taken};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// The bounds of all sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many sessions are held; one more pushes out the one that was unused for longest.
    pub(crate) sessions: usize,
    /// How long an unused session is held.
    pub(crate) time_to_live: Duration,
    /// The bounds of each.
    pub(crate) session: Limits,
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    bounds: Bounds,
    held: HashMap<Uuid, Held>,
}

#[derive(Debug)]
struct Held {
    graph: Graph,
    used: Instant,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            held: HashMap::new(),
        }
    }

    /// Adds a thought to the session, or to a new one when none is named.
    pub(crate) fn think(&mut self, id: Option<Uuid>, draft: Draft, now: Instant) -> Result<(Uuid, Taken, &Graph), Rejected> {
        let id = match id {
            Some(id) => {
                let taken = self.session(id, now)?.add(draft)?;
                return self.read(id, now).map(|graph| (id, taken, graph));
            }
            None => Uuid::new_v4(),
        };
        let mut graph = Graph::new(self.bounds.session);
        let taken = graph.add(draft)?;
        self.make_room(now);
        let held = self.held.entry(id).insert_entry(Held { graph, used: now });
        Ok((id, taken, &held.into_mut().graph))
    }

    /// The thoughts of a session; reading counts as use.
    pub(crate) fn read(&mut self, id: Uuid, now: Instant) -> Result<&Graph, Rejected> {
        self.session(id, now).map(|graph| &*graph)
    }

    /// Drops a session now. `false` when there is none.
    pub(crate) fn forget(&mut self, id: Uuid) -> bool {
        self.held.remove(&id).is_some()
    }

    /// Drops what was unused for the time to live.
    pub(crate) fn expire(&mut self, now: Instant) {
        let time_to_live = self.bounds.time_to_live;
        self.held.retain(|_, held| now.duration_since(held.used) < time_to_live);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    fn session(&mut self, id: Uuid, now: Instant) -> Result<&mut Graph, Rejected> {
        self.expire(now);
        let minutes = self.bounds.time_to_live.as_secs().div_ceil(60);
        match self.held.get_mut(&id) {
            Some(held) => {
                held.used = now;
                Ok(&mut held.graph)
            }
            None => Err(Rejected::new(
                "session_id",
                format!(
                    "no session {id}; it never was, was forgotten, or was unused for {minutes} min; leave it out to begin another"
                ),
            )),
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.expire(now);
        while self.held.len() >= self.bounds.sessions.max(1) {
            let unused_longest = self.held.iter().min_by_key(|(_, held)| held.used).map(|(id, _)| *id);
            let Some(id) = unused_longest else { return };
            tracing::warn!(
                sessions = self.held.len(),
                "too many sessions: dropping the one unused for longest"
            );
            self.held.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        sessions: 2,
        time_to_live: Duration::from_mins(1),
        session: Limits {
            thoughts: 4,
            branches: 2,
            thought_bytes: 100,
            session_bytes: 400,
        },
    };

    fn draft(text: &str) -> Draft {
        Draft {
            text: text.to_owned(),
            ..Draft::default()
        }
    }

    fn begin(sessions: &mut Sessions, now: Instant) -> Uuid {
        sessions.think(None, draft("t"), now).unwrap().0
    }

    #[test]
    fn a_session_goes_on_by_its_id_and_knows_no_other() {
        let (mut sessions, now) = (Sessions::new(BOUNDS), Instant::now());
        let (one, two) = (begin(&mut sessions, now), begin(&mut sessions, now));
        let (_, taken, graph) = sessions.think(Some(one), draft("u"), now).unwrap();
        assert_eq!((taken.number, graph.room()), (2, 2));
        assert_eq!(sessions.read(two, now).unwrap().room(), 3);
    }

    #[test]
    fn an_unused_session_expires_and_a_used_one_does_not() {
        let (mut sessions, start) = (Sessions::new(BOUNDS), Instant::now());
        let (used, unused) = (begin(&mut sessions, start), begin(&mut sessions, start));
        sessions.read(used, start + Duration::from_secs(59)).unwrap();
        let later = start + Duration::from_mins(1);
        let refused = sessions.read(unused, later).unwrap_err();
        assert_eq!(refused.field, "session_id");
        sessions.read(used, later).unwrap();
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn one_too_many_pushes_out_the_one_unused_for_longest() {
        let (mut sessions, start) = (Sessions::new(BOUNDS), Instant::now());
        let one = begin(&mut sessions, start);
        let two = begin(&mut sessions, start + Duration::from_secs(1));
        sessions.read(one, start + Duration::from_secs(2)).unwrap();
        let now = start + Duration::from_secs(3);
        let three = begin(&mut sessions, now);
        assert!(sessions.read(two, now).is_err());
        assert!(sessions.read(one, now).is_ok() && sessions.read(three, now).is_ok());
    }

    #[test]
    fn a_refused_first_thought_leaves_no_session() {
        let (mut sessions, now) = (Sessions::new(BOUNDS), Instant::now());
        let kept = begin(&mut sessions, now);
        begin(&mut sessions, now + Duration::from_secs(1));
        sessions.think(None, draft(""), now).unwrap_err();
        assert_eq!(sessions.len(), 2);
        assert!(sessions.read(kept, now).is_ok(), "nothing was pushed out for it");
    }

    #[test]
    fn a_forgotten_session_is_gone() {
        let (mut sessions, now) = (Sessions::new(BOUNDS), Instant::now());
        let id = begin(&mut sessions, now);
        assert!(sessions.forget(id));
        assert!(!sessions.forget(id));
        assert!(sessions.read(id, now).is_err());
    }
}

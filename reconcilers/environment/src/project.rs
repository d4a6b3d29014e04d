//! Which droplets are in the configured project. Owns: reading its members once in a while, and the memory of them. Must not: put
//! any there. Promises: membership that was never read is unknown; what was assigned after a read began is not undone by it.
//!
//! A droplet does not tell its project, so the project's members are listed, 200 a page and far more seldom than the fleet:
//! projects only group what the control panel shows.

use digitalocean::Client;
use fleet::Wakes;
use futures::Stream;
use model::{DropletId, EnvironmentId};
use runtime::Wake;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the members are listed.
const SWEEP: Duration = Duration::from_mins(10);
/// How often that is tried while they are not known.
const RETRY: Duration = Duration::from_secs(30);

/// What is known of the configured project, as far as one environment is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Membership {
    /// No project is configured: droplets stay where DigitalOcean puts them.
    #[default]
    Unmanaged,
    /// It was not read yet.
    Unknown,
    /// No project of the account has the configured id or name.
    NoProject,
    /// It was read; these of the environment's droplets are in it.
    Known(Box<[DropletId]>),
}

/// The shared memory; a cheap clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Project {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    configured: Option<String>,
    seen: RwLock<Seen>,
    wakes: Wakes,
}

#[derive(Debug, Default)]
struct Seen {
    state: State,
    /// What was assigned, and when.
    assigned: HashMap<DropletId, Instant>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unread,
    Missing,
    Read {
        id: String,
        members: HashSet<DropletId>,
    },
}

impl Project {
    /// The project of this id or name, or none.
    pub(crate) fn new(configured: Option<String>) -> Self {
        Self {
            shared: Arc::new(Shared {
                configured,
                ..Shared::default()
            }),
        }
    }

    /// What is known, for these droplets.
    pub(crate) fn membership(&self, droplets: impl Iterator<Item = DropletId>) -> Membership {
        if self.shared.configured.is_none() {
            return Membership::Unmanaged;
        }
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        match &seen.state {
            State::Unread => Membership::Unknown,
            State::Missing => Membership::NoProject,
            State::Read { members, .. } => {
                let inside = |droplet: &DropletId| members.contains(droplet) || seen.assigned.contains_key(droplet);
                Membership::Known(droplets.filter(inside).collect())
            }
        }
    }

    /// The project's id, once it is known.
    pub(crate) fn id(&self) -> Option<String> {
        match &self.shared.seen.read().unwrap_or_else(PoisonError::into_inner).state {
            State::Read { id, .. } => Some(id.clone()),
            State::Unread | State::Missing => None,
        }
    }

    /// An assignment was accepted.
    pub(crate) fn assigned(&self, droplet: DropletId) {
        self.write().assigned.insert(droplet, Instant::now());
    }

    /// The environments to look at again, since the project is known differently.
    pub(crate) fn changes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.shared.wakes.subscribe()
    }

    /// Lists the members once in a while; `environments` are those to wake when something changed. Does nothing without a project.
    pub(crate) async fn run(
        self,
        client: Client,
        environments: impl Fn() -> Vec<EnvironmentId> + Send,
        shutdown: CancellationToken,
    ) {
        let Some(configured) = self.shared.configured.clone() else {
            return;
        };
        let mut ticks = interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            let mut read_at: Option<Instant> = None;
            loop {
                ticks.tick().await;
                if read_at.is_some_and(|at| at.elapsed() < SWEEP) {
                    continue;
                }
                let began = Instant::now();
                match read(&client, &configured).await {
                    Ok(state) => {
                        read_at = matches!(state, State::Read { .. }).then_some(began);
                        if self.learn(state, began) {
                            self.shared.wakes.wake(environments());
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the project could not be read"),
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Takes a reading that began at `began`. Whether it differs from what was known.
    fn learn(&self, state: State, began: Instant) -> bool {
        let mut seen = self.write();
        let known = seen.assigned.len();
        let member = |droplet: &DropletId| match &state {
            State::Read { members, .. } => members.contains(droplet),
            State::Unread | State::Missing => false,
        };
        // An assignment that shows needs no remembering; one that does not show any more was undone.
        seen.assigned.retain(|droplet, at| *at >= began || member(droplet));
        let undone = seen.assigned.len() < known;
        seen.assigned.retain(|_, at| *at >= began);
        let same = match (&seen.state, &state) {
            (State::Missing, State::Missing) => true,
            (State::Read { id, members }, State::Read { id: new, members: now }) => id == new && members == now,
            (State::Unread | State::Missing | State::Read { .. }, State::Unread | State::Missing | State::Read { .. }) => false,
        };
        seen.state = state;
        undone || !same
    }

    fn write(&self) -> RwLockWriteGuard<'_, Seen> {
        self.shared.seen.write().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(client: &Client, configured: &str) -> Result<State, digitalocean::Error> {
    let projects = client.project_list().await?;
    let found = projects
        .into_iter()
        .find(|project| project.id == configured || project.name == configured);
    let Some(project) = found else {
        tracing::error!(project = configured, "digitalocean_project: no project has this id or name");
        return Ok(State::Missing);
    };
    let listed = client.project_resource_list(&project.id).await?;
    let droplet = |urn: &str| Some(DropletId(urn.strip_prefix("do:droplet:")?.parse().ok()?));
    Ok(State::Read {
        members: listed.iter().filter_map(|member| droplet(&member.urn)).collect(),
        id: project.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(members: &[u64]) -> State {
        State::Read {
            id: "p".to_owned(),
            members: members.iter().map(|id| DropletId(*id)).collect(),
        }
    }

    fn inside(project: &Project) -> Membership {
        project.membership([DropletId(1), DropletId(2)].into_iter())
    }

    #[test]
    fn what_was_assigned_during_a_read_is_not_undone_by_it_and_by_the_next_one_it_is() {
        assert_eq!(inside(&Project::default()), Membership::Unmanaged);
        let project = Project::new(Some("tools".to_owned()));
        assert_eq!(inside(&project), Membership::Unknown);
        assert!(project.learn(read_of(&[1]), Instant::now()));
        assert_eq!(inside(&project), Membership::Known([DropletId(1)].into()));

        let began = Instant::now();
        project.assigned(DropletId(2));
        assert!(!project.learn(read_of(&[1]), began));
        assert_eq!(inside(&project), Membership::Known([DropletId(1), DropletId(2)].into()));

        let later = Instant::now() + Duration::from_secs(1);
        assert!(project.learn(read_of(&[1]), later), "somebody moved it away again");
        assert_eq!(inside(&project), Membership::Known([DropletId(1)].into()));
    }
}

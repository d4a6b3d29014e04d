//! Looks: fresh reads of single environments' droplets, as few requests as they can be.
//!
//! ```text
//!  one asks                      a list by its environment's tag
//!  more ask while that goes on   they wait, and are served together: by one list of the whole installation when that takes fewer
//!                                requests than a list for each
//! ```
//!
//! Owns: which list serves whom, and what counts as having looked. Must not: decide. Promises: a list that serves somebody began
//! after they asked; "absent" was said by the list and by a `GET` of every id that is known; when many known droplets are not
//! there at once, that is not believed before the next sweep.

use crate::{
    breaker::Limits,
    droplets::{Droplet, Fleet, Sighting},
    read::{known, seen},
};
use digitalocean::{Client, DropletFilter, Error};
use futures::future::join_all;
use jiff::Timestamp;
use model::{EnvironmentDesiredState, EnvironmentId, EnvironmentRecord, InstallationId, record::Subject, tags};
use runtime::Observation;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// What one request of a list brings.
const PAGE: usize = 200;

/// Why a look failed. Shared by all whom the same list was to serve.
pub type LookError = Arc<Error>;

/// Looks at droplets; a cheap clone, one for each process.
#[derive(Clone, Debug)]
pub struct Looks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    installation: InstallationId,
    fleet: Fleet,
    limits: Limits,
    queue: Mutex<Queue>,
    /// Wanted environments whose droplets were found gone, and when.
    gone: Mutex<HashMap<EnvironmentId, Timestamp>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody is serving it.
    served: bool,
}

#[derive(Debug)]
struct Waiting {
    environment: EnvironmentId,
    answer: oneshot::Sender<Result<Vec<digitalocean::Droplet>, LookError>>,
}

impl Looks {
    /// Nobody looks yet. What is seen is told to `fleet`.
    pub fn new(client: Client, installation: InstallationId, fleet: Fleet, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                installation,
                fleet,
                limits,
                queue: Mutex::default(),
                gone: Mutex::default(),
            }),
        }
    }

    /// Reads an environment's droplets: a list, and a `GET` of each id that the record knows and the list lacks.
    pub async fn droplets(&self, record: &EnvironmentRecord) -> Result<Sighting, LookError> {
        let began = Timestamp::now();
        let (id, known, installation) = (record.id(), known(record), &self.shared.installation);
        let listed = self.list(id).await?;
        let mut droplets: Vec<Droplet> = listed.iter().map(|droplet| seen(droplet, id, installation)).collect();
        for wanted in known.into_iter().flatten() {
            if droplets.iter().any(|droplet| droplet.id == wanted) {
                continue;
            }
            match self.shared.client.droplet_get(wanted.0).await {
                Ok(droplet) => droplets.push(seen(&droplet, id, installation)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Another installation's droplet may carry the environment's tag, and is none of ours.
        droplets.retain(|droplet| droplet.ours || known.contains(&Some(droplet.id)));
        if droplets.is_empty() && known[0].is_some() && wants_droplet(record) {
            self.shared.found_gone(id, began);
        }
        Ok(self.shared.fleet.learn(id, droplets, began))
    }

    /// A list that began after this was called, of at least what carries the environment's tag.
    async fn list(&self, environment: EnvironmentId) -> Result<Vec<digitalocean::Droplet>, LookError> {
        let (answer, listed) = oneshot::channel();
        let serve = {
            let mut queue = self.shared.queue();
            queue.waiting.push(Waiting { environment, answer });
            !std::mem::replace(&mut queue.served, true)
        };
        if serve {
            // In a task of its own: the pass that began it may be given up while others wait.
            tokio::spawn(Arc::clone(&self.shared).serve());
        }
        match listed.await {
            Ok(listed) => listed,
            // The task ended without an answer: the process is going.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Shared {
    /// Serves whoever waits until nobody does.
    async fn serve(self: Arc<Self>) {
        let mut spare = Instant::now();
        loop {
            let count = self.queue().waiting.len();
            // An estimate is enough: either way everybody is served.
            let pages = self.fleet.count() / PAGE + 1;
            let together = count > pages;
            if together {
                // A list of everything is many requests; they are spread, and who asks meanwhile is served too.
                sleep_until(spare).await;
                spare = Instant::now() + Duration::from_secs(u64::try_from(pages).unwrap_or(u64::MAX));
            }
            let waiting = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    queue.served = false;
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            if together {
                self.serve_together(waiting).await;
            } else {
                join_all(waiting.into_iter().map(|waiting| self.serve_one(waiting))).await;
            }
        }
    }

    async fn serve_one(&self, waiting: Waiting) {
        let filter = DropletFilter::Tag(tags::environment(waiting.environment));
        let listed = self.client.droplet_list(&filter).await;
        // Whoever asked may have been given up.
        let _ = waiting.answer.send(listed.map_err(Arc::new));
    }

    async fn serve_together(&self, waiting: Vec<Waiting>) {
        let filter = DropletFilter::Tag(tags::installation(&self.installation));
        match self.client.droplet_list(&filter).await {
            Ok(listed) => {
                let mut owned: HashMap<EnvironmentId, Vec<digitalocean::Droplet>> = HashMap::new();
                for droplet in listed {
                    if let Some(owner) = tags::owner(droplet.tags.iter().map(String::as_str), &self.installation) {
                        owned.entry(owner).or_default().push(droplet);
                    }
                }
                for Waiting { environment, answer } in waiting {
                    let listed = owned.get(&environment).cloned().unwrap_or_default();
                    let _ = answer.send(Ok(listed));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for Waiting { answer, .. } in waiting {
                    let _ = answer.send(Err(Arc::clone(&error)));
                }
            }
        }
    }

    /// A wanted environment's recorded droplet is neither listed nor found. When that is said of many, it is not believed: the
    /// next sweep judges it for all.
    fn found_gone(&self, environment: EnvironmentId, now: Timestamp) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let from = now.checked_sub(self.limits.window).unwrap_or(Timestamp::MIN);
        gone.retain(|_, at| *at > from);
        gone.insert(environment, now);
        // Those that were found gone are not in memory any more.
        let remembered = match self.fleet.sighting(environment).droplets {
            Observation::Present(_) => gone.len() - 1,
            Observation::Absent | Observation::Unknown => gone.len(),
        };
        let known = self.fleet.count() + remembered;
        if self.limits.exceeded(gone.len(), known) {
            let reason = format!(
                "{} of {known} droplets were asked for and not found at {}",
                gone.len(),
                now.strftime("%H:%M:%S")
            );
            tracing::error!(
                reason,
                "nothing is created or deleted for what is missing before the next sweep"
            );
            self.fleet.doubt(now, reason.into());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nobody wants any more goes without being missed.
fn wants_droplet(record: &EnvironmentRecord) -> bool {
    match &record.subject {
        Subject::Row(row) => match row.spec.desired_state {
            EnvironmentDesiredState::Active => true,
            EnvironmentDesiredState::Deleted => false,
        },
        Subject::Tombstone(_) => false,
    }
}

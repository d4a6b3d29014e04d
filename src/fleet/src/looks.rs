//! Looks: fresh reads of single environments' droplets, as few requests as they can be.
//!
//! Owns: what counts as having looked. Must not: decide. Promises: "absent" was said by a list that began after it was asked for, and
//! by a `GET` of every id that is known; when many known droplets are not there at once, that is not believed before the next sweep.

use crate::{
    breaker::Limits,
    droplets::{Droplet, Fleet, Sighting},
    freshness::{Freshness, is_launching},
    read::{known, seen},
    together::{LookError, Reads, Together},
};
use digitalocean::{Budget, Call, Client, DropletFilter, Error, Priority};
use jiff::Timestamp;
use model::{EnvironmentDesiredState, EnvironmentId, EnvironmentRecord, InstallationId, record::Subject, tags};
use runtime::{Clock, Observation, SharedClock};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What one request of a list brings.
pub(crate) const PAGE: usize = 200;

/// Looks at droplets; a cheap clone, one for each process.
#[derive(Clone, Debug)]
pub struct Looks {
    shared: Arc<Shared>,
    together: Arc<Together<Lists>>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    installation: InstallationId,
    fleet: Fleet,
    limits: Limits,
    clock: SharedClock,
    /// Wanted environments whose droplets were found gone, and when.
    gone: Mutex<HashMap<EnvironmentId, Timestamp>>,
}

impl Looks {
    /// Nobody looks yet. What is seen is told to `fleet`, dated by `clock`.
    pub fn new(client: Client, installation: InstallationId, fleet: Fleet, limits: Limits, clock: SharedClock) -> Self {
        let shared = Arc::new(Shared {
            client,
            installation,
            fleet,
            limits,
            clock,
            gone: Mutex::default(),
        });
        let together = Together::new(Lists(Arc::clone(&shared)));
        Self { shared, together }
    }

    /// An environment's droplets, as whoever is about to act has to know them: what was read a moment ago, where that serves, else
    /// read anew. `unsent` says that the create of the latest intent surely was not sent.
    pub async fn recent(&self, record: &EnvironmentRecord, unsent: bool) -> Result<Sighting, LookError> {
        let sighting = self.shared.fleet.sighting(record.id());
        if Freshness::of(self.shared.client.budget()).droplets_serve(record, &sighting, unsent, self.shared.clock.now()) {
            return Ok(sighting);
        }
        self.droplets(record).await
    }

    /// Reads an environment's droplets: a list, and a `GET` of each id that the record knows and the list lacks.
    pub async fn droplets(&self, record: &EnvironmentRecord) -> Result<Sighting, LookError> {
        let began = self.shared.clock.now();
        let (id, known, installation) = (record.id(), known(record), &self.shared.installation);
        let ask = Ask {
            environment: id,
            is_launching: is_launching(record),
        };
        let listed = self.together.ask(ask).await?;
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
}

/// Whose droplets somebody wants to know.
#[derive(Debug)]
struct Ask {
    environment: EnvironmentId,
    /// Whether nothing is on the droplet yet, and nothing is to go.
    is_launching: bool,
}

/// Whether one list, of so many pages, is to serve these. While requests are short, or were spent on many such looks, even a single
/// droplet that is on its way waits for it, with all the others that are.
fn wait_for_list(asks: &[&Ask], pages: usize, short: bool) -> bool {
    asks.len() > pages || (short && asks.iter().all(|ask| ask.is_launching))
}

/// Lists of droplets.
#[derive(Debug)]
struct Lists(Arc<Shared>);

impl Reads for Lists {
    type Ask = Ask;
    type Answer = Vec<digitalocean::Droplet>;

    fn budget(&self) -> &Budget {
        self.0.client.budget()
    }

    fn pages(&self) -> usize {
        self.0.fleet.count() / PAGE + 1
    }

    fn are_served_together(&self, asks: &[&Ask], many: bool) -> bool {
        wait_for_list(asks, self.pages(), many || self.budget().is_short())
    }

    async fn one(&self, ask: &Ask) -> Result<Self::Answer, Error> {
        let filter = DropletFilter::Tag(tags::environment(ask.environment));
        self.0.client.droplet_list(&filter).await
    }

    async fn all(&self, asks: &[Ask]) -> Result<Vec<Self::Answer>, Error> {
        let began = self.0.clock.now();
        let filter = DropletFilter::Tag(tags::installation(&self.0.installation));
        // Creates may wait for it too.
        let client = self.0.client.reading_for(Priority::Create);
        let mut owned: HashMap<EnvironmentId, Vec<digitalocean::Droplet>> = HashMap::new();
        for droplet in client.droplet_list(&filter).await? {
            if let Some(owner) = tags::owner(droplet.tags.iter().map(String::as_str), &self.0.installation) {
                owned.entry(owner).or_default().push(droplet);
            }
        }
        let answers = asks
            .iter()
            .map(|ask| owned.remove(&ask.environment).unwrap_or_default())
            .collect();
        self.0.remember(&owned, began);
        Ok(answers)
    }

    fn wait(&self, retry_at: Timestamp) -> Error {
        let call = Call {
            method: "GET",
            endpoint: "/v2/droplets",
        };
        Error::RateLimited { call, retry_at }
    }
}

impl Shared {
    /// Remembers what a list of everything showed of those who did not ask, where it lacks nothing that was known of them.
    fn remember(&self, owned: &HashMap<EnvironmentId, Vec<digitalocean::Droplet>>, began: Timestamp) {
        for (environment, listed) in owned {
            let Observation::Present(before) = self.fleet.sighting(*environment).droplets else {
                continue;
            };
            let droplets: Vec<Droplet> = listed
                .iter()
                .map(|droplet| seen(droplet, *environment, &self.installation))
                .collect();
            if before
                .iter()
                .all(|known| droplets.iter().any(|droplet| droplet.id == known.id))
            {
                self.fleet.learn(*environment, droplets, began);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_serves_whenever_it_is_cheaper_and_while_requests_are_short_all_that_are_on_their_way() {
        let ask = |is_launching| Ask {
            environment: EnvironmentId::random(),
            is_launching,
        };
        let (launching, other) = (ask(true), ask(false));
        for (asks, pages, short, expected) in [
            (vec![&launching, &other], 1, false, true),
            (vec![&launching], 1, false, false),
            (vec![&launching], 1, true, true),
            (vec![&launching, &launching], 5, true, true),
            // A delete hangs on it.
            (vec![&other], 1, true, false),
            (vec![&launching, &other], 5, true, false),
        ] {
            assert_eq!(wait_for_list(&asks, pages, short), expected, "{asks:?} {pages} {short}");
        }
    }
}

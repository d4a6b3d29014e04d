//! Looks at firewalls: fresh reads of single ones, as few requests as they can be.
//!
//! Owns: what counts as having looked. Must not: decide. Promises: "absent" was said by a list of all that began after it was asked
//! for, and by a `GET` of the id, where one is known; whoever needs the last word gets a `GET` of its own.

use crate::{
    firewalls::{Firewalls, Observed},
    freshness::{Freshness, Need},
    looks::PAGE,
    together::{LookError, Reads, Together},
};
use digitalocean::{Budget, Call, Client, Error, Firewall, Priority};
use jiff::Timestamp;
use runtime::{Clock, Observation, SharedClock};
use std::{collections::HashMap, sync::Arc};

/// Looks at firewalls; a cheap clone, one for each process.
#[derive(Clone, Debug)]
pub struct FirewallLooks {
    client: Client,
    firewalls: Firewalls,
    clock: SharedClock,
    together: Arc<Together<Lists>>,
}

/// Which firewall is asked for.
#[derive(Clone, Debug)]
struct Ask {
    name: String,
    /// Where it is known.
    id: Option<String>,
}

/// What was found.
#[derive(Debug)]
struct Answer {
    found: Option<Firewall>,
    /// Whether all were searched for it.
    all: bool,
}

impl Answer {
    fn of_all(found: Option<Firewall>) -> Self {
        Self { found, all: true }
    }
}

impl FirewallLooks {
    /// Nobody looks yet. What is seen is told to `firewalls`, dated by `clock`.
    pub fn new(client: Client, firewalls: Firewalls, clock: SharedClock) -> Self {
        let together = Together::new(Lists {
            client: client.clone(),
            firewalls: firewalls.clone(),
            clock: clock.clone(),
        });
        Self {
            client,
            firewalls,
            clock,
            together,
        }
    }

    /// Now, by the clock that reads are dated by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A firewall as whoever is about to act has to know it: what is remembered, where that serves, else read anew. `recorded` is the
    /// id on record.
    pub async fn observe(&self, name: &str, recorded: Option<&str>, need: Need) -> Result<Observed, LookError> {
        let observed = self.firewalls.observed(name);
        if Freshness::of(self.client.budget()).firewall_serves(need, &observed, self.now()) {
            return Ok(observed);
        }
        self.read(name, recorded, need).await
    }

    /// Reads a firewall anew: by its id where that is known, else among all.
    pub async fn read(&self, name: &str, recorded: Option<&str>, need: Need) -> Result<Observed, LookError> {
        let began = self.now();
        let remembered = match self.firewalls.observed(name).firewall {
            Observation::Present(known) => Some(known.id.clone()),
            Observation::Unknown | Observation::Absent => None,
        };
        let id = remembered.or_else(|| recorded.map(ToOwned::to_owned));
        let ask = |id: Option<&String>| Ask {
            name: name.to_owned(),
            id: id.cloned(),
        };
        let first = match (need, &id) {
            (Need::Swept | Need::Recent, id) => self.together.ask(ask(id.as_ref())).await?,
            (Need::Exact, None) => self.together.ask(ask(None)).await?,
            (Need::Exact, Some(id)) => Answer {
                found: by_id(&self.client, name, id).await?,
                all: false,
            },
        };
        let found = match (first, &id) {
            (Answer { found: None, all: false }, _) => self.together.ask(ask(None)).await?.found,
            (Answer { found: None, all: true }, Some(id)) => by_id(&self.client, name, id).await?,
            (Answer { found, .. }, _) => found,
        };
        Ok(self.firewalls.learn(name, found, began))
    }
}

/// Reads of firewalls.
#[derive(Debug)]
struct Lists {
    client: Client,
    firewalls: Firewalls,
    clock: SharedClock,
}

impl Reads for Lists {
    type Ask = Ask;
    type Answer = Answer;

    fn budget(&self) -> &Budget {
        self.client.budget()
    }

    fn pages(&self) -> usize {
        self.firewalls.count() / PAGE + 1
    }

    /// One whose id is not known takes a list anyway.
    fn are_served_together(&self, asks: &[&Ask], many: bool) -> bool {
        many || asks.len() > self.pages() || asks.iter().any(|ask| ask.id.is_none())
    }

    async fn one(&self, ask: &Ask) -> Result<Answer, Error> {
        if let Some(id) = &ask.id {
            return Ok(Answer {
                found: by_id(&self.client, &ask.name, id).await?,
                all: false,
            });
        }
        let listed = self.client.firewall_list().await?;
        let named = |firewall: &Firewall| firewall.spec.name == ask.name;
        Ok(Answer::of_all(listed.into_iter().find(named)))
    }

    async fn all(&self, asks: &[Ask]) -> Result<Vec<Answer>, Error> {
        let began = self.clock.now();
        let client = if asks.len() > 1 {
            // Creates may wait for it too.
            self.client.reading_for(Priority::Create)
        } else {
            self.client.clone()
        };
        let listed = client.firewall_list().await?.into_iter();
        let mut named: HashMap<String, Firewall> = listed.map(|firewall| (firewall.spec.name.clone(), firewall)).collect();
        let answers = asks.iter().map(|ask| Answer::of_all(named.remove(&ask.name))).collect();
        // Those that nobody asked for are remembered where they were known before.
        for (name, firewall) in named {
            if matches!(self.firewalls.observed(&name).firewall, Observation::Present(_)) {
                self.firewalls.pass_by(&name, firewall, began);
            }
        }
        Ok(answers)
    }

    fn wait(&self, retry_at: Timestamp) -> Error {
        let call = Call {
            method: "GET",
            endpoint: "/v2/firewalls",
        };
        Error::RateLimited { call, retry_at }
    }
}

async fn by_id(client: &Client, name: &str, id: &str) -> Result<Option<Firewall>, Error> {
    match client.firewall_get(id).await {
        // Whoever renamed it took it from us.
        Ok(firewall) => Ok(Some(firewall).filter(|firewall| firewall.spec.name == name)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

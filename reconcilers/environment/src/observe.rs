//! What is there. Owns: what a pass sees: droplets, heartbeats, the outbox, sizes, the project and the request budget. Must not: decide.

use crate::{
    EnvironmentReconciler,
    outbox::{Moment, Outgoing},
    project::Membership,
    sizes::Sizes,
};
use digitalocean::Priority;
use fleet::Sighting;
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, EnvironmentRecord};
use runtime::{Clock, Error, Observation};

/// One environment's outside, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its droplets.
    pub sighting: Sighting,
    /// When its agent was last heard, if that is later than the record says. Heartbeats that change nothing else notify nobody,
    /// so a record in memory can be behind.
    pub heard_at: Option<Timestamp>,
    /// What this process has and has not sent.
    pub outgoing: Outgoing,
    /// The sizes that DigitalOcean offers.
    pub sizes: Sizes,
    /// Which of its droplets are in the configured project.
    pub project: Membership,
    /// Until when the request budget has no room for a create, as far as it is known; `None` when one could be sent now.
    pub short_until: Option<Timestamp>,
    /// Whether creates have to wait, or had to a moment ago: what can wait for the next sweep is not looked for.
    pub short: bool,
}

impl EnvironmentReconciler {
    /// What memory holds, beside the droplets.
    pub(crate) fn observed(&self, id: EnvironmentId, sighting: Sighting) -> Observed {
        let project = match &sighting.droplets {
            Observation::Present(droplets) => self.project.membership(droplets.iter().map(|droplet| droplet.id)),
            Observation::Unknown | Observation::Absent => self.project.membership(std::iter::empty()),
        };
        let now = self.moment();
        Observed {
            sighting,
            heard_at: self.heartbeats.heard_at(id),
            outgoing: self.outbox.outgoing(id, now),
            sizes: self.sizes.sizes(now),
            project,
            short_until: self.short_until(),
            short: self.client.budget().is_short(),
        }
    }

    fn short_until(&self) -> Option<Timestamp> {
        let left = self.client.budget().pending(Priority::Create)?;
        self.leases.clock().now().checked_add(left).ok()
    }

    /// Asks the database how far the latest intent is, once for each intent: from then on this process's own clock tells.
    pub(crate) async fn ask_standing(&self, id: EnvironmentId, record: &EnvironmentRecord) -> Result<(), Error> {
        let Some(intent) = &record.intent else { return Ok(()) };
        let known = self.outbox.outgoing(id, self.moment()).standing;
        if known.is_some_and(|known| known.intent == intent.id && known.unenrolled.is_some()) {
            return Ok(());
        }
        let told = self.database.intent_standing(id).await;
        if let Some(told) = told.map_err(|error| Error::from(&error))? {
            self.outbox.learn(id, told, self.moment());
        }
        Ok(())
    }

    /// Now, by the monotonic clock of this process.
    pub(crate) fn moment(&self) -> Moment {
        SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}

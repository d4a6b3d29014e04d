//! What the next sweep would come to, for whoever only wants to know: nothing of it is stored.
//!
//! Owns: reading the lists anew, and taking over what earlier sweeps left in doubt. Must not: ask by id for what is missing: the
//! sweeps do. Promises: the same lists are read and judged in the same way as by a sweep.

use crate::{
    droplets::Fleet,
    firewalls::Firewalls,
    ledger::{Ledger, List},
    sweep::{Config, Judged, SweepError, judged, source::Source},
    trust::Trust,
};
use digitalocean::Client;
use jiff::{SignedDuration, Timestamp};
use model::EnvironmentId;
use runtime::{Clock, SharedClock};
use schema::{Database, FleetKind, FleetRow, Standing};
use std::collections::HashMap;

/// Surveys into memories of their own.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Where sweeps are stored.
    pub database: Database,
    /// Reads the lists.
    pub client: Client,
    /// What is told about droplets.
    pub fleet: Fleet,
    /// What is told about firewalls.
    pub firewalls: Firewalls,
    /// Whose, and when a list is in doubt.
    pub config: Config,
    /// What is read is dated by it.
    pub clock: SharedClock,
}

impl Survey {
    /// Takes over whether the last sweep believed its lists, and nothing else. Costs no request.
    pub async fn recall(&self) -> Result<(), SweepError> {
        for kind in [FleetKind::Droplets, FleetKind::Firewalls] {
            let last = self.database.fleet_sweep_get(kind).await?;
            let trust = Trust::from(last.withheld.as_ref());
            self.tell(kind, Vec::new(), false, None, trust, last.failure.as_deref())?;
        }
        Ok(())
    }

    /// Lists everything, by two lists. Returns for how long each environment's droplets have been in sight, by the database's
    /// clock.
    pub async fn look(&self) -> Result<HashMap<EnvironmentId, SignedDuration>, SweepError> {
        let (in_sight, _) = tokio::try_join!(self.list(FleetKind::Droplets), self.list(FleetKind::Firewalls))?;
        Ok(in_sight)
    }

    async fn list(&self, kind: FleetKind) -> Result<HashMap<EnvironmentId, SignedDuration>, SweepError> {
        let asked = self.clock.now();
        let mut ledger = Ledger::new(self.database.fleet_list(kind).await?);
        let source = Source::new(&self.client, self.config.installation.clone(), kind);
        let Judged { before, list, verdict } = judged(&self.database, &source, &self.config.limits, &ledger).await?;
        let began = match list {
            List::Whole(_) => Some(asked),
            // What is known is as old as the last whole list.
            List::Truncated(_) => before.age.and_then(|age| asked.checked_sub(age).ok()),
        };
        ledger.take(verdict.rows);
        let rows = ledger.into_rows();
        let in_sight = in_sight(&rows, before.now);
        let trust = Trust::from(verdict.withheld.as_ref());
        self.tell(kind, rows, true, began, trust, before.failure.as_deref())?;
        Ok(in_sight)
    }

    fn tell(
        &self,
        kind: FleetKind,
        rows: Vec<FleetRow>,
        whole: bool,
        began: Option<Timestamp>,
        trust: Trust,
        failure: Option<&str>,
    ) -> Result<(), SweepError> {
        match kind {
            FleetKind::Droplets => self.fleet.load(rows, whole, began, trust)?,
            FleetKind::Firewalls => {
                self.firewalls.load(rows, whole, began, trust)?;
                self.firewalls.base_failed(failure);
            }
        }
        Ok(())
    }
}

/// For how long each environment has had something in sight: the longest of what it has.
fn in_sight(rows: &[FleetRow], now: Timestamp) -> HashMap<EnvironmentId, SignedDuration> {
    let mut longest: HashMap<EnvironmentId, SignedDuration> = HashMap::new();
    for row in rows.iter().filter(|row| row.standing == Standing::Seen) {
        let Some(environment) = row.environment_id else { continue };
        let age = longest.entry(environment).or_default();
        *age = now.duration_since(row.since).max(*age);
    }
    longest
}

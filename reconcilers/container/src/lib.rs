//! Runs inside the agent: keeps one droplet's containers as its desired set says.
//!
//! ```text
//! DesiredHandle --+                                  +--> ReportBoard: reports  -> heartbeat
//!                 +--> load/observe/decide/act ------+
//! Engine ---------+         (runtime::Controller)    +--> ReportBoard: endpoints -> proxy
//! ```
//!
//! Owns: containers and the network that carry this droplet's label, and nothing else on the engine. Must not: speak to the control
//! plane, keep anything on disk, or import sqlx. Promises: it recovers from a restart of itself or of the engine by labels alone;
//! there is never more than one container of an instance; an engine that does not answer leads to neither a create nor a delete.

mod act;
mod board;
mod container;
mod creation;
pub mod decide;
mod desired;
mod engine;
mod image;
pub mod labels;
mod ledger;
mod network;
mod observe;
mod probe;
mod pulls;
mod purge;
pub mod spec_hash;
mod wakes;

pub use act::{Action, Target};
pub use board::{Endpoint, Endpoints, ReportBoard, Verdict};
pub use container::{Container, ContainerId, Exit, Lifecycle, Readiness};
pub use creation::SHIM;
pub use desired::{DesiredHandle, Offer, Wanted};
pub use engine::{Engine, EngineError};
pub use image::Image;
pub use ledger::{Failure, Ledger};
pub use observe::Observed;
pub use pulls::Pull;
pub use purge::{Purged, purge};
pub use wakes::Wakes;

use act::Hands;
use jiff::Timestamp;
use model::{DropletId, EnvironmentId, InstanceId};
use observe::{Cache, Look};
use probe::Prober;
use pulls::Pulls;
use runtime::{Error, Plan, Read, Reconciler};
use std::{path::PathBuf, time::Duration};

/// Whose containers these are, and what goes into them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The droplet that the agent runs on.
    pub droplet_id: DropletId,
    /// The environment that the droplet belongs to.
    pub environment_id: EnvironmentId,
    /// The static `exec` shim on the engine's machine: absolute, executable by everyone. Mounted read-only as every container's
    /// entrypoint and called as `exec -- command...`.
    pub shim_path: PathBuf,
    /// How often every instance is looked at when nothing happens.
    pub resync: Duration,
}

/// The reconciler of one droplet's containers. Key: an instance.
#[derive(Debug)]
pub struct ContainerReconciler {
    engine: Engine,
    config: Config,
    desired: DesiredHandle,
    board: ReportBoard,
    cache: Cache,
    prober: Prober,
    pulls: Pulls,
    network: tokio::sync::Mutex<()>,
}

impl ContainerReconciler {
    /// Reads what is wanted from `desired`, and writes what it sees to `board`. Does not reach the engine yet.
    pub fn new(engine: Engine, config: Config, desired: DesiredHandle, board: ReportBoard) -> Self {
        Self {
            pulls: Pulls::new(engine.clone()),
            engine,
            config,
            desired,
            board,
            cache: Cache::default(),
            prober: Prober::default(),
            network: tokio::sync::Mutex::new(()),
        }
    }

    /// What the controller is to be run with: an endless stream of keys. Call it within a Tokio runtime, once.
    pub fn wakes(&self) -> Wakes {
        wakes::follow(wakes::Sources {
            engine: self.engine.clone(),
            droplet: self.config.droplet_id,
            desired: self.desired.clone(),
            board: self.board.clone(),
            cache: self.cache.clone(),
            pulls: self.pulls.clone(),
            resync: self.config.resync,
        })
    }
}

impl Reconciler for ContainerReconciler {
    type Key = InstanceId;
    type Desired = Wanted;
    type Observed = Observed;
    type Action = Action;
    type Status = Verdict;

    const KIND: &'static str = "container";

    /// `None` as long as the agent holds no desired set.
    async fn load(&self, key: &InstanceId, _read: Read) -> Result<Option<Wanted>, Error> {
        Ok(self.desired.wanted(*key))
    }

    async fn observe(&self, key: &InstanceId, desired: &Wanted, read: Read) -> Result<Observed, Error> {
        let pull = match desired {
            Wanted::Instance(instance) => self.pulls.get(&instance.container.image),
            Wanted::Nothing => None,
        };
        let look = Look {
            engine: &self.engine,
            config: &self.config,
            cache: &self.cache,
            prober: &self.prober,
            last: self.board.verdict(*key),
        };
        Ok(look.at(*key, desired, pull, read).await)
    }

    fn decide(&self, desired: &Wanted, observed: &Observed, now: Timestamp) -> Plan<Action, Verdict> {
        decide::decide(desired, observed, now)
    }

    async fn act(&self, key: &InstanceId, desired: &Wanted, action: &Action) -> Result<(), Error> {
        let hands = Hands {
            engine: &self.engine,
            config: &self.config,
            pulls: &self.pulls,
            network: &self.network,
        };
        let outcome = hands.carry_out(*key, desired, action).await;
        self.cache.invalidate(*key);
        outcome
    }

    async fn write_status(
        &self,
        key: &InstanceId,
        desired: &Wanted,
        status: Option<Verdict>,
        failure: Option<runtime::Failure<'_, Action>>,
    ) -> Result<(), Error> {
        let mut verdict = status.unwrap_or_else(|| self.board.verdict(*key));
        if let Some(failure) = failure {
            verdict = decide::after_failure(verdict, desired, failure.error, Timestamp::now());
        }
        if verdict.report.is_none() {
            self.prober.keep(*key, &[]);
            self.cache.forget(*key);
        }
        self.board.write(*key, &verdict);
        Ok(())
    }
}

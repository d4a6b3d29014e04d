//! Starting and ending.

use crate::{
    ReplicaConfig,
    controllers::start_controllers,
    endpoints::{self, Listeners},
    parts::{Failure, Parts},
    prepared::{Prepared, StartError},
};
use futures::FutureExt;
use schema::{LeaseConfig, LeaseKeeper};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A replica that runs. Dropping it ends it where it stands; [`Replica::kill`] also waits until nothing of it runs any more.
#[derive(Debug)]
pub struct Replica {
    prepared: Prepared,
    keeper: LeaseKeeper,
    parts: Parts,
    leases: AbortOnDropHandle<()>,
    /// Two ends: first no new work, and only when all work has ended no leases, which others wait for.
    working: CancellationToken,
    holding: CancellationToken,
}

impl Replica {
    /// Connects, checks, and begins to work.
    pub async fn start(config: ReplicaConfig, listeners: Listeners) -> Result<Self, StartError> {
        let prepared = Prepared::new(config).await?;
        let certificate = if prepared.config.plain_http {
            None
        } else {
            let issued = prepared.authority.issue_server(&endpoints::names(&prepared, &listeners.api));
            Some(issued.map_err(|source| StartError::Certificate {
                what: "public_url: no certificate for it",
                source,
            })?)
        };
        let (working, holding) = (CancellationToken::new(), CancellationToken::new());
        let keeper = LeaseKeeper::new(
            prepared.lease_database.clone(),
            LeaseConfig {
                ttl: prepared.config.lease,
                name: prepared.config.name.clone(),
            },
        );
        let leases = AbortOnDropHandle::new(tokio::spawn(keeper.clone().run(holding.clone())));
        let mut parts = Parts::default();
        start_controllers(&prepared, &keeper, &mut parts, &working);
        let serving = endpoints::serve(prepared.clone(), listeners, certificate, working.clone());
        parts.start("the HTTP API", working.clone(), serving.boxed());
        Ok(Self {
            prepared,
            keeper,
            parts,
            leases,
            working,
            holding,
        })
    }

    /// The shards that it holds, in order.
    pub fn shards(&self) -> Vec<u16> {
        self.keeper.owned()
    }

    /// The first part that ends by itself; never while all is well.
    pub async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.parts.failed() => failure,
            ended = &mut self.leases => leases_ended(ended),
        }
    }

    /// Passes under way may end, then the leases are released, so that another replica takes over at once.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.working.cancel();
        let failed = self.parts.ended().await;
        self.holding.cancel();
        // A keeper that ended before has been told of by `failed`.
        let unreleased = if self.leases.is_finished() {
            None
        } else {
            (&mut self.leases).await.err().map(|error| leases_ended(Err(error)))
        };
        self.prepared.close().await;
        failed.or(unreleased).map_or(Ok(()), Err)
    }

    /// Ends everything where it stands: no pass is finished, no status is written, no lease is released.
    pub async fn kill(mut self) {
        self.leases.abort();
        self.parts.kill().await;
        if !self.leases.is_finished() {
            // That it was aborted is what was asked for.
            let _ = (&mut self.leases).await;
        }
    }
}

fn leases_ended(ended: Result<(), tokio::task::JoinError>) -> Failure {
    Failure {
        part: "leases",
        source: ended.err().map(Into::into),
    }
}

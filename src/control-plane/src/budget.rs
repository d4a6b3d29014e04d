//! The request budget that replicas share, kept in the database. Owns: nothing; what the crate of DigitalOcean asks a ledger is what the
//! database answers.

use digitalocean::{Ask, Budget, Ledger, LedgerError, Lengths, Priority, Settled, Taken};
use futures::{FutureExt, future::BoxFuture};
use schema::{Database, LeaseKeeper, RequestAsk, RequestGrant, RequestLengths};
use std::{num::NonZeroU32, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The ledger in the database, as one replica uses it.
#[derive(Debug)]
struct DatabaseLedger {
    database: Database,
    replica: Uuid,
}

/// Takes the budget's requests from the database until shutdown. The database is that of the leases: who waits for a request must
/// not wait for anybody's query before.
pub(crate) async fn share(budget: Budget, database: Database, keeper: LeaseKeeper, shutdown: CancellationToken) {
    let ledger = DatabaseLedger {
        database,
        replica: keeper.holder(),
    };
    let mut replicas = keeper.replicas();
    let count = async {
        loop {
            let known = *replicas.borrow_and_update();
            budget.divide(NonZeroU32::new(known).unwrap_or(NonZeroU32::MIN));
            if replicas.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = budget.share(&ledger, shutdown.cancelled()) => {}
        () = count => {}
    }
}

/// Has a budget know how the shared one stands, and takes nothing of it.
pub(crate) async fn consult(budget: &Budget, database: Database) -> Result<(), LedgerError> {
    let ledger = DatabaseLedger {
        database,
        // Nobody: nothing is taken.
        replica: Uuid::nil(),
    };
    budget.consult(&ledger).await
}

impl Ledger for DatabaseLedger {
    fn take<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Taken, LedgerError>> {
        async move {
            let ask = RequestAsk {
                wanted: numbers(&ask.wanted),
                minute_ceilings: numbers(&ask.minute),
                hour_ceilings: numbers(&ask.hour),
                lasts: ask.lasts,
                under_way: ask.under_way,
                lengths: lengths(ask.lengths),
            };
            let grant = self.database.requests_take(self.replica, &ask).await.map_err(away)?;
            Ok(match grant {
                RequestGrant::Block { id, requests } => Taken::Granted { block: id, requests },
                RequestGrant::Later(after) => Taken::Later(after),
            })
        }
        .boxed()
    }

    fn wait<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<[Duration; Priority::COUNT], LedgerError>> {
        async move {
            let waits = self.database.requests_wait(&numbers(&ask.minute), &numbers(&ask.hour)).await;
            let waits: Result<[Duration; Priority::COUNT], _> = waits.map_err(away)?.try_into();
            waits.map_err(|waits| LedgerError(format!("{} answers for {} priorities", waits.len(), Priority::COUNT).into()))
        }
        .boxed()
    }

    fn settle<'a>(&'a self, settled: &'a [Settled], of: Lengths) -> BoxFuture<'a, Result<(), LedgerError>> {
        async move {
            let sent: Vec<(i64, u32)> = settled.iter().map(|settled| (settled.block, settled.sent)).collect();
            self.database.requests_settle(&sent, lengths(of)).await.map_err(away)
        }
        .boxed()
    }

    fn block(&self, wait: Duration) -> BoxFuture<'_, Result<(), LedgerError>> {
        async move { self.database.requests_block(wait).await.map_err(away) }.boxed()
    }
}

fn numbers(by_priority: &[u32]) -> Vec<i32> {
    by_priority
        .iter()
        .map(|number| i32::try_from(*number).unwrap_or(i32::MAX))
        .collect()
}

fn lengths(of: Lengths) -> RequestLengths {
    RequestLengths {
        minute: of.minute,
        hour: of.hour,
    }
}

fn away(error: schema::Error) -> LedgerError {
    LedgerError(error.into())
}

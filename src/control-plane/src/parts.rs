//! Tasks that run until they are told to end, and end together.

use futures::{FutureExt, future::BoxFuture};
use std::{any::Any, error::Error, panic::AssertUnwindSafe};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A part ended by itself. Without it the others would go on as if all were well.
#[derive(Debug, thiserror::Error)]
#[error("{part} ended by itself")]
pub struct Failure {
    /// Which: `fleet sweep`.
    pub part: &'static str,
    /// Why, as far as it said so. What panicked has said so in the log.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    fn of(part: &'static str, ended: Result<Result<(), Box<dyn Error + Send + Sync>>, Box<dyn Any + Send>>) -> Self {
        let source = match ended {
            Ok(ended) => ended.err(),
            Err(_) => Some("it panicked; see the log".into()),
        };
        Self { part, source }
    }
}

/// What a part comes to.
pub(crate) type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// Parts that run. Dropping them ends them where they stand.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    tasks: JoinSet<Option<Failure>>,
}

impl Parts {
    /// Runs one more, in a task of its own. It may end once `shutdown` was asked for.
    pub(crate) fn start(&mut self, name: &'static str, shutdown: CancellationToken, part: BoxFuture<'static, Ended>) {
        self.tasks.spawn(async move {
            // A panic unwinds to here, where its part still has a name.
            let ended = AssertUnwindSafe(part).catch_unwind().await;
            let well = shutdown.is_cancelled() && matches!(ended, Ok(Ok(())));
            (!well).then(|| Failure::of(name, ended))
        });
    }

    /// The first part that ends without having been told to.
    pub(crate) async fn failed(&mut self) -> Failure {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Some(failure))) => return failure,
                Some(Ok(None) | Err(_)) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Waits until every part has ended, and returns the first that failed on its way out.
    pub(crate) async fn ended(&mut self) -> Option<Failure> {
        let mut first = None;
        while let Some(ended) = self.tasks.join_next().await {
            first = first.or(ended.ok().flatten());
        }
        first
    }

    /// Ends every part where it stands.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }
}

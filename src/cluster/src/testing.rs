//! For tests: one cluster a process, one fresh database a test.
//!
//! The databases are copies of a template that is prepared once (migrated, usually), so a test pays for a copy only. The cluster
//! is never dropped: its server ends with the process, and its directory is swept up by the next run.

use crate::{Cluster, Error, Options};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

static SHARED: OnceCell<Cluster> = OnceCell::const_new();
static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);
const TEMPLATE_NAME: &str = "template_of_tests";

/// The process's cluster. Tests that stop or kill the server start their own instead.
pub async fn cluster() -> Result<&'static Cluster, Error> {
    SHARED.get_or_try_init(|| Cluster::start(Options::default())).await
}

/// The address of a fresh empty database.
pub async fn empty_database() -> Result<String, Error> {
    cluster().await?.create_database(&next_name()).await
}

/// The address of a fresh database as `prepare` leaves it. `prepare` runs once in a process, with the address of the template,
/// and must have closed its connections when it returns; tests of one process all prepare alike.
///
/// ```ignore
/// let url = cluster::testing::database::<Failure, _>(async |url| {
///     let database = schema::Database::connect(&schema::ConnectOptions::new(url.into(), None)).await?;
///     database.migrate().await?;
///     database.close().await;
///     Ok(())
/// })
/// .await?;
/// ```
pub async fn database<E, F>(prepare: F) -> Result<String, E>
where
    E: From<Error>,
    F: AsyncFnOnce(String) -> Result<(), E>,
{
    let cluster = cluster().await?;
    TEMPLATE
        .get_or_try_init(async || {
            let url = cluster.create_database(TEMPLATE_NAME).await?;
            prepare(url).await
        })
        .await?;
    Ok(cluster.copy_database(&next_name(), TEMPLATE_NAME).await?)
}

fn next_name() -> String {
    format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

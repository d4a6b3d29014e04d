//! What `toolplane doctor` and `serve` ask before they rely on a database.

use crate::{Database, Error};
use sqlx::{Connection, Row, postgres::PgListener};
use std::time::Duration;
use uuid::Uuid;

/// Rounds of the pooler check; a transaction pooler hands out the connection that was used last, so one usually suffices.
const ROUNDS: usize = 5;

impl Database {
    /// The server's version, such as `15.14`.
    pub async fn server_version(&self) -> Result<String, Error> {
        Ok(
            sqlx::query_scalar!(r#"select current_setting('server_version') as "version!""#)
                .fetch_one(&self.pool)
                .await?,
        )
    }

    /// Whether a pooler in transaction mode stands in between: two connections of ours, both open, that turn out to be one
    /// backend. Such a pooler has no LISTEN and no session settings, so that `set role` would leak to others.
    pub async fn is_transaction_pooler(&self) -> Result<bool, Error> {
        for _ in 0..ROUNDS {
            let (mut first, mut second) = (self.pool.acquire().await?, self.pool.acquire().await?);
            let of_first = backend(&mut first).await?;
            let mut transaction = second.begin().await?;
            let of_second = backend(&mut transaction).await?;
            transaction.rollback().await?;
            if of_first == of_second {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a notification that is sent over one connection arrives over another within this time.
    pub async fn listen_delivers(&self, timeout: Duration) -> Result<bool, Error> {
        let channel = format!("toolplane_doctor_{}", Uuid::new_v4().simple());
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(&channel).await?;
        sqlx::query!("select pg_notify($1, 'hello')", channel)
            .execute(&self.pool)
            .await?;
        match tokio::time::timeout(timeout, listener.recv()).await {
            Ok(received) => Ok(received?.payload() == "hello"),
            Err(_) => Ok(false),
        }
    }
}

/// A simple query: through such a pooler a prepared one would fail instead of answering.
async fn backend(connection: &mut sqlx::PgConnection) -> Result<i32, Error> {
    let row = sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?;
    Ok(row.try_get(0)?)
}

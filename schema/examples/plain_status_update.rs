//! What writing statuses back is compared with (`bench-loop status`): the status of every environment, changed, as plain `update`s in
//! batches, without any check: no lease, no generation, no row passed over that somebody else has locked. Prints rows a second.
//!
//! It stands here because only `schema` speaks SQL. Every column of a status is sent, as it is by `Database::environment_status_write`,
//! over connections that are set up as [`Database`]'s are. The statuses are in memory when the clock starts. The size of batch and the
//! number of connections are those at which it is fastest: of 250, 500 and 1,000 rows over one or two connections, 500 over two.
//!
//! `plain_status_update URL MESSAGE OBSERVED_AT`: the message goes to the fourth condition.

use futures::{StreamExt, TryStreamExt, stream};
use jiff_sqlx::ToSqlx;
use model::Environment;
use schema::{ConnectOptions, Database, Role};
use sqlx::{
    Executor,
    postgres::{PgPool, PgPoolOptions},
};
use std::{env, error::Error, net::IpAddr, time::Instant};
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rows of one `update`.
const BATCH: usize = 500;
/// `update`s at once. Each commits by itself.
const CONNECTIONS: u32 = 2;

#[tokio::main]
async fn main() -> Result<()> {
    let [url, message, observed_at] = env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "plain_status_update URL MESSAGE OBSERVED_AT")?;
    let rows = rows(&url, &message, observed_at.parse()?).await?;
    let pool = connect(&url).await?;
    let began = Instant::now();
    stream::iter(rows.chunks(BATCH))
        .map(async |rows| Batch::of(rows)?.write(&pool).await)
        .buffer_unordered(usize::try_from(CONNECTIONS)?)
        .try_collect::<()>()
        .await?;
    let took = began.elapsed();
    pool.close().await;
    println!("{:.0}", f64::from(u32::try_from(rows.len())?) / took.as_secs_f64());
    Ok(())
}

/// Every environment, its status changed.
async fn rows(url: &str, message: &str, observed_at: jiff::Timestamp) -> Result<Vec<Environment>> {
    let options = ConnectOptions::new(url.to_owned().into(), Some(Role::Controller));
    let database = Database::connect(&options).await?;
    let mut rows = database.environment_list().await?;
    database.close().await;
    for Environment { status, .. } in &mut rows {
        let told = status.conditions.0.get_mut(3).ok_or("there are four conditions")?;
        told.message = message.into();
        status.observed_at = Some(observed_at);
    }
    Ok(rows)
}

async fn connect(url: &str) -> Result<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            let set_up = sqlx::raw_sql("set jit = off; set role toolplane_controller");
            Box::pin(async move { connection.execute(set_up).await.map(drop) })
        });
    Ok(pool.connect(url).await?)
}

/// One `update`, as arrays.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    phases: Vec<String>,
    droplet_ids: Vec<Option<i64>>,
    ip_addresses: Vec<Option<IpAddr>>,
    droplets_created_at: Vec<Option<jiff_sqlx::Timestamp>>,
    error_messages: Vec<Option<String>>,
    observed_generations: Vec<i64>,
    conditions: Vec<String>,
    observed_at: Vec<Option<jiff_sqlx::Timestamp>>,
}

impl Batch {
    fn of(rows: &[Environment]) -> Result<Self> {
        let mut batch = Self::default();
        for Environment { id, status, .. } in rows {
            batch.ids.push(id.0);
            let phase = serde_json::to_string(&status.phase)?;
            batch.phases.push(phase.trim_matches('"').to_owned());
            let droplet_id = status.droplet_id.map(|id| id.0.try_into()).transpose()?;
            batch.droplet_ids.push(droplet_id);
            batch.ip_addresses.push(status.ip_address);
            batch.droplets_created_at.push(status.droplet_created_at.map(ToSqlx::to_sqlx));
            batch.error_messages.push(status.error_message.as_deref().map(Into::into));
            batch.observed_generations.push(status.observed_generation);
            batch.conditions.push(serde_json::to_string(&status.conditions)?);
            batch.observed_at.push(status.observed_at.map(ToSqlx::to_sqlx));
        }
        Ok(batch)
    }

    async fn write(&self, pool: &PgPool) -> Result<()> {
        let written = sqlx::query(
            "update account_tool_environments as environment
            set status = new.status::account_environment_status_enum, do_droplet_id = new.do_droplet_id,
                ip_address = new.ip_address, do_created_at = new.do_created_at, error_message = new.error_message,
                observed_generation = new.observed_generation, conditions = new.conditions::jsonb, observed_at = new.observed_at
            from unnest(
                $1::uuid[], $2::text[], $3::bigint[], $4::inet[], $5::timestamptz[], $6::text[], $7::bigint[], $8::text[],
                $9::timestamptz[]
            ) as new (
                id, status, do_droplet_id, ip_address, do_created_at, error_message, observed_generation, conditions, observed_at
            )
            where environment.id = new.id",
        )
        .bind(&self.ids)
        .bind(&self.phases)
        .bind(&self.droplet_ids)
        .bind(&self.ip_addresses)
        .bind(&self.droplets_created_at)
        .bind(&self.error_messages)
        .bind(&self.observed_generations)
        .bind(&self.conditions)
        .bind(&self.observed_at)
        .execute(pool)
        .await?;
        if written.rows_affected() == self.ids.len() as u64 {
            Ok(())
        } else {
            Err("a row is not there".into())
        }
    }
}

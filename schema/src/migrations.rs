//! The migrations, embedded. The same files are what `supabase db push` takes, which keeps its own record of them.

use crate::{Database, Error};
use sqlx::{PgConnection, migrate::Migrator};
use std::collections::HashSet;

/// Not in `public`, which Supabase serves to the outside.
const TABLE: &str = "toolplane.migrations";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.create_schema("toolplane");
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

impl Database {
    /// Applies every migration that the database lacks, and returns their names. Those that `supabase db push` has applied count.
    /// Nothing happens when there is none; of two callers at once the second waits.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        let pending = self.migrations_pending().await?;
        let mut connection = self.pool.acquire().await?;
        let migrator = migrator();
        if let Some(last) = pushed(&mut connection).await?.into_iter().max() {
            migrator.skip(&mut *connection, Some(last)).await.map_err(Error::Migration)?;
        }
        migrator.run(&mut *connection).await.map_err(Error::Migration)?;
        Ok(pending)
    }

    /// The names of the migrations that the database lacks, in order.
    pub async fn migrations_pending(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.pool.acquire().await?;
        let mut applied = pushed(&mut connection).await?;
        // The tables need not exist yet, so these queries cannot be checked when the program is built.
        if exists(&mut connection, TABLE).await? {
            let versions: Vec<i64> = sqlx::query_scalar("select version from toolplane.migrations where success")
                .fetch_all(&mut *connection)
                .await?;
            applied.extend(versions);
        }
        Ok(migrator()
            .iter()
            .filter(|migration| !applied.contains(&migration.version))
            .map(|migration| format!("{}_{}", migration.version, migration.description.replace(' ', "_")))
            .collect())
    }
}

/// The versions that the Supabase command line has applied.
async fn pushed(connection: &mut PgConnection) -> Result<HashSet<i64>, Error> {
    if !exists(connection, "supabase_migrations.schema_migrations").await? {
        return Ok(HashSet::new());
    }
    let versions: Vec<String> = sqlx::query_scalar("select version from supabase_migrations.schema_migrations")
        .fetch_all(connection)
        .await?;
    let known: HashSet<i64> = migrator().iter().map(|migration| migration.version).collect();
    // A project's own migrations stand beside ours.
    Ok(versions
        .iter()
        .filter_map(|version| version.parse().ok())
        .filter(|version| known.contains(version))
        .collect())
}

async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(table)
        .fetch_one(connection)
        .await?)
}

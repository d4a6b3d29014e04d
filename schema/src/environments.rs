//! `account_tool_environments`: reading rows. `statuses.rs` writes what was observed.

use crate::{Database, Error};
use model::Environment;
use sqlx::types::Json;

impl Database {
    /// Every environment, oldest first.
    pub async fn environment_list(&self) -> Result<Vec<Environment>, Error> {
        let rows = sqlx::query_scalar!(
            r#"select to_jsonb(environment) as "row!: Json<Environment>"
            from account_tool_environments as environment
            order by created_at, id"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }
}

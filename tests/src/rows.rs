//! The rows, as users write and read them.
//!
//! Owns: the SQL of stories, and waiting for what a row must come to say. Must not: assert anything about the product.

use crate::{eventually, sql::Sql};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// One database's rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// SQL as the database's owner.
    pub sql: Sql,
}

impl Rows {
    /// Those of the database at this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self { sql: Sql::new(url) }
    }

    /// The example tool, by where its image is.
    pub async fn insert_catalog(&self, package: &str) {
        self.sql
            .must(&format!(
                "insert into tool_catalog (tool_name, package_identifier, version_info, default_config_template) values \
                 ('Reasoning MCP Server', '{package}', '{{\"available_versions\": [\"1.0.0\", \"1.1.0\"], \"default_version\": \"1.0.0\"}}', \
                 '{{\"container_port\": 8080, \"memory_mb\": 64, \"probe\": {{\"type\": \"mcp\", \"path\": \"/mcp\"}}}}')"
            ))
            .await;
    }

    /// A new user; gives the id.
    pub async fn insert_user(&self) -> String {
        let user = Uuid::new_v4();
        self.sql.must(&format!("insert into auth.users (id) values ('{user}')")).await;
        user.to_string()
    }

    /// A new user with an environment; gives the environment's id.
    pub async fn insert_environment(&self) -> String {
        self.insert_environment_with(&[]).await
    }

    /// As [`insert_environment`](Self::insert_environment), with other values in some columns.
    pub async fn insert_environment_with(&self, values: &[(&str, &str)]) -> String {
        let user = self.insert_user().await;
        let usual = [
            ("user_id", user.as_str()),
            ("region_slug", "nyc3"),
            ("size_slug", "s-1vcpu-1gb"),
            ("image_slug", "ubuntu-22-04-x64"),
        ];
        let columns: BTreeMap<&str, &str> = usual.iter().chain(values).copied().collect();
        let names: Vec<&str> = columns.keys().copied().collect();
        let values: Vec<String> = columns.values().map(|value| format!("'{value}'")).collect();
        self.sql
            .must(&format!(
                "insert into account_tool_environments ({}) values ({}) returning id",
                names.join(", "),
                values.join(", ")
            ))
            .await
    }

    /// A new instance of the example tool; gives its id.
    pub async fn insert_instance(&self, environment: &str, name: &str, version: &str) -> String {
        self.sql
            .must(&format!(
                "insert into account_tool_instances (account_tool_environment_id, tool_catalog_id, instance_name, version_to_run) \
                 select '{environment}', id, '{name}', '{version}' from tool_catalog returning id"
            ))
            .await
    }

    async fn row(&self, table: &str, id: &str) -> Value {
        let text = self
            .sql
            .must(&format!("select to_jsonb(row) from {table} row where id = '{id}'"))
            .await;
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The environment's row as JSON; `null` when there is none.
    pub async fn environment(&self, id: &str) -> Value {
        self.row("account_tool_environments", id).await
    }

    /// The instance's row as JSON; `null` when there is none.
    pub async fn instance(&self, id: &str) -> Value {
        self.row("account_tool_instances", id).await
    }

    /// Waits for a status of the environment that speaks of its current generation.
    pub async fn until_environment(&self, id: &str, status: &str) {
        let settled = |row: &Value| row["status"] == status && row["observed_generation"] == row["generation"];
        self.until_environment_is(id, status, settled).await;
    }

    /// Waits for the environment's row to be as told.
    pub async fn until_environment_is(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) {
        let is = &is;
        eventually(&format!("environment {id} to be {what}"), || async move {
            let row = self.environment(id).await;
            if is(&row) { Ok(()) } else { Err(row) }
        })
        .await;
    }

    /// Waits for a status of the instance that speaks of its current generation.
    pub async fn until_instance(&self, id: &str, status: &str) {
        let settled = |row: &Value| row["status"] == status && row["observed_generation"] == row["generation"];
        self.until_instance_is(id, status, settled).await;
    }

    /// Waits for the instance's row to be as told.
    pub async fn until_instance_is(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) {
        let is = &is;
        eventually(&format!("instance {id} to be {what}"), || async move {
            let row = self.instance(id).await;
            if is(&row) { Ok(()) } else { Err(row) }
        })
        .await;
    }

    /// Waits until these conditions of the environment are `True`.
    pub async fn until_conditions_hold(&self, id: &str, kinds: &[&str]) {
        let holds = |row: &Value, kind: &str| {
            let conditions = row["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition["type"] == kind && condition["status"] == "True")
        };
        self.until_environment_is(id, &kinds.join(" and "), |row| kinds.iter().all(|kind| holds(row, kind)))
            .await;
    }

    /// Every row of every table with the transaction that wrote it: whatever is written changes it. The replicas' own rows, which
    /// are renewed all the time, are among them.
    pub async fn every_row(&self) -> String {
        let tables = "select string_agg(format('select %L, xmin::text, ctid::text, to_jsonb(t)::text from %s t', oid::regclass, \
             oid::regclass), ' union all ' order by oid::regclass::text) from pg_class \
             where relkind = 'r' and relnamespace in ('public'::regnamespace, 'auth'::regnamespace, 'toolplane'::regnamespace)";
        let query = self.sql.must(tables).await;
        let rows = self.sql.must(&format!("{query} order by 1, 3")).await;
        assert!(rows.contains("tool_catalog"), "{rows}");
        rows
    }

    /// The environment's events, one a line, oldest first.
    pub async fn events(&self, environment: &str) -> String {
        let query = format!(
            "select reason || ': ' || message from reconcile_events where environment_id = '{environment}' order by first_seen, id"
        );
        self.sql.must(&query).await
    }
}

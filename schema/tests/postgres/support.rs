//! A database to play in, and the people who play.

use model::{
    CatalogEntry, CatalogId, DropletId, EnvironmentId, EnvironmentSpec, EnvironmentStatus, InstanceId, InstanceSpec, UserId,
};
use schema::{ConnectOptions, Database, Fence, Refusal, Role};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row, postgres::PgPoolOptions};
use uuid::Uuid;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A fresh migrated database, seen by everybody who has a part in it.
pub(crate) struct Scene {
    pub(crate) url: String,
    /// The superuser, who is subject to nothing but triggers.
    pub(crate) admin: PgPool,
    pub(crate) controller: Database,
    pub(crate) service: Database,
}

pub(crate) async fn connect(url: &str, role: Option<Role>) -> Database {
    Database::connect(&ConnectOptions::new(url.into(), role)).await.unwrap()
}

async fn migrate(url: String) -> Result<(), Failure> {
    let database = connect(&url, None).await;
    database.migrate().await?;
    database.close().await;
    Ok(())
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let url = cluster::testing::database::<Failure, _>(migrate).await.unwrap();
        Self::over(url).await
    }

    /// Over a database that was migrated otherwise.
    pub(crate) async fn over(url: String) -> Self {
        Self {
            admin: PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap(),
            controller: connect(&url, Some(Role::Controller)).await,
            service: connect(&url, Some(Role::Service)).await,
            url,
        }
    }

    pub(crate) async fn user(&self) -> UserId {
        let id = UserId::random();
        let _ = self.service.user_ensure(id).await.unwrap();
        id
    }

    /// An active environment of a new user.
    pub(crate) async fn environment(&self) -> EnvironmentId {
        self.environment_of(self.user().await).await
    }

    pub(crate) async fn environment_of(&self, user: UserId) -> EnvironmentId {
        self.service.apply_environment(&environment_spec(user)).await.unwrap().0
    }

    /// The one tool of the catalog.
    pub(crate) async fn tool(&self) -> CatalogId {
        self.service.apply_catalog_entry(&catalog_entry()).await.unwrap().0
    }

    pub(crate) async fn instance(&self, environment: EnvironmentId, name: &str) -> InstanceId {
        let spec = instance_spec(environment, self.tool().await, name);
        self.service.apply_instance(&spec).await.unwrap().0
    }

    /// A lease on the environment's shard that nobody else will take.
    pub(crate) async fn fence(&self, id: EnvironmentId) -> Fence {
        self.fence_for(id.shard(), Uuid::new_v4()).await
    }

    /// Takes a shard's lease over, whoever holds it.
    pub(crate) async fn fence_for(&self, shard: u16, holder: Uuid) -> Fence {
        let epoch: i64 = sqlx::query_scalar(
            "update leases set holder = $2, epoch = epoch + 1, expires_at = clock_timestamp() + interval '1 hour'
            where shard = $1 returning epoch",
        )
        .bind(i16::try_from(shard).unwrap())
        .bind(holder)
        .fetch_one(&self.admin)
        .await
        .unwrap();
        Fence { shard, holder, epoch }
    }

    /// Records a droplet, as a controller does.
    pub(crate) async fn record_droplet(&self, id: EnvironmentId, droplet: u64) {
        let fence = self.fence(id).await;
        let environment = self.row(id).await;
        let status = EnvironmentStatus {
            droplet_id: Some(DropletId(droplet)),
            ..environment.status
        };
        let written = self
            .controller
            .environment_status_write(&fence, id, environment.generation, &status)
            .await
            .unwrap();
        assert_eq!(written, schema::Written::Done);
    }

    /// The environment's row, which has to be there.
    pub(crate) async fn row(&self, id: EnvironmentId) -> model::Environment {
        match self.controller.record_get(id).await.unwrap().unwrap().subject {
            model::Subject::Row(environment) => environment,
            model::Subject::Tombstone(_) => panic!("environment {id} is a tombstone"),
        }
    }

    /// Runs statements as the superuser.
    pub(crate) async fn sql(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.admin).await.unwrap();
    }

    /// What the superuser reads, in one column, as text.
    pub(crate) async fn read(&self, sql: impl Into<String>) -> Vec<String> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.into())).fetch_all(&self.admin).await.unwrap();
        rows.iter()
            .map(|row| {
                row.try_get::<Option<String>, _>(0)
                    .unwrap()
                    .unwrap_or_else(|| "null".to_owned())
            })
            .collect()
    }

    /// Runs a statement as a role, for a user if one is given; its first column as text.
    pub(crate) async fn as_role(&self, role: &str, user: Option<UserId>, sql: &str) -> Result<Vec<String>, Refusal> {
        let mut transaction = self.admin.begin().await.unwrap();
        let claims = user.map_or_else(String::new, |user| format!("{{\"sub\": \"{user}\", \"role\": \"{role}\"}}"));
        become_role(&mut transaction, role, &claims).await;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut *transaction)
            .await
            .map_err(refusal)?;
        let values = rows
            .iter()
            .map(|row| {
                row.try_get::<Option<String>, _>(0)
                    .unwrap_or_default()
                    .unwrap_or_else(|| "null".to_owned())
            })
            .collect();
        transaction.commit().await.map_err(refusal)?;
        Ok(values)
    }

    /// Runs a statement as a user of the API.
    pub(crate) async fn as_user(&self, user: UserId, sql: &str) -> Result<Vec<String>, Refusal> {
        self.as_role("authenticated", Some(user), sql).await
    }
}

pub(crate) async fn become_role(connection: &mut PgConnection, role: &str, claims: &str) {
    sqlx::query("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)")
        .bind(role)
        .bind(claims)
        .execute(connection)
        .await
        .unwrap();
}

fn refusal(error: sqlx::Error) -> Refusal {
    refused(error.into())
}

/// What the database refused; anything else is not what a test expects.
pub(crate) fn refused(error: schema::Error) -> Refusal {
    match error {
        schema::Error::Refused(refusal) => *refusal,
        other => panic!("not a refusal: {other}"),
    }
}

pub(crate) fn environment_spec(user: UserId) -> EnvironmentSpec {
    serde_json::from_value(serde_json::json!({
        "user_id": user, "region_slug": "nyc3", "size_slug": "s-1vcpu-1gb", "image_slug": "ubuntu-22-04-x64",
        "desired_state": "active", "paused": false
    }))
    .unwrap()
}

pub(crate) fn instance_spec(environment: EnvironmentId, tool: CatalogId, name: &str) -> InstanceSpec {
    serde_json::from_value(serde_json::json!({
        "account_tool_environment_id": environment, "tool_catalog_id": tool, "instance_name": name, "version_to_run": "1",
        "config_values_override": {"memory_mb": 64}, "desired_state": "running", "paused": false
    }))
    .unwrap()
}

pub(crate) fn catalog_entry() -> CatalogEntry {
    serde_json::from_value(serde_json::json!({
        "id": "00000000-0000-4000-8000-0000000000aa", "tool_name": "Echo", "description": "Repeats.",
        "packaging_type": "docker_image", "package_identifier": "acme/echo",
        "version_info": {"available_versions": ["1", "2"], "default_version": "1",
            "version_details": {"2": {"package_identifier_override": "acme/echo-next:2"}}},
        "default_config_template": {"container_port": 8080, "probe": {"type": "mcp", "path": "/mcp"}},
        "required_secrets_schema": [{"name": "API_KEY", "env_var_name": "ECHO_API_KEY"}],
        "resource_requirements": {"min_ram_mb": 64}, "status": "available"
    }))
    .unwrap()
}

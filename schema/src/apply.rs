//! What the command line writes: specifications, under the role `service_role`. What is there already and says the same is left
//! alone.

use crate::{Database, Error};
use model::{CatalogEntry, CatalogId, EnvironmentId, EnvironmentSpec, InstanceId, InstanceSpec, UserId};
use sqlx::{
    PgConnection,
    types::{Json, Uuid},
};

/// What a write changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// There was none.
    Created,
    /// It said something else.
    Configured,
    /// It said the same.
    Unchanged,
}

/// A row to write. The ids count only for rows that are not there yet.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a manifest has a handful of them, each used once")]
pub enum Change {
    /// Known by its `tool_name`.
    CatalogEntry(CatalogEntry),
    /// Known by its `user_id`.
    Environment(EnvironmentId, EnvironmentSpec),
    /// Known by its environment and its `instance_name`, which has to be given.
    Instance(InstanceId, InstanceSpec),
}

/// Why none of the changes was made.
#[derive(Debug, thiserror::Error)]
#[error("change {index}: {error}")]
pub struct ApplyError {
    /// The change that failed, counted from 0; past the last when the commit did.
    pub index: usize,
    /// What went wrong.
    pub error: Error,
}

impl Database {
    /// Makes sure that a user exists. Only where `auth.users` is the stand-in of the migrations; on Supabase users sign up.
    pub async fn user_ensure(&self, id: UserId) -> Result<Applied, Error> {
        let statement = sqlx::query!("insert into auth.users (id) values ($1) on conflict do nothing", id.0).execute(&self.pool);
        let made = self.write("user_ensure", statement).await?;
        Ok(if made.rows_affected() > 0 {
            Applied::Created
        } else {
            Applied::Unchanged
        })
    }

    /// Makes all changes, in order and in one transaction; on any error none. With `dry_run` none either, but the answer is the
    /// same, and what the database would refuse is refused.
    pub async fn apply(&self, changes: &[Change], dry_run: bool) -> Result<Vec<Applied>, ApplyError> {
        let failed = |index| move |error: Error| ApplyError { index, error };
        let mut transaction = self.begin("apply").await.map_err(|error| failed(0)(error.into()))?;
        let mut applied = Vec::with_capacity(changes.len());
        for (index, change) in changes.iter().enumerate() {
            let written = match change {
                Change::CatalogEntry(entry) => catalog_entry(&mut transaction, entry).await,
                Change::Environment(id, spec) => environment(&mut transaction, *id, spec).await,
                Change::Instance(id, spec) => instance(&mut transaction, *id, spec).await,
            };
            applied.push(written.map_err(failed(index))?.1);
        }
        let ended = if dry_run {
            transaction.rollback().await
        } else {
            transaction.commit().await
        };
        ended.map_err(|error| failed(changes.len())(error.into()))?;
        Ok(applied)
    }

    /// Writes a catalog entry by itself, and returns the id that it has.
    pub async fn apply_catalog_entry(&self, entry: &CatalogEntry) -> Result<(CatalogId, Applied), Error> {
        let mut transaction = self.begin("apply_catalog_entry").await?;
        let (id, applied) = catalog_entry(&mut transaction, entry).await?;
        transaction.commit().await?;
        Ok((id.into(), applied))
    }

    /// Writes the environment of an account by itself, and returns the id that it has.
    pub async fn apply_environment(&self, spec: &EnvironmentSpec) -> Result<(EnvironmentId, Applied), Error> {
        let mut transaction = self.begin("apply_environment").await?;
        let (id, applied) = environment(&mut transaction, EnvironmentId::random(), spec).await?;
        transaction.commit().await?;
        Ok((id.into(), applied))
    }

    /// Writes an instance by itself, and returns the id that it has.
    pub async fn apply_instance(&self, spec: &InstanceSpec) -> Result<(InstanceId, Applied), Error> {
        let mut transaction = self.begin("apply_instance").await?;
        let (id, applied) = instance(&mut transaction, InstanceId::random(), spec).await?;
        transaction.commit().await?;
        Ok((id.into(), applied))
    }
}

/// The rows are few, so each is looked for by the key that people know it by, and the database says whether anything differs.
async fn catalog_entry(connection: &mut PgConnection, entry: &CatalogEntry) -> Result<(Uuid, Applied), Error> {
    let created = sqlx::query_scalar!(
        "insert into tool_catalog (
            id, tool_name, description, packaging_type, package_identifier, version_info, default_config_template,
            required_secrets_schema, resource_requirements, status
        )
        select new.id, new.tool_name, new.description, new.packaging_type, new.package_identifier, new.version_info,
            new.default_config_template, new.required_secrets_schema, new.resource_requirements, new.status
        from jsonb_populate_record(null::tool_catalog, $1) as new
        on conflict (tool_name) do nothing
        returning id",
        Json(entry) as _,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = created {
        return Ok((id, Applied::Created));
    }
    let configured = sqlx::query_scalar!(
        "update tool_catalog as old
        set description = new.description, packaging_type = new.packaging_type,
            package_identifier = new.package_identifier, version_info = new.version_info,
            default_config_template = new.default_config_template,
            required_secrets_schema = new.required_secrets_schema,
            resource_requirements = new.resource_requirements, status = new.status
        from jsonb_populate_record(null::tool_catalog, $1) as new
        where old.tool_name = new.tool_name and (
            old.description, old.packaging_type, old.package_identifier, old.version_info, old.default_config_template,
            old.required_secrets_schema, old.resource_requirements, old.status
        ) is distinct from (
            new.description, new.packaging_type, new.package_identifier, new.version_info, new.default_config_template,
            new.required_secrets_schema, new.resource_requirements, new.status
        )
        returning old.id",
        Json(entry) as _,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let id = match configured {
        Some(id) => id,
        None => {
            sqlx::query_scalar!("select id from tool_catalog where tool_name = $1", entry.tool_name)
                .fetch_one(&mut *connection)
                .await?
        }
    };
    Ok((id, configured_or_unchanged(configured.is_some())))
}

async fn environment(connection: &mut PgConnection, id: EnvironmentId, spec: &EnvironmentSpec) -> Result<(Uuid, Applied), Error> {
    let created = sqlx::query_scalar!(
        "insert into account_tool_environments (id, user_id, region_slug, size_slug, image_slug, desired_state, paused)
        select $2, new.user_id, new.region_slug, new.size_slug, new.image_slug, new.desired_state, new.paused
        from jsonb_populate_record(null::account_tool_environments, $1) as new
        on conflict (user_id) do nothing
        returning id",
        Json(spec) as _,
        id.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = created {
        return Ok((id, Applied::Created));
    }
    let configured = sqlx::query_scalar!(
        "update account_tool_environments as old
        set region_slug = new.region_slug, size_slug = new.size_slug, image_slug = new.image_slug,
            desired_state = new.desired_state, paused = new.paused
        from jsonb_populate_record(null::account_tool_environments, $1) as new
        where old.user_id = new.user_id
            and (old.region_slug, old.size_slug, old.image_slug, old.desired_state, old.paused)
            is distinct from (new.region_slug, new.size_slug, new.image_slug, new.desired_state, new.paused)
        returning old.id",
        Json(spec) as _,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let id = match configured {
        Some(id) => id,
        None => {
            sqlx::query_scalar!("select id from account_tool_environments where user_id = $1", spec.user_id.0)
                .fetch_one(&mut *connection)
                .await?
        }
    };
    Ok((id, configured_or_unchanged(configured.is_some())))
}

async fn instance(connection: &mut PgConnection, id: InstanceId, spec: &InstanceSpec) -> Result<(Uuid, Applied), Error> {
    let Some(name) = &spec.instance_name else {
        return Err(Error::refused(
            "instance_name",
            "instance_name is what an instance is known by, and is missing",
        ));
    };
    // Names are not unique in the table, so two callers must not look at once.
    sqlx::query!(
        "select id from account_tool_environments where id = $1 for no key update",
        spec.environment_id.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    let known = sqlx::query_scalar!(
        "select id from account_tool_instances where account_tool_environment_id = $1 and instance_name = $2",
        spec.environment_id.0,
        name,
    )
    .fetch_all(&mut *connection)
    .await?;
    match known[..] {
        [] => Ok((instance_insert(connection, id, spec).await?, Applied::Created)),
        [id] => Ok((id, configured_or_unchanged(instance_update(connection, id, spec).await?))),
        _ => {
            let message = format!("instance_name {name:?} names {} instances of the environment", known.len());
            Err(Error::refused("instance_name", message))
        }
    }
}

fn configured_or_unchanged(configured: bool) -> Applied {
    if configured { Applied::Configured } else { Applied::Unchanged }
}

async fn instance_insert(connection: &mut PgConnection, id: InstanceId, spec: &InstanceSpec) -> Result<Uuid, Error> {
    Ok(sqlx::query_scalar!(
        "insert into account_tool_instances (
            id, account_tool_environment_id, tool_catalog_id, instance_name, version_to_run, config_values_override, desired_state,
            paused
        )
        select $2, new.account_tool_environment_id, new.tool_catalog_id, new.instance_name, new.version_to_run,
            new.config_values_override, new.desired_state, new.paused
        from jsonb_populate_record(null::account_tool_instances, $1) as new
        returning id",
        Json(spec) as _,
        id.0,
    )
    .fetch_one(connection)
    .await?)
}

async fn instance_update(connection: &mut PgConnection, id: Uuid, spec: &InstanceSpec) -> Result<bool, Error> {
    let updated = sqlx::query!(
        "update account_tool_instances as old
        set tool_catalog_id = new.tool_catalog_id, version_to_run = new.version_to_run,
            config_values_override = new.config_values_override, desired_state = new.desired_state, paused = new.paused
        from jsonb_populate_record(null::account_tool_instances, $2) as new
        where old.id = $1
            and (old.tool_catalog_id, old.version_to_run, old.config_values_override, old.desired_state, old.paused)
            is distinct from
                (new.tool_catalog_id, new.version_to_run, new.config_values_override, new.desired_state, new.paused)",
        id,
        Json(spec) as _,
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() > 0)
}

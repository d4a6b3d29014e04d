//! `tool_catalog`: reading the tools, once or as a source of a reflector.

use crate::{Database, Error, watch};
use futures::{Stream, StreamExt, TryStreamExt};
use model::{CatalogEntry, CatalogId};
use runtime::{Fetched, Notification, Source};
use sqlx::types::Json;
use std::collections::HashMap;

impl Database {
    /// Every entry, by name.
    pub async fn catalog_list(&self) -> Result<Vec<CatalogEntry>, Error> {
        self.catalog_read(None).await
    }

    /// Those of the entries that are there.
    async fn catalog_read(&self, ids: Option<&[CatalogId]>) -> Result<Vec<CatalogEntry>, Error> {
        let ids: Option<Vec<_>> = ids.map(|ids| ids.iter().map(|id| id.0).collect());
        let rows = sqlx::query_scalar!(
            r#"select to_jsonb(entry) || jsonb_build_object(
                'default_config_template', coalesce(default_config_template, '{}'),
                'required_secrets_schema', coalesce(required_secrets_schema, '[]'),
                'resource_requirements', coalesce(resource_requirements, '{}')
            ) as "row!: Json<CatalogEntry>"
            from tool_catalog as entry
            where $1::uuid[] is null or id = any ($1)
            order by tool_name"#,
            ids as Option<Vec<sqlx::types::Uuid>>,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }
}

/// The catalog as a reflector reads it.
#[derive(Clone, Debug)]
pub struct CatalogSource {
    database: Database,
}

impl CatalogSource {
    /// Of this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Source for CatalogSource {
    type Key = CatalogId;
    type Value = CatalogEntry;
    type Error = Error;

    const NAME: &'static str = "catalog";

    fn list(&self) -> impl Stream<Item = Result<(CatalogId, CatalogEntry), Error>> + Send {
        futures::stream::once(self.database.catalog_list())
            .map_ok(|entries| futures::stream::iter(entries.into_iter().map(|entry| Ok((entry.id, entry)))))
            .try_flatten()
    }

    async fn fetch(&self, keys: Vec<CatalogId>) -> Result<Fetched<CatalogId, CatalogEntry>, Error> {
        let entries = self.database.catalog_read(Some(&keys)).await?;
        let mut found: HashMap<CatalogId, CatalogEntry> = entries.into_iter().map(|entry| (entry.id, entry)).collect();
        Ok(keys.into_iter().map(|key| (key, found.remove(&key))).collect())
    }

    fn listen(&self) -> impl Stream<Item = Result<Notification<CatalogId, CatalogEntry>, Error>> + Send {
        watch::listen(&self.database).filter_map(async |heard| match heard {
            Ok(watch::Heard::Listening) => Some(Ok(Notification::Relist)),
            Ok(watch::Heard::Catalog(id)) => Some(Ok(Notification::Changed(id))),
            Ok(watch::Heard::Environment(_) | watch::Heard::Fleet) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

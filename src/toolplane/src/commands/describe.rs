//! `toolplane describe`: everything that is known about an environment or an instance, for people.
//!
//! Owns: what is shown and in which order. Must not: write, or ask DigitalOcean: `plan` does. Promises: nothing that was seen is
//! shown without its age, and what is waited for is shown with when it goes on.

mod environment;
mod instance;
mod page;
mod waits;

use super::{
    connect, events,
    get::{self, Listing, Unknown, print},
};
use crate::{
    cli::{Describable, Describe, Kind},
    configuration::Settings,
};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::{CatalogEntry, EnvironmentId, EnvironmentRecord, Instance};
use schema::{Database, LeaseHolder, RecordedEvent, Role};
use std::process::ExitCode;

/// How many events are shown, the latest: all of a birth, and more.
const EVENTS: usize = 24;

/// What is known of one environment at one moment.
#[derive(Debug)]
struct Known {
    record: EnvironmentRecord,
    catalog: Vec<CatalogEntry>,
    holder: Option<LeaseHolder>,
    events: Vec<RecordedEvent>,
}

pub(super) async fn run(describe: &Describe, settings: Settings) -> miette::Result<ExitCode> {
    let database = connect::migrated_database(&settings, Role::Service).await?;
    let name = describe.name.as_deref();
    let pages = match describe.kind {
        Describable::Environment => environments(&database, name, &settings).await?,
        Describable::Instance => instances(&database, name).await?,
    };
    if pages.is_empty() {
        match name {
            Some(name) => return Err(Unknown::new(kind(describe.kind), name).into()),
            None => print("nothing found"),
        };
        return Ok(ExitCode::SUCCESS);
    }
    print(&pages.join("\n\n\n"));
    Ok(ExitCode::SUCCESS)
}

fn kind(describable: Describable) -> Kind {
    match describable {
        Describable::Environment => Kind::Environments,
        Describable::Instance => Kind::Instances,
    }
}

async fn environments(database: &Database, name: Option<&str>, settings: &Settings) -> miette::Result<Vec<String>> {
    let mut pages = Vec::new();
    for id in environment_ids(database, name).await? {
        if let Some(known) = know(database, id, events::About::Environments(vec![id])).await? {
            pages.push(environment::page(&known, settings, Timestamp::now()));
        }
    }
    Ok(pages)
}

/// The environments that the name means, or all; also one whose row is gone, by its whole id.
pub(super) async fn environment_ids(database: &Database, name: Option<&str>) -> miette::Result<Vec<EnvironmentId>> {
    let Listing::Environments(rows) = get::read(database, Kind::Environments, name).await? else {
        return Ok(Vec::new());
    };
    let mut ids: Vec<EnvironmentId> = rows.iter().map(|row| row.id).collect();
    if let (true, Some(Ok(id))) = (ids.is_empty(), name.map(str::parse)) {
        ids.push(id);
    }
    Ok(ids)
}

async fn instances(database: &Database, name: Option<&str>) -> miette::Result<Vec<String>> {
    let Listing::Instances(rows, _) = get::read(database, Kind::Instances, name).await? else {
        return Ok(Vec::new());
    };
    let mut pages = Vec::new();
    for row in rows {
        let about = events::About::Instances(vec![row.id]);
        let Some(known) = know(database, row.spec.environment_id, about).await? else {
            continue;
        };
        // The row as the record has it, so that everything on the page is of one moment.
        if let Some(row) = known.instances().iter().find(|known| known.id == row.id) {
            pages.push(instance::page(&known, row, Timestamp::now()));
        }
    }
    Ok(pages)
}

async fn know(database: &Database, id: EnvironmentId, about: events::About) -> miette::Result<Option<Known>> {
    let read = async || -> Result<_, schema::Error> {
        let record = database.record_get(id).await?;
        let holder = database.lease_holder(id.shard()).await?;
        Ok((record, holder, database.catalog_list().await?))
    };
    let (record, holder, catalog) = read().await.into_diagnostic().wrap_err("cannot read the rows")?;
    let Some(record) = record else { return Ok(None) };
    Ok(Some(Known {
        record,
        catalog,
        holder,
        events: events::read(database, &about, None, EVENTS).await?,
    }))
}

impl Known {
    fn instances(&self) -> &[Instance] {
        self.record.tools.as_deref().map_or(&[], |tools| &tools.instances)
    }

    /// A tool's name, or its id where the catalog does not have it.
    fn tool(&self, instance: &Instance) -> String {
        let id = instance.spec.catalog_id;
        let entry = self.catalog.iter().find(|entry| entry.id == id);
        entry.map_or_else(|| id.to_string(), |entry| entry.tool_name.clone())
    }
}

#[cfg(test)]
mod tests;

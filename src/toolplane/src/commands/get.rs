//! `toolplane get`: rows as tables, or as documents.

mod age;
mod document;
mod row;
mod select;
mod watch;

pub(super) use age::{age, seen};
pub(super) use row::{or_dash, spelled};
pub(super) use select::Unknown;

use super::connect;
use crate::{
    cli::{Get, Kind, Output},
    configuration::Settings,
};
use comfy_table::{Table, presets::NOTHING};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::{CatalogEntry, Environment, Instance};
use schema::{Database, InstanceFilter, Role};
use std::{io::Write, process::ExitCode};

/// What was asked for, as it is in the database at one moment. Instances come with the names of their tools.
#[derive(Clone, Debug)]
pub(super) enum Listing {
    Environments(Vec<Environment>),
    Instances(Vec<Instance>, Vec<CatalogEntry>),
    Catalog(Vec<CatalogEntry>),
}

pub(super) async fn run(get: &Get, settings: Settings) -> miette::Result<ExitCode> {
    let database = connect::migrated_database(&settings, Role::Service).await?;
    let listing = read(&database, get.kind, get.name.as_deref()).await?;
    if let Some(name) = &get.name
        && listing.is_empty()
        && !get.watch
    {
        return Err(Unknown::new(get.kind, name).into());
    }
    let read_on = print(&render(&listing, get.output, Timestamp::now()));
    if get.watch && read_on {
        watch::run(&database, get, listing).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the rows, only those called `name` if one is given.
pub(super) async fn read(database: &Database, kind: Kind, name: Option<&str>) -> miette::Result<Listing> {
    let listing = match kind {
        Kind::Environments => database.environment_list().await.map(Listing::Environments),
        Kind::Catalog => database.catalog_list().await.map(Listing::Catalog),
        Kind::Instances => match database.instance_list(InstanceFilter::default()).await {
            Ok(instances) => database
                .catalog_list()
                .await
                .map(|catalog| Listing::Instances(instances, catalog)),
            Err(error) => Err(error),
        },
    };
    let mut listing = listing.into_diagnostic().wrap_err("cannot read the rows")?;
    if let Some(name) = name {
        listing.keep(name);
    }
    Ok(listing)
}

impl Listing {
    /// Whether no row was found.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Environments(rows) => rows.is_empty(),
            Self::Instances(rows, _) => rows.is_empty(),
            Self::Catalog(rows) => rows.is_empty(),
        }
    }
}

/// Everything, with a header where there is one.
pub(super) fn render(listing: &Listing, output: Output, now: Timestamp) -> String {
    match output {
        Output::Table | Output::Wide => table(listing, output == Output::Wide, now, true),
        Output::Json => document::json(listing, now),
        Output::Yaml => document::yaml(listing, now),
        Output::Name => document::names(listing),
    }
}

/// As kubectl draws it: columns, and nothing between them but space.
fn table(listing: &Listing, wide: bool, now: Timestamp, header: bool) -> String {
    let (titles, rows) = row::cells(listing, wide, now);
    if rows.is_empty() {
        return "nothing found".to_owned();
    }
    columns(header.then_some(titles.as_slice()), rows)
}

/// Cells in columns, with nothing between them but space and nothing behind the last.
pub(super) fn columns(titles: Option<&[&str]>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    if let Some(titles) = titles {
        table.set_header(titles);
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Says whether anybody still reads: `toolplane get ... | head` ends as soon as it has enough.
pub(super) fn print(text: &str) -> bool {
    writeln!(std::io::stdout().lock(), "{text}").is_ok()
}

#[cfg(test)]
pub(super) mod tests;

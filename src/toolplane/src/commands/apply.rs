//! `toolplane apply`: manifests into rows, all or none.

use super::connect;
use crate::{
    cli::Apply,
    configuration::Settings,
    manifests::{self, Known, Manifest, Object, Offered, Resolved, Source},
};
use digitalocean::{Client, ImageFilter};
use miette::{IntoDiagnostic, WrapErr};
use schema::{Applied, Change, Database, InstanceFilter, Role};
use std::process::ExitCode;

/// The database refused what was to be written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("nothing was changed: {title}: {field}{}", .refusal.message)]
#[diagnostic(help("{help}"))]
pub(crate) struct Refused {
    title: String,
    field: String,
    refusal: schema::Refusal,
    help: String,
}

pub(super) async fn run(apply: &Apply, settings: Settings) -> miette::Result<ExitCode> {
    let values: Vec<(&str, &str)> = apply
        .set
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut sources = Vec::new();
    for path in &apply.filename {
        sources.push(Source::read(path)?.substituted(values.iter().copied()));
    }
    let manifests = manifests::parse(&sources)?;
    let asks_for_droplets = manifests
        .iter()
        .any(|manifest| matches!(manifest.object, Object::Environment(_)));
    if asks_for_droplets && let Some(client) = connect::digitalocean(&settings)? {
        let offered = offered(&client).await.map_err(|error| connect::digitalocean_error(&error))?;
        manifests::check_offered(&manifests, &offered)?;
    }
    let database = connect::migrated_database(&settings, Role::Service).await?;
    let suffix = if apply.dry_run { " (dry run)" } else { "" };
    for (title, applied) in write(&database, &manifests, apply.dry_run).await? {
        let done = match applied {
            Applied::Created => "created",
            Applied::Configured => "configured",
            Applied::Unchanged => "unchanged",
        };
        println!("{title} {done}{suffix}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves the manifests against the rows that are there and writes them in one transaction.
pub(crate) async fn write(database: &Database, manifests: &[Manifest], dry_run: bool) -> miette::Result<Vec<(String, Applied)>> {
    let known = known(database).await.into_diagnostic().wrap_err("cannot read the rows")?;
    let resolved = manifests::resolve(manifests, &known)?;
    let changes: Vec<Change> = resolved.iter().map(|resolved| resolved.change.clone()).collect();
    let applied = database.apply(&changes, dry_run).await;
    let applied = applied.map_err(|failure| refused(&resolved, failure))?;
    Ok(resolved.into_iter().map(|resolved| resolved.title).zip(applied).collect())
}

async fn known(database: &Database) -> Result<Known, schema::Error> {
    Ok(Known {
        catalog: database.catalog_list().await?,
        environments: database.environment_list().await?,
        instances: database.instance_list(InstanceFilter::default()).await?,
    })
}

fn refused(resolved: &[Resolved], failure: schema::ApplyError) -> miette::Report {
    let title = resolved
        .get(failure.index)
        .map(|resolved| resolved.title.clone())
        .unwrap_or_default();
    match failure.error {
        schema::Error::Refused(refusal) => Refused {
            title,
            field: refusal
                .column
                .as_ref()
                .map(|column| format!("{column}: "))
                .unwrap_or_default(),
            help: refusal
                .hint
                .clone()
                .unwrap_or_else(|| "mend the manifest, or the row that it refers to".to_owned()),
            refusal: *refusal,
        }
        .into(),
        error => connect::Error::Unreachable(error).into(),
    }
}

/// What DigitalOcean offers now.
async fn offered(client: &Client) -> Result<Offered, digitalocean::Error> {
    let regions = client.region_list().await?;
    let sizes = client.size_list().await?;
    let mut images = client.image_list(ImageFilter::Distribution).await?;
    images.extend(client.image_list(ImageFilter::Application).await?);
    Ok(Offered {
        regions: regions
            .into_iter()
            .filter(|region| region.available)
            .map(|region| region.slug)
            .collect(),
        sizes: sizes
            .into_iter()
            .filter(|size| size.available)
            .map(|size| (size.slug, size.regions))
            .collect(),
        images: images.into_iter().filter_map(|image| image.slug).collect(),
    })
}

//! `toolplane plan`: what the controllers would do now, and why, with nothing done.
//!
//! Owns: whom to ask about, and how the answers are shown. Must not: decide anything: the reconcilers do, in [`Preview`]. Promises:
//! what could not be told is an error and never "nothing".

mod shown;

use super::{connect, describe, get::Unknown, serve};
use crate::{
    cli::{Kind, Plan},
    configuration::Settings,
};
use control_plane::{Forecast, Preview};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::EnvironmentId;
use schema::Role;
use std::process::ExitCode;

/// Environments are asked about so many at once: those that look at once look together.
const AT_ONCE: usize = 32;
/// Environments are listed so many at a time.
const PAGE: u32 = 1_000;
/// As `terraform plan -detailed-exitcode` has it.
const SOMETHING_TO_DO: u8 = 2;

/// What would be done about one thing.
#[derive(Debug)]
struct Planned {
    /// `None` is the whole installation.
    environment: Option<EnvironmentId>,
    forecasts: Vec<Forecast>,
}

pub(super) async fn run(plan: &Plan, settings: Settings) -> miette::Result<ExitCode> {
    // Before anything else, so that a database that is not there is told as everywhere.
    let database = connect::migrated_database(&settings, Role::Service).await?;
    let named = match plan.name.as_deref() {
        Some(name) => Some((name, describe::environment_ids(&database, Some(name)).await?)),
        None => None,
    };
    database.close().await;
    let config = serve::configuration::replica(&settings).await?;
    let preview = Preview::new(config).await.map_err(serve::refused)?;
    let planned = match named {
        Some((name, ids)) => {
            let planned = environments(&preview, ids).await;
            if planned.iter().all(|planned| planned.forecasts.is_empty()) {
                return Err(Unknown::new(Kind::Environments, name).into());
            }
            planned
        }
        None => everything(preview).await?,
    };
    super::get::print(&shown::render(&planned, plan.output, Timestamp::now()));
    let mut failures = planned
        .iter()
        .flat_map(|planned| &planned.forecasts)
        .filter_map(|forecast| forecast.failure.as_ref());
    if let Some(first) = failures.next() {
        return Err(miette::miette!(
            help = "what is shown is not the whole plan",
            "{} of the questions had no answer; the first: {first}",
            failures.count() + 1
        ));
    }
    let something = planned.iter().any(Planned::changes);
    Ok(match (plan.detailed_exitcode, something) {
        (true, true) => ExitCode::from(SOMETHING_TO_DO),
        (true, false) | (false, _) => ExitCode::SUCCESS,
    })
}

impl Planned {
    fn changes(&self) -> bool {
        self.forecasts.iter().any(|forecast| forecast.changes)
    }
}

/// Every environment and tombstone, and what they have in common.
async fn everything(mut preview: Preview) -> miette::Result<Vec<Planned>> {
    preview.survey().await.map_err(|error| connect::digitalocean_error(&error))?;
    let mut planned = vec![Planned {
        environment: None,
        forecasts: vec![preview.base_firewall().await],
    }];
    let mut after = None;
    loop {
        let page = preview.environments(after, PAGE).await;
        let page = page.into_diagnostic().wrap_err("cannot read the rows")?;
        let Some(last) = page.last() else { return Ok(planned) };
        after = Some(*last);
        planned.extend(environments(&preview, page).await);
    }
}

async fn environments(preview: &Preview, ids: Vec<EnvironmentId>) -> Vec<Planned> {
    let asked = stream::iter(ids).map(async |id| Planned {
        environment: Some(id),
        forecasts: preview.environment(id).await,
    });
    asked.buffered(AT_ONCE).collect().await
}

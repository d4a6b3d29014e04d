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
use fleet::SweepError;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::EnvironmentId;
use schema::{Database, Role};
use std::{collections::HashSet, process::ExitCode};

/// Environments are asked about so many at once: those that look at once look together.
const AT_ONCE: usize = 32;
/// Environments are listed so many at a time.
const PAGE: u32 = 1_000;
/// As `terraform plan -detailed-exitcode` has it.
const SOMETHING_TO_DO: u8 = 2;

/// What a forecast is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// What the whole installation has once.
    Installation,
    /// A row or a tombstone.
    Environment(EnvironmentId),
    /// What carries the name of an environment that is not on record.
    Orphan(EnvironmentId),
}

/// What would be done about one thing.
#[derive(Debug)]
struct Planned {
    about: About,
    forecasts: Vec<Forecast>,
}

/// Everything that was asked for.
#[derive(Debug)]
struct Plans {
    planned: Vec<Planned>,
    /// Why something that would follow is withheld.
    withheld: Vec<String>,
}

pub(super) async fn run(plan: &Plan, settings: Settings) -> miette::Result<ExitCode> {
    // Before anything else, so that a database that is not there is told as everywhere.
    let database = connect::migrated_database(&settings, Role::Service).await?;
    let named = match plan.name.as_deref() {
        Some(name) => Some((name, named(&database, name).await?)),
        None => None,
    };
    database.close().await;
    let config = serve::configuration::replica(&settings).await?;
    let preview = Preview::new(config).await.map_err(serve::refused)?;
    let plans = match named {
        Some((name, ids)) => some(preview, name, ids).await?,
        None => everything(preview).await?,
    };
    super::get::print(&shown::render(&plans, plan.output, Timestamp::now()));
    let mut failures = plans
        .planned
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
    Ok(match (plan.detailed_exitcode, plans.changes()) {
        (true, true) => ExitCode::from(SOMETHING_TO_DO),
        (true, false) | (false, _) => ExitCode::SUCCESS,
    })
}

/// The environments that a name means; also one that is not on record, by its whole id.
async fn named(database: &Database, name: &str) -> miette::Result<Vec<EnvironmentId>> {
    let ids = describe::environment_ids(database, Some(name)).await?;
    if ids.is_empty() {
        return Err(Unknown::new(Kind::Environments, name).into());
    }
    Ok(ids)
}

impl Planned {
    fn changes(&self) -> bool {
        self.forecasts.iter().any(|forecast| forecast.changes)
    }
}

impl Plans {
    fn changes(&self) -> bool {
        self.planned.iter().any(Planned::changes)
    }
}

/// What would be done about those that a name means.
async fn some(mut preview: Preview, name: &str, ids: Vec<EnvironmentId>) -> miette::Result<Plans> {
    preview.recall().await.map_err(|error| unread(&error))?;
    let mut planned = environments(&preview, ids.clone()).await;
    if planned.iter().all(|planned| planned.forecasts.is_empty()) {
        // Whether it is one of too many orphans takes a look at all of them.
        survey(&mut preview).await?;
        let seen = preview.orphaned(&on_record(&preview).await?);
        let ids = ids.into_iter().filter(|id| seen.contains(id)).collect();
        planned = orphans(&preview, ids).await;
    }
    if planned.is_empty() {
        return Err(Unknown::new(Kind::Environments, name).into());
    }
    Ok(Plans {
        planned,
        withheld: preview.withheld(),
    })
}

/// Every environment and tombstone, what they have in common, and what belongs to none of them.
async fn everything(mut preview: Preview) -> miette::Result<Plans> {
    survey(&mut preview).await?;
    let on_record = on_record(&preview).await?;
    let orphaned = preview.orphaned(&on_record);
    let mut ids: Vec<EnvironmentId> = on_record.into_iter().collect();
    ids.sort_unstable();
    let mut planned = vec![Planned {
        about: About::Installation,
        forecasts: vec![preview.base_firewall().await],
    }];
    planned.extend(environments(&preview, ids).await);
    planned.extend(orphans(&preview, orphaned).await);
    Ok(Plans {
        planned,
        withheld: preview.withheld(),
    })
}

async fn survey(preview: &mut Preview) -> miette::Result<()> {
    Ok(preview.survey().await.map_err(|error| unread(&error))?)
}

async fn on_record(preview: &Preview) -> miette::Result<HashSet<EnvironmentId>> {
    let (mut all, mut after) = (HashSet::new(), None);
    loop {
        let page = preview.environments(after, PAGE).await;
        let page = page.into_diagnostic().wrap_err("cannot read the rows")?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(*last);
        all.extend(page);
    }
}

async fn environments(preview: &Preview, ids: Vec<EnvironmentId>) -> Vec<Planned> {
    let asked = stream::iter(ids).map(async |id| Planned {
        about: About::Environment(id),
        forecasts: preview.environment(id).await,
    });
    asked.buffered(AT_ONCE).collect().await
}

async fn orphans(preview: &Preview, ids: Vec<EnvironmentId>) -> Vec<Planned> {
    let asked = stream::iter(ids).map(async |id| Planned {
        about: About::Orphan(id),
        forecasts: preview.orphan(id).await,
    });
    asked.buffered(AT_ONCE).collect().await
}

/// What is at DigitalOcean could not be read, or not be judged beside what is in the database.
fn unread(error: &SweepError) -> connect::Error {
    match error {
        SweepError::Cloud(error) => connect::digitalocean_error(error),
        SweepError::Database(_) | SweepError::Row(_) | SweepError::Key(_) => connect::Error::Unjudged(error.to_string()),
    }
}

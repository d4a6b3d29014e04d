//! What the events are to be about: everything, environments, or instances.

use crate::{
    cli::{Describable, Kind},
    commands::get::{self, Listing, Unknown},
};
use clap::ValueEnum;
use miette::miette;
use model::{EnvironmentId, Event, InstanceId};
use schema::{Database, EventFilter};

/// What an event has to be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Anything.
    Everything,
    /// Anything of this kind; environments include what is about their tools only when they are named.
    Kind(Describable),
    /// These environments and the tools on them.
    Environments(Vec<EnvironmentId>),
    /// These instances.
    Instances(Vec<InstanceId>),
}

impl About {
    /// From what was written behind `toolplane events`.
    pub(super) async fn understand(database: &Database, words: &[String]) -> miette::Result<Self> {
        let kind = |word: &str| Describable::from_str(word, true).ok();
        match words {
            [] => Ok(Self::Everything),
            [one] => match (kind(one), one.split_once('/')) {
                (Some(kind), _) => Ok(Self::Kind(kind)),
                (None, Some((word, name))) if kind(word).is_some() => Self::named(database, kind(word), name).await,
                (None, _) => Self::named(database, None, one).await,
            },
            [word, name] => match kind(word) {
                Some(kind) => Self::named(database, Some(kind), name).await,
                None => Err(miette!(
                    help = "`toolplane events environment NAME` or `toolplane events instance NAME`",
                    "there are no events of the kind `{word}`"
                )),
            },
            [_, _, ..] => Err(miette!("events of one thing at a time, or of everything")),
        }
    }

    async fn named(database: &Database, kind: Option<Describable>, name: &str) -> miette::Result<Self> {
        let (environments, instances) = match kind {
            Some(Describable::Environment) => (true, false),
            Some(Describable::Instance) => (false, true),
            None => (true, true),
        };
        if environments
            && let Listing::Environments(rows) = get::read(database, Kind::Environments, Some(name)).await?
            && !rows.is_empty()
        {
            return Ok(Self::Environments(rows.iter().map(|row| row.id).collect()));
        }
        if instances
            && let Listing::Instances(rows, _) = get::read(database, Kind::Instances, Some(name)).await?
            && !rows.is_empty()
        {
            return Ok(Self::Instances(rows.iter().map(|row| row.id).collect()));
        }
        // Events outlive their rows, so a whole id needs none.
        match (name.parse(), kind) {
            (Ok(id), Some(Describable::Instance)) => Ok(Self::Instances(vec![InstanceId(id)])),
            (Ok(id), Some(Describable::Environment) | None) => Ok(Self::Environments(vec![EnvironmentId(id)])),
            (Err(_), Some(Describable::Instance)) => Err(Unknown::new(Kind::Instances, name).into()),
            (Err(_), Some(Describable::Environment)) => Err(Unknown::new(Kind::Environments, name).into()),
            (Err(_), None) => Err(miette!(
                help = "`toolplane get environments` and `toolplane get instances` list all",
                "no environment and no instance is called `{name}`"
            )),
        }
    }

    /// What to ask the database for.
    pub(super) fn filters(&self) -> Vec<EventFilter> {
        match self {
            Self::Everything | Self::Kind(_) => vec![EventFilter::default()],
            Self::Environments(ids) => ids.iter().map(|id| of_environment(*id)).collect(),
            Self::Instances(ids) => ids.iter().map(|id| of_instance(*id)).collect(),
        }
    }

    /// Whether an event that the database gave is one of those.
    pub(super) fn takes(&self, event: &Event) -> bool {
        match self {
            Self::Everything | Self::Environments(_) | Self::Instances(_) => true,
            Self::Kind(Describable::Environment) => event.environment_id.is_some() && event.instance_id.is_none(),
            Self::Kind(Describable::Instance) => event.instance_id.is_some(),
        }
    }
}

fn of_environment(id: EnvironmentId) -> EventFilter {
    EventFilter {
        environment_id: Some(id),
        ..EventFilter::default()
    }
}

fn of_instance(id: InstanceId) -> EventFilter {
    EventFilter {
        instance_id: Some(id),
        ..EventFilter::default()
    }
}

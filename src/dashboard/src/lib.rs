//! The operators' pages: every environment and tool, each with the age of its observation, and what was done and why.
//!
//! Owns: rendering, and which part of a long list a page shows. Must not: write anything, or decide who may look; it knows no
//! users, so it is served on a loopback listener of its own. Promises: no status is shown without the age of what it rests on;
//! paging through a list that does not change shows everything once; nothing needs JavaScript or another host.

mod view;

use askama::Template;
use axum::{
    Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use model::EnvironmentId;
use schema::{Database, EventFilter, EventPlace};
use serde::Deserialize;
use view::{Environment, Events, Fleet};

/// How many environments one page shows, in the order of their ids.
const ENVIRONMENTS: u32 = 100;
/// How many events one page shows, the last seen first.
const EVENTS: u32 = 100;
/// How many events stand under an environment.
const LATEST: u32 = 20;

/// `GET /`: the fleet. `GET /environments/{id}`: one environment. `GET /events`: what was done.
pub fn router(database: Database) -> Router {
    Router::new()
        .route("/", get(fleet))
        .route("/environments/{id}", get(environment))
        .route("/events", get(events))
        .with_state(database)
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Database(#[from] schema::Error),
    #[error(transparent)]
    Template(#[from] askama::Error),
    #[error("there is no such environment")]
    Unknown,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Unknown => (StatusCode::NOT_FOUND, "there is no such environment\n").into_response(),
            Self::Database(_) | Self::Template(_) => {
                tracing::warn!(error = %self, "dashboard: a page could not be made");
                let sorry = "the database does not answer; this page can be tried again\n";
                (StatusCode::SERVICE_UNAVAILABLE, sorry).into_response()
            }
        }
    }
}

/// Which page of the fleet.
#[derive(Debug, Deserialize)]
struct FleetQuery {
    after: Option<EnvironmentId>,
}

async fn fleet(State(database): State<Database>, Query(query): Query<FleetQuery>) -> Result<Html<String>, Error> {
    // One more than is shown says whether there is a next page.
    let mut ids = database.environment_page(query.after, ENVIRONMENTS + 1).await?;
    let more = ids.len() > ENVIRONMENTS as usize;
    ids.truncate(ENVIRONMENTS as usize);
    let next = ids.last().copied().filter(|_| more);
    let records: Vec<_> = database
        .record_fetch(&ids)
        .await?
        .into_iter()
        .filter_map(|(_, record)| record)
        .collect();
    let page = Fleet::new(&records, query.after.is_some(), next, Timestamp::now());
    Ok(Html(page.render()?))
}

async fn environment(State(database): State<Database>, Path(id): Path<EnvironmentId>) -> Result<Html<String>, Error> {
    let record = database.record_get(id).await?.ok_or(Error::Unknown)?;
    let events = database.event_list(Some(id), LATEST).await?;
    let page = Environment::new(&record, &events, Timestamp::now());
    Ok(Html(page.render()?))
}

/// Which page of which events.
#[derive(Debug, Deserialize)]
struct EventsQuery {
    environment: Option<EnvironmentId>,
    before: Option<Timestamp>,
    id: Option<i64>,
}

async fn events(State(database): State<Database>, Query(query): Query<EventsQuery>) -> Result<Html<String>, Error> {
    let behind = query.before.zip(query.id);
    let filter = EventFilter {
        environment_id: query.environment,
        behind: behind.map(|(last_seen, id)| EventPlace { last_seen, id }),
        ..EventFilter::default()
    };
    let mut events = database.event_page(&filter, EVENTS + 1).await?;
    let more = events.len() > EVENTS as usize;
    events.truncate(EVENTS as usize);
    let page = Events::new(&events, query.environment, behind.is_some(), more, Timestamp::now());
    Ok(Html(page.render()?))
}

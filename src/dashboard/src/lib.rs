//! The operator's page: every environment and tool, each with the age of its observation.
//!
//! Owns: rendering. Must not: write anything, or decide who may look; it knows no users, so it is served on a loopback
//! listener of its own. Promises: no status is shown without the age of what it rests on, and nothing needs JavaScript or
//! another host.

mod view;

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use model::{EnvironmentRecord, ids::SHARDS};
use schema::Database;
use view::Fleet;

/// How many environments one page shows, by their ids' order.
const PAGE: usize = 200;

/// `GET /`: the fleet.
pub fn router(database: Database) -> Router {
    Router::new().route("/", get(fleet)).with_state(database)
}

async fn fleet(State(database): State<Database>) -> Response {
    match read(&database).await {
        Ok(page) => page.into_response(),
        Err(error) => {
            tracing::warn!(%error, "dashboard: fleet not read");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer; this page can be tried again\n",
            )
                .into_response()
        }
    }
}

async fn read(database: &Database) -> Result<Html<String>, Box<dyn std::error::Error + Send + Sync>> {
    let shards: Vec<u16> = (0..SHARDS).collect();
    let mut records: Vec<EnvironmentRecord> = database.record_list(&shards).take(PAGE).try_collect().await?;
    // A list comes in no order; rows should not jump about when the page is read again.
    records.sort_unstable_by_key(EnvironmentRecord::id);
    Ok(Html(Fleet::new(&records, Timestamp::now()).render()?))
}

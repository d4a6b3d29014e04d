//! `/simulator/...`: what tests and people can see and do behind the API's back. Nothing of this exists on the real thing.
//!
//! | | |
//! |---|---|
//! | `GET /simulator/journal?since=N` | mutating requests, twins, and counts of everything |
//! | `GET /simulator/droplets` | all that live, with what the API hides, and their agents |
//! | `GET /simulator/droplets/{id}/console` | what boot and agent said; also after the droplet's end |
//! | `POST /simulator/droplets/{id}/destroy` | destroys it behind our back, at once |
//! | `GET /simulator/connection?droplet=ID&port=P&protocol=tcp&from=IP` | whether the firewalls in force would let it in |
//! | `GET`, `PATCH /simulator/settings` | delays, lags and limits; any part of them |
//! | `GET`, `DELETE /simulator/faults` | what requests may run into; none of it any more |
//! | `POST /simulator/faults` | one more rule, or a whole storm: `{"storm": {"seed": 1, "intensity": 0.5}}` |

use crate::{
    cloud::Cloud,
    config::Settings,
    fault::{FaultRule, Storm},
    problem::Problem,
    world::{
        droplet::{Droplet, Status},
        firewall::{Connection, Passage},
    },
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc};

/// A droplet as only the simulator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropletInfo {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `new`, `active` or `off`.
    pub status: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its size's slug.
    pub size: String,
    /// Its public address, also before the API shows it.
    pub address: Ipv4Addr,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its delete was taken, and it is not gone yet.
    pub destroying: bool,
    /// A GET of it answers 404, because it was made just now.
    pub hidden: bool,
    /// The agent's process, while there is one.
    pub agent_pid: Option<u32>,
}

pub(crate) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/simulator/journal", get(journal))
        .route("/simulator/droplets", get(droplets))
        .route("/simulator/droplets/{id}/console", get(console))
        .route("/simulator/droplets/{id}/destroy", post(destroy))
        .route("/simulator/connection", get(connection))
        .route("/simulator/settings", get(settings).patch(settings_change))
        .route("/simulator/faults", get(faults).post(fault_add).delete(faults_clear))
}

/// Every live droplet.
pub(crate) fn infos(cloud: &Cloud) -> Vec<DropletInfo> {
    let droplets: Vec<Droplet> = cloud.world().droplets.iter().cloned().collect();
    droplets.into_iter().map(|droplet| info(cloud, droplet)).collect()
}

fn info(cloud: &Cloud, droplet: Droplet) -> DropletInfo {
    let status = match droplet.status {
        Status::New => "new",
        Status::Active => "active",
        Status::Off => "off",
    };
    DropletInfo {
        id: droplet.id,
        hidden: cloud.world().droplet(droplet.id).is_err(),
        agent_pid: cloud.machines.agent(droplet.id),
        name: droplet.name,
        status: status.to_owned(),
        tags: droplet.tags,
        size: droplet.size,
        address: droplet.address,
        created_at: droplet.created_at,
        destroying: droplet.destroying,
    }
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

async fn journal(State(cloud): State<Arc<Cloud>>, Query(Since { since }): Query<Since>) -> Json<Value> {
    Json(json!({"entries": cloud.journal.since(since), "counts": cloud.counts()}))
}

async fn droplets(State(cloud): State<Arc<Cloud>>) -> Json<Vec<DropletInfo>> {
    Json(infos(&cloud))
}

async fn console(State(cloud): State<Arc<Cloud>>, Path(id): Path<u64>) -> Result<String, Problem> {
    cloud.machines.console(id).ok_or_else(Problem::not_found)
}

async fn destroy(State(cloud): State<Arc<Cloud>>, Path(id): Path<u64>) -> Result<StatusCode, Problem> {
    if !cloud.world().droplets.contains(id) {
        return Err(Problem::not_found());
    }
    cloud.destroy(id).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn connection(State(cloud): State<Arc<Cloud>>, Query(connection): Query<Connection>) -> Result<Json<Passage>, Problem> {
    let passage = cloud.world().passage(&connection);
    passage.map(Json).ok_or_else(Problem::not_found)
}

async fn settings(State(cloud): State<Arc<Cloud>>) -> Json<Settings> {
    Json(cloud.settings.get())
}

async fn settings_change(State(cloud): State<Arc<Cloud>>, Json(change): Json<Value>) -> Result<Json<Settings>, Problem> {
    let mut all = json!(cloud.settings.get());
    if let (Some(all), Value::Object(change)) = (all.as_object_mut(), change) {
        all.extend(change);
    }
    let changed: Settings = serde_json::from_value(all).map_err(|error| Problem::unprocessable(&error.to_string()))?;
    cloud.settings.set(changed);
    Ok(Json(changed))
}

async fn faults(State(cloud): State<Arc<Cloud>>) -> Json<Vec<FaultRule>> {
    Json(cloud.faults.waiting())
}

/// What `POST /simulator/faults` takes.
#[derive(Deserialize)]
struct StormRequest {
    storm: Storm,
}

async fn fault_add(State(cloud): State<Arc<Cloud>>, Json(body): Json<Value>) -> Result<StatusCode, Problem> {
    let unknown = |error: serde_json::Error| Problem::unprocessable(&error.to_string());
    if body.get("storm").is_some() {
        let StormRequest { storm } = serde_json::from_value(body).map_err(unknown)?;
        storm.rules().into_iter().for_each(|rule| cloud.faults.add(rule));
    } else {
        cloud.faults.add(serde_json::from_value(body).map_err(unknown)?);
    }
    Ok(StatusCode::CREATED)
}

async fn faults_clear(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.faults.clear();
    StatusCode::NO_CONTENT
}

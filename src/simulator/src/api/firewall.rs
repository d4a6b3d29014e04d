//! `/v2/firewalls`.

use super::{Answer, Done, Payload, found};
use crate::{
    cloud::Cloud,
    fault::{Asked, Fault},
    page::Paging,
    problem::Problem,
    world::{
        World,
        firewall::{Applied, Droplets, FirewallRequest, Rules, Tags},
    },
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/firewalls", get(list).post(create))
        .route("/v2/firewalls/{id}", get(one).put(update).delete(delete))
        .route("/v2/firewalls/{id}/droplets", post(droplets_add).delete(droplets_remove))
        .route("/v2/firewalls/{id}/tags", post(tags_add).delete(tags_remove))
        .route("/v2/firewalls/{id}/rules", post(rules_add).delete(rules_remove))
}

type Shared = State<Arc<Cloud>>;

async fn list(State(cloud): Shared, asked: Asked, paging: Paging) -> Answer {
    let stale = cloud.faults.strike(&asked, Fault::stale).map(Duration::from_millis);
    Ok(found(cloud.world().firewall_list(&paging, stale)))
}

async fn one(State(cloud): Shared, Path(id): Path<String>) -> Answer {
    Ok(found(json!({"firewall": cloud.world().firewall(&id)?.view()})))
}

async fn create(State(cloud): Shared, asked: Asked, Payload(request): Payload<FirewallRequest>) -> Answer {
    let body = change(&cloud, &asked, |world| world.firewall_create(request))?;
    Ok((StatusCode::ACCEPTED, Json(body)))
}

async fn update(
    State(cloud): Shared,
    Path(id): Path<String>,
    asked: Asked,
    Payload(request): Payload<FirewallRequest>,
) -> Answer {
    let body = change(&cloud, &asked, |world| world.firewall_update(&id, request))?;
    Ok(found(body))
}

async fn delete(State(cloud): Shared, Path(id): Path<String>, asked: Asked) -> Done {
    let applied = cloud.world().firewall_delete(&id)?;
    spread(&cloud, &asked, [applied]);
    Ok(StatusCode::NO_CONTENT)
}

async fn droplets_add(State(cloud): Shared, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Droplets>) -> Done {
    part(&cloud, &asked, |world| world.firewall_droplets_add(&id, body))
}

async fn droplets_remove(State(cloud): Shared, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Droplets>) -> Done {
    part(&cloud, &asked, |world| world.firewall_droplets_remove(&id, body))
}

async fn tags_add(State(cloud): Shared, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Tags>) -> Done {
    part(&cloud, &asked, |world| world.firewall_tags_add(&id, body))
}

async fn tags_remove(State(cloud): Shared, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Tags>) -> Done {
    part(&cloud, &asked, |world| world.firewall_tags_remove(&id, body))
}

async fn rules_add(State(cloud): Shared, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Rules>) -> Done {
    part(&cloud, &asked, |world| world.firewall_rules_add(&id, body))
}

async fn rules_remove(State(cloud): Shared, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Rules>) -> Done {
    part(&cloud, &asked, |world| world.firewall_rules_remove(&id, body))
}

/// Changes a firewall, and brings the change into force by and by.
fn change(
    cloud: &Arc<Cloud>,
    asked: &Asked,
    change: impl FnOnce(&mut World) -> Result<(Value, Applied), Problem>,
) -> Result<Value, Problem> {
    let (body, applied) = change(&mut cloud.world())?;
    spread(cloud, asked, [applied]);
    Ok(body)
}

fn part(cloud: &Arc<Cloud>, asked: &Asked, by: impl FnOnce(&mut World) -> Result<(Value, Applied), Problem>) -> Done {
    change(cloud, asked, by).map(|_| StatusCode::NO_CONTENT)
}

/// Brings what a request changed of firewalls into force by and by; a fault may have it wait.
pub(super) fn spread(cloud: &Arc<Cloud>, asked: &Asked, changes: impl IntoIterator<Item = Applied>) {
    let mut changes = changes.into_iter().peekable();
    if changes.peek().is_some() {
        let after = cloud.twisted(asked, Fault::firewall_waits, cloud.settings.get().firewall());
        cloud.schedule_applied(after, changes);
    }
}

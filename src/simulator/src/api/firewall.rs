//! `/v2/firewalls`.

use super::{Answer, Done, Payload, found};
use crate::{
    cloud::Cloud,
    page::Paging,
    problem::Problem,
    world::{
        World,
        firewall::{Applied, Droplets, Firewall, FirewallRequest, Rules, Tags},
    },
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/firewalls", get(list).post(create))
        .route("/v2/firewalls/{id}", get(one).put(update).delete(delete))
        .route("/v2/firewalls/{id}/droplets", post(droplets_add).delete(droplets_remove))
        .route("/v2/firewalls/{id}/tags", post(tags_add).delete(tags_remove))
        .route("/v2/firewalls/{id}/rules", post(rules_add).delete(rules_remove))
}

type Shared = State<Arc<Cloud>>;

async fn list(State(cloud): Shared, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("firewalls", world.firewalls.values(), Firewall::view)))
}

async fn one(State(cloud): Shared, Path(id): Path<String>) -> Answer {
    Ok(found(json!({"firewall": cloud.world().firewall(&id)?.view()})))
}

async fn create(State(cloud): Shared, Payload(request): Payload<FirewallRequest>) -> Answer {
    let body = change(&cloud, |world| world.firewall_create(request))?;
    Ok((StatusCode::ACCEPTED, Json(body)))
}

async fn update(State(cloud): Shared, Path(id): Path<String>, Payload(request): Payload<FirewallRequest>) -> Answer {
    Ok(found(change(&cloud, |world| world.firewall_update(&id, request))?))
}

async fn delete(State(cloud): Shared, Path(id): Path<String>) -> Done {
    let applied = cloud.world().firewall_delete(&id)?;
    cloud.schedule_applied([applied]);
    Ok(StatusCode::NO_CONTENT)
}

async fn droplets_add(State(cloud): Shared, Path(id): Path<String>, Payload(body): Payload<Droplets>) -> Done {
    part(&cloud, |world| world.firewall_droplets_add(&id, body))
}

async fn droplets_remove(State(cloud): Shared, Path(id): Path<String>, Payload(body): Payload<Droplets>) -> Done {
    part(&cloud, |world| world.firewall_droplets_remove(&id, body))
}

async fn tags_add(State(cloud): Shared, Path(id): Path<String>, Payload(body): Payload<Tags>) -> Done {
    part(&cloud, |world| world.firewall_tags_add(&id, body))
}

async fn tags_remove(State(cloud): Shared, Path(id): Path<String>, Payload(body): Payload<Tags>) -> Done {
    part(&cloud, |world| world.firewall_tags_remove(&id, body))
}

async fn rules_add(State(cloud): Shared, Path(id): Path<String>, Payload(body): Payload<Rules>) -> Done {
    part(&cloud, |world| world.firewall_rules_add(&id, body))
}

async fn rules_remove(State(cloud): Shared, Path(id): Path<String>, Payload(body): Payload<Rules>) -> Done {
    part(&cloud, |world| world.firewall_rules_remove(&id, body))
}

/// Changes a firewall, and brings the change into force by and by.
fn change(cloud: &Arc<Cloud>, change: impl FnOnce(&mut World) -> Result<(Value, Applied), Problem>) -> Result<Value, Problem> {
    let (body, applied) = change(&mut cloud.world())?;
    cloud.schedule_applied([applied]);
    Ok(body)
}

fn part(cloud: &Arc<Cloud>, by: impl FnOnce(&mut World) -> Result<(Value, Applied), Problem>) -> Done {
    change(cloud, by).map(|_| StatusCode::NO_CONTENT)
}

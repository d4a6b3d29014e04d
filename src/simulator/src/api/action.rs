//! `/v2/actions`, and the actions of droplets.

use super::{Answer, Payload, found, number};
use crate::{
    cloud::{Cloud, Event},
    fault::{Asked, Fault},
    page::Paging,
    problem::Problem,
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/actions", get(all))
        .route("/v2/actions/{id}", get(one))
        .route("/v2/droplets/{id}/actions", get(of_droplet).post(order))
        .route("/v2/droplets/{id}/actions/{action}", get(one_of_droplet))
}

/// The latest first.
async fn all(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("actions", world.actions.latest(), |action| {
        world.action_view(action)
    })))
}

async fn one(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Answer {
    let world = cloud.world();
    Ok(found(json!({"action": world.action_view(world.action(number(&id)?)?)})))
}

async fn of_droplet(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, paging: Paging) -> Answer {
    let world = cloud.world();
    let id = world.droplet(number(&id)?)?.id;
    let actions = world.actions.latest().filter(|action| action.droplet == id);
    Ok(found(paging.answer("actions", actions, |action| world.action_view(action))))
}

async fn one_of_droplet(State(cloud): State<Arc<Cloud>>, Path((id, action)): Path<(String, String)>) -> Answer {
    let world = cloud.world();
    let action = world.action(number(&action)?)?;
    if action.droplet != number(&id)? {
        return Err(Problem::not_found());
    }
    Ok(found(json!({"action": world.action_view(action)})))
}

async fn order(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, asked: Asked, Payload(body): Payload<Value>) -> Answer {
    let droplet = number(&id)?;
    let (action, order, answer) = {
        let mut world = cloud.world();
        let (action, order) = world.action_order(droplet, &body)?;
        let answer = json!({"action": world.action_view(world.action(action)?)});
        (action, order, answer)
    };
    let event = match cloud.faults.strike(&asked, Fault::action_errored) {
        Some(()) => Event::Errored { action },
        None => Event::Act { action, droplet, order },
    };
    let after = cloud.twisted(&asked, Fault::slow_action, cloud.settings.get().action());
    cloud.schedule(after, event);
    Ok((StatusCode::CREATED, Json(answer)))
}

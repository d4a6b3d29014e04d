//! `/v2/projects`.

use super::{Answer, Done, Payload, found};
use crate::{
    cloud::Cloud,
    page::Paging,
    world::project::{Assign, ProjectRequest, resource_view},
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::json;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/projects", get(list).post(create))
        .route("/v2/projects/{id}", get(one).put(update).patch(update).delete(delete))
        .route("/v2/projects/{id}/resources", get(resources).post(assign))
}

async fn list(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("projects", world.projects.values(), |project| project)))
}

async fn create(State(cloud): State<Arc<Cloud>>, Payload(request): Payload<ProjectRequest>) -> Answer {
    Ok((StatusCode::CREATED, Json(cloud.world().project_create(request)?)))
}

async fn one(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Answer {
    Ok(found(json!({"project": cloud.world().project(&id)?})))
}

async fn update(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, Payload(request): Payload<ProjectRequest>) -> Answer {
    Ok(found(cloud.world().project_update(&id, request)?))
}

async fn delete(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Done {
    cloud.world().project_delete(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resources(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, paging: Paging) -> Answer {
    let world = cloud.world();
    let project = world.project(&id)?.id;
    Ok(found(paging.answer("resources", world.project_droplets(project), |id| {
        resource_view(&format!("do:droplet:{id}"), "ok")
    })))
}

async fn assign(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, Payload(body): Payload<Assign>) -> Answer {
    Ok(found(cloud.world().project_assign(&id, &body)?))
}

//! `/v2/tags`.

use super::{Answer, Done, Payload, firewall, found};
use crate::{cloud::Cloud, fault::Asked, page::Paging, world::tag::Resources};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
struct NewTag {
    name: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/tags", get(list).post(create))
        .route("/v2/tags/{name}", get(one).delete(delete))
        .route("/v2/tags/{name}/resources", post(add).delete(remove))
}

async fn list(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("tags", &world.tags, |name| world.tag_view(name))))
}

async fn create(State(cloud): State<Arc<Cloud>>, Payload(tag): Payload<NewTag>) -> Answer {
    let answer = cloud.world().tag_create(&tag.name.unwrap_or_default())?;
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn one(State(cloud): State<Arc<Cloud>>, Path(name): Path<String>) -> Answer {
    Ok(found(cloud.world().tag_get(&name)?))
}

async fn delete(State(cloud): State<Arc<Cloud>>, Path(name): Path<String>, asked: Asked) -> Done {
    let changes = cloud.world().tag_delete(&name)?;
    firewall::spread(&cloud, &asked, changes);
    Ok(StatusCode::NO_CONTENT)
}

async fn add(
    State(cloud): State<Arc<Cloud>>,
    Path(name): Path<String>,
    asked: Asked,
    Payload(resources): Payload<Resources>,
) -> Done {
    let (ids, changes) = {
        let mut world = cloud.world();
        let ids = world.tagged_ids(&name, &resources)?;
        (ids, world.tag_resources_add(&name, &resources)?)
    };
    cloud.watch_twins(&ids);
    firewall::spread(&cloud, &asked, changes);
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(cloud): State<Arc<Cloud>>,
    Path(name): Path<String>,
    asked: Asked,
    Payload(resources): Payload<Resources>,
) -> Done {
    let changes = cloud.world().tag_resources_remove(&name, &resources)?;
    firewall::spread(&cloud, &asked, changes);
    Ok(StatusCode::NO_CONTENT)
}

//! `/v2/sizes`, `/v2/regions`, `/v2/images`.

use super::{Answer, found};
use crate::{cloud::Cloud, page::Paging, problem::Problem, world::catalog::Image};
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/sizes", get(sizes))
        .route("/v2/regions", get(regions))
        .route("/v2/images", get(images))
        .route("/v2/images/{id}", get(image))
}

async fn sizes(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("sizes", &world.catalog.sizes, |size| size)))
}

async fn regions(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("regions", &world.catalog.regions, |region| region)))
}

async fn images(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let (kind, private, tag) = (
        paging.parameter("type"),
        paging.parameter("private").as_deref() == Some("true"),
        paging.parameter("tag_name"),
    );
    let wanted = |image: &&Arc<Image>| {
        let kind_matches = match kind.as_deref() {
            Some("application") => image.application,
            Some("distribution") => image.public && !image.application,
            Some(_) | None => true,
        };
        kind_matches && (!private || !image.public) && tag.as_ref().is_none_or(|tag| image.tags.contains(tag))
    };
    let world = cloud.world();
    Ok(found(paging.answer(
        "images",
        world.catalog.images.iter().filter(wanted),
        |image| image,
    )))
}

/// By id or slug.
async fn image(State(cloud): State<Arc<Cloud>>, Path(named): Path<String>) -> Answer {
    let world = cloud.world();
    let image = world.catalog.image(&Value::String(named));
    Ok(found(json!({"image": image.ok_or_else(Problem::not_found)?})))
}

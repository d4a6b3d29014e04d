//! `/v2/account`, its keys, and the default VPCs.

use super::{Answer, found};
use crate::{cloud::Cloud, page::Paging, problem::Problem};
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/account", get(account))
        .route("/v2/account/keys", get(keys))
        .route("/v2/vpcs", get(vpcs))
        .route("/v2/vpcs/{id}", get(vpc))
}

async fn account(State(cloud): State<Arc<Cloud>>) -> Answer {
    Ok(found(cloud.world().account_view()))
}

/// The account has none.
async fn keys(paging: Paging) -> Answer {
    Ok(found(paging.answer("ssh_keys", std::iter::empty::<Value>(), |key| key)))
}

async fn vpcs(State(cloud): State<Arc<Cloud>>, paging: Paging) -> Answer {
    let world = cloud.world();
    Ok(found(paging.answer("vpcs", &world.catalog.vpcs, |vpc| vpc)))
}

async fn vpc(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Answer {
    let world = cloud.world();
    let vpc = world.catalog.vpcs.iter().find(|vpc| vpc.id.to_string() == id);
    Ok(found(json!({"vpc": vpc.ok_or_else(Problem::not_found)?})))
}

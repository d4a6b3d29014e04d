//! The endpoints that droplets' agents call: enrolment, heartbeat, desired set, and the download of the agent itself.

pub(crate) mod binary;
mod desired_set;
mod enrol;
mod heartbeat;

use crate::Backend;
use agent_api::wire::backend_path::{BINARY, DESIRED_SET, ENROL, HEARTBEAT};
use axum::{
    Router,
    routing::{get, post},
};

pub(crate) fn routes() -> Router<Backend> {
    Router::new()
        .route(ENROL, post(enrol::enrol))
        .route(HEARTBEAT, post(heartbeat::heartbeat))
        .route(BINARY, get(binary::download))
        .route(DESIRED_SET, get(desired_set::get))
}

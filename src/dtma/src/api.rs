//! The agent's HTTPS API on port 30000.
//!
//! Owns: routes, the bearer token, limits, and the words of its errors. Must not: know how containers are run. Promises: nothing but
//! "alive" is said to whoever does not hold the control token; every error is `application/problem+json`.

use crate::{
    credentials::Current,
    desired_store::{DesiredStore, Foreign},
    told::Told,
    vitals::Vitals,
};
use agent_api::{
    Health, LivenessAnswer, Problem, ToolList,
    wire::agent_path::{DESIRED_SET, HEALTH, TOOL_STATUS, TOOLS},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing,
};
use container_reconciler::Offer;
use model::{DesiredSet, DropletId, EnvironmentId, InstanceId, InstanceReport, Stamp};
use std::{sync::Arc, time::Duration};
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use uuid::Uuid;

/// The longest body that is read: a desired set of a thousand instances is about a quarter of it.
const BODY_LIMIT: usize = 4 << 20;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What the API speaks of.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) credentials: Current,
    pub(crate) desired: DesiredStore,
    pub(crate) told: Told,
    pub(crate) vitals: Vitals,
    pub(crate) about: Arc<About>,
}

/// Who this agent is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) environment: EnvironmentId,
    pub(crate) droplet: DropletId,
    /// Made anew at each start of the agent.
    pub(crate) boot: Uuid,
}

/// The routes.
pub(crate) fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route(DESIRED_SET, routing::get(desired_set).put(put_desired_set))
        .route(TOOLS, routing::get(tools))
        .route(TOOL_STATUS, routing::get(tool_status))
        .route_layer(middleware::from_fn_with_state(api.clone(), require_token));
    Router::new()
        .route(HEALTH, routing::get(health))
        .merge(guarded)
        .fallback(async || Refused::new(StatusCode::NOT_FOUND, "no such resource"))
        .method_not_allowed_fallback(async || Refused::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method"))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
        .layer(CatchPanicLayer::new())
        .with_state(api)
}

/// An error as it is answered.
struct Refused(Problem);

impl Refused {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Problem {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            held: None,
        })
    }

    fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the control token is missing or not this epoch's")
    }

    /// A desired set that is older than the one in force.
    fn older(held: Stamp) -> Self {
        let mut refused = Self::new(StatusCode::CONFLICT, "a newer desired set is in force");
        refused.0.held = Some(held);
        refused
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Foreign> for Refused {
    fn from(foreign: Foreign) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, foreign.to_string())
    }
}

impl Api {
    fn admits(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let credentials = self.credentials.borrow();
        credentials
            .as_ref()
            .is_some_and(|credentials| credentials.control_token.verify_header(presented))
    }
}

async fn require_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.admits(request.headers()) {
        next.run(request).await
    } else {
        Refused::unauthorized().into_response()
    }
}

/// To everyone: that it lives. To the control plane: how. A wrong token is told so.
async fn health(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Refused> {
    let status = "ok".to_owned();
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(Json(LivenessAnswer { status }).into_response());
    }
    if !api.admits(&headers) {
        return Err(Refused::unauthorized());
    }
    let epoch = api.credentials.borrow().as_ref().map_or(0, |credentials| credentials.epoch);
    Ok(Json(Health {
        status,
        environment_id: api.about.environment,
        droplet_id: Some(api.about.droplet),
        boot_id: api.about.boot,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch,
        applied: api.desired.stamp(),
        engine_version: api.vitals.engine_version().await,
    })
    .into_response())
}

async fn desired_set(State(api): State<Api>) -> Result<Json<DesiredSet>, Refused> {
    let current = api.desired.current();
    current
        .map(|set| Json(DesiredSet::clone(&set)))
        .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "no desired set is in force yet"))
}

async fn put_desired_set(State(api): State<Api>, body: Bytes) -> Result<StatusCode, Refused> {
    let set: DesiredSet = serde_json::from_slice(&body).map_err(|error| {
        Refused::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the desired set is not understood: {error}"),
        )
    })?;
    match api.desired.accept(set).await? {
        Offer::Accepted | Offer::Unchanged => Ok(StatusCode::NO_CONTENT),
        Offer::Older { held } => Err(Refused::older(held)),
    }
}

async fn tools(State(api): State<Api>) -> Json<ToolList> {
    Json(ToolList {
        tools: api.told.reports(),
    })
}

async fn tool_status(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<InstanceReport>, Refused> {
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "no such tool instance on this droplet");
    let id: InstanceId = id.parse().map_err(|_| unknown())?;
    api.told.report(id).map(Json).ok_or_else(unknown)
}

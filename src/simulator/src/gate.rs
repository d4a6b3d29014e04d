//! What every request to the API passes: faults, the token, the rate limits, the journal.

use crate::{
    cloud::Cloud,
    fault::{self, Fault},
    journal::{self, What},
    problem::Problem,
};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use std::{sync::Arc, time::Duration};

const BODY_LIMIT: usize = 1 << 20;

/// The order is the real thing's: an edge may fail before anything is looked at, and a refused token costs no budget.
pub(crate) async fn pass(State(cloud): State<Arc<Cloud>>, request: Request, next: Next) -> Response {
    let fault = cloud.faults.take(request.method().as_str(), request.uri().path());
    let before = match &fault {
        Some(Fault::DropBefore) => Some(fault::lost()),
        Some(Fault::Html { status, after_effect }) if !after_effect => Some(fault::html(*status)),
        Some(Fault::Refuse { status, id, message }) => Some(fault::refusal(*status, id, message)),
        Some(Fault::DropAfter | Fault::Html { .. } | Fault::Delay { .. }) | None => None,
    };
    let answer = journaled(&cloud, request, next, before).await;
    match fault {
        Some(Fault::DropAfter) => fault::lost(),
        Some(Fault::Html { status, after_effect }) if after_effect => fault::html(status),
        Some(Fault::Delay { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer
        }
        Some(Fault::DropBefore | Fault::Html { .. } | Fault::Refuse { .. }) | None => answer,
    }
}

/// Writes down what may change something, with the status that the API came to.
async fn journaled(cloud: &Arc<Cloud>, request: Request, next: Next, before: Option<Response>) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        cloud.journal.read_counted();
        return match before {
            Some(answer) => answer,
            None => limited(cloud, request, next).await,
        };
    }
    let (method, path) = (request.method().to_string(), request.uri().to_string());
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let body = journal::body_of(&bytes);
    let reached = before.is_none();
    let answer = match before {
        Some(answer) => answer,
        None => limited(cloud, Request::from_parts(parts, Body::from(bytes)), next).await,
    };
    cloud.journal.write(What::Request {
        method,
        path,
        body,
        status: reached.then(|| answer.status().as_u16()),
    });
    answer
}

async fn limited(cloud: &Arc<Cloud>, request: Request, next: Next) -> Response {
    let expected = format!("Bearer {}", cloud.config.token.expose_secret());
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if given != Some(expected.as_bytes()) {
        return Problem::unauthorized().into_response();
    }
    let verdict = cloud.rates.request(&cloud.settings.get());
    let mut answer = if verdict.allowed {
        next.run(request).await
    } else {
        Problem::too_many_requests().into_response()
    };
    verdict.write(answer.headers_mut());
    answer
}

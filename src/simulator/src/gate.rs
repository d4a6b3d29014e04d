//! What every request to the API passes: faults, the token, the rate limits, the journal.

use crate::{
    cloud::Cloud,
    fault::{Asked, Fault, Refusal, Spoil, lost},
    journal::{self, What},
    problem::Problem,
};
use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use std::sync::Arc;

const BODY_LIMIT: usize = 1 << 20;

/// How far a request gets.
enum Way {
    /// A fault keeps it from the API.
    Blocked,
    /// The API has to answer it, with this instead of what it would say.
    Through(Option<Refusal>),
}

/// The order is the real thing's: an edge may fail before anything is looked at, and a refused token costs no budget.
pub(crate) async fn pass(State(cloud): State<Arc<Cloud>>, request: Request, next: Next) -> Response {
    let asked = Asked {
        method: request.method().clone(),
        uri: request.uri().clone(),
    };
    match cloud.faults.strike(&asked, Fault::spoil) {
        Some(Spoil::Before(loss)) => {
            journaled(&cloud, asked, request, next, Way::Blocked).await;
            loss.suffer(lost(), &cloud.stop).await
        }
        Some(Spoil::Instead(refusal)) => journaled(&cloud, asked, request, next, Way::Through(Some(refusal))).await,
        Some(Spoil::After(loss)) => {
            let answer = journaled(&cloud, asked, request, next, Way::Through(None)).await;
            loss.suffer(answer, &cloud.stop).await
        }
        None => journaled(&cloud, asked, request, next, Way::Through(None)).await,
    }
}

/// Counts reads, and writes down what may change something, with the status that the API came to.
async fn journaled(cloud: &Arc<Cloud>, asked: Asked, request: Request, next: Next, way: Way) -> Response {
    let is_read = matches!(asked.method, Method::GET | Method::HEAD);
    let endpoint = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let endpoint = format!("{} {}", asked.method, endpoint.unwrap_or("elsewhere"));
    cloud.journal.count(endpoint, is_read);
    if is_read {
        return limited(cloud, request, next, way).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let body = journal::body_of(&bytes);
    let touched = cloud.world().touched(&asked.method, &asked.uri, &body);
    let reached = matches!(way, Way::Through(_));
    let answer = limited(cloud, Request::from_parts(parts, Body::from(bytes)), next, way).await;
    cloud.write(What::Request {
        method: asked.method.to_string(),
        path: asked.uri.to_string(),
        body,
        status: reached.then(|| answer.status().as_u16()),
        touched,
    });
    answer
}

async fn limited(cloud: &Arc<Cloud>, request: Request, next: Next, way: Way) -> Response {
    let Way::Through(instead) = way else { return lost() };
    let expected = format!("Bearer {}", cloud.config.token.expose_secret());
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if given != Some(expected.as_bytes()) {
        return Problem::unauthorized().into_response();
    }
    let settings = cloud.settings.get();
    if let Some(answer) = instead.as_ref().and_then(|refusal| refusal.limit(&settings)) {
        return answer;
    }
    let verdict = cloud.rates.request(&settings);
    let mut answer = match (verdict.allowed, instead) {
        (false, _) => Problem::too_many_requests().into_response(),
        (true, Some(refusal)) => refusal.answer(),
        (true, None) => next.run(request).await,
    };
    verdict.write(answer.headers_mut());
    answer
}

//! The answers of faults: an edge's pages, refusals in the API's words, and none at all.

use super::{Fault, Loss};
use crate::{config::Settings, problem::Problem, rate::Verdict};
use axum::{
    Json,
    body::Body,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Marks an answer that the client must not get: the server drops the connection instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

/// An answer that is never sent.
pub(crate) fn lost() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Lost);
    response
}

impl Loss {
    /// What the client gets instead of the answer. Waits as long as the fault says, but not beyond a stop.
    pub(crate) async fn suffer(self, answer: Response, stop: &CancellationToken) -> Response {
        match self {
            Self::Dropped => lost(),
            Self::Html(status) => html(status),
            Self::Late(ms) => {
                // A stop ends the waiting: the answer is sent early.
                let _ = tokio::time::timeout(Duration::from_millis(ms), stop.cancelled()).await;
                answer
            }
            Self::Never => {
                stop.cancelled().await;
                lost()
            }
        }
    }
}

/// An answer that the API gives instead of doing what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Words { status: u16, id: String, message: String },
    TryAgain,
    PendingEvent,
    DropletLimit,
    Burst { retry_after: u64 },
    HourSpent { reset_after: u64 },
}

impl Refusal {
    pub(super) fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Refuse { status, id, message } => Some(Self::Words {
                status: *status,
                id: id.clone(),
                message: message.clone(),
            }),
            Fault::TryAgain => Some(Self::TryAgain),
            Fault::PendingEvent => Some(Self::PendingEvent),
            Fault::DropletLimit => Some(Self::DropletLimit),
            Fault::Burst { retry_after } => Some(Self::Burst {
                retry_after: *retry_after,
            }),
            Fault::HourSpent { reset_after } => Some(Self::HourSpent {
                reset_after: *reset_after,
            }),
            Fault::DropBefore
            | Fault::DropAfter
            | Fault::Timeout { .. }
            | Fault::Html { .. }
            | Fault::Delay { .. }
            | Fault::Vanish { .. }
            | Fault::Hide { .. }
            | Fault::Addressless { .. }
            | Fault::Farewell { .. }
            | Fault::FirewallWaits { .. }
            | Fault::SlowAction { .. }
            | Fault::ActionErrored
            | Fault::Page { .. }
            | Fault::Stale { .. } => None,
        }
    }

    /// The rate limiter's own answer, which costs nothing of the budget.
    pub(crate) fn limit(&self, settings: &Settings) -> Option<Response> {
        match self {
            Self::Burst { retry_after } => Some(Verdict::refusal(settings, Some(*retry_after), settings.hour())),
            Self::HourSpent { reset_after } => Some(Verdict::refusal(settings, None, Duration::from_secs(*reset_after))),
            Self::Words { .. } | Self::TryAgain | Self::PendingEvent | Self::DropletLimit => None,
        }
    }

    /// The API's answer.
    pub(crate) fn answer(&self) -> Response {
        match self {
            Self::Words { status, id, message } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
                (status, Json(json!({"id": id, "message": message}))).into_response()
            }
            Self::TryAgain => Problem::try_again().into_response(),
            Self::PendingEvent => Problem::pending_event().into_response(),
            Self::DropletLimit => Problem::droplet_limit().into_response(),
            Self::Burst { .. } | Self::HourSpent { .. } => Problem::too_many_requests().into_response(),
        }
    }
}

/// The page of an edge that could not get an answer.
fn html(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
    let reason = status.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<html>\r\n<head><title>{0} {reason}</title></head>\r\n<body>\r\n<center><h1>{0} {reason}</h1></center>\r\n</body>\r\n</html>\r\n",
        status.as_u16()
    );
    (status, [(CONTENT_TYPE, "text/html")], page).into_response()
}

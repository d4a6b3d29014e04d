//! Faults that single requests run into. Each rule waits for requests that match it, and is used up by them.

use axum::{
    Json,
    body::Body,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The connection is dropped; the request has no effect.
    DropBefore,
    /// The request has its effect; then the connection is dropped.
    DropAfter,
    /// An edge answers with a page of HTML.
    Html {
        /// `500`, `502`, `503`, `504`, ...
        status: u16,
        /// Whether the request had its effect all the same.
        after_effect: bool,
    },
    /// The API refuses in its own words, without an effect.
    Refuse {
        /// `422`, ...
        status: u16,
        /// `unprocessable_entity`, ...
        id: String,
        /// `Please try again.`, ...
        message: String,
    },
    /// The request has its effect, and its answer comes late.
    Delay {
        /// How late, in milliseconds.
        ms: u64,
    },
}

/// For which requests, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `POST`, ...; any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// The path; with a `*` at its end, its beginning; any when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// How many requests run into it.
    #[serde(default = "once")]
    pub times: u32,
    /// What they run into.
    pub fault: Fault,
}

fn once() -> u32 {
    1
}

impl FaultRule {
    /// The next request of this method and path.
    pub fn next(method: &str, path: &str, fault: Fault) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            times: 1,
            fault,
        }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        let path_matches = |wanted: &str| match wanted.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == wanted,
        };
        self.method
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(path_matches)
    }
}

/// The rules that are not used up, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<FaultRule>>);

impl Faults {
    pub(crate) fn add(&self, rule: FaultRule) {
        self.lock().push(rule);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn waiting(&self) -> Vec<FaultRule> {
        self.lock().clone()
    }

    /// The fault that a request runs into.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let mut rules = self.lock();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && rule.matches(method, path))?;
        rule.times -= 1;
        let fault = rule.fault.clone();
        rules.retain(|rule| rule.times > 0);
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FaultRule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks an answer that the client must not get: the server drops the connection instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

/// An answer that is never sent.
pub(crate) fn lost() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Lost);
    response
}

/// The API's own refusal.
pub(crate) fn refusal(status: u16, id: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    (status, Json(json!({"id": id, "message": message}))).into_response()
}

/// The page of an edge that could not get an answer.
pub(crate) fn html(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
    let reason = status.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<html>\r\n<head><title>{0} {reason}</title></head>\r\n<body>\r\n<center><h1>{0} {reason}</h1></center>\r\n</body>\r\n</html>\r\n",
        status.as_u16()
    );
    (status, [(CONTENT_TYPE, "text/html")], page).into_response()
}

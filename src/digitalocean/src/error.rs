//! What can go wrong with a call, classed where it is born. Owns the mapping from status, body and transport failure to
//! a class. Must not: know what the caller was about.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::fmt;

/// Which call an error speaks of: `POST /v2/droplets`. Bounded: ids stand as `{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// The path with placeholders: `/v2/droplets/{id}`.
    pub endpoint: &'static str,
}

impl Call {
    /// Whether the call may change something at DigitalOcean.
    pub fn mutates(self) -> bool {
        self.method != "GET"
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.endpoint)
    }
}

/// Why DigitalOcean refused a request that it understood. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// "Please try again": a passing condition on their side. Try again soon.
    TryAgain,
    /// The droplet is locked, or "already has a pending event". Try again when the event has ended.
    PendingEvent,
    /// The account's droplet limit is reached. Goes away when droplets are destroyed or the limit is raised.
    DropletLimit,
    /// Something of this name is there already (409).
    Duplicate,
    /// A value is not acceptable, and will not be until it is changed.
    Invalid {
        /// The request's field that the message speaks of: `image`, `name`, `region`, `size`, `tags`, `user_data`, ...
        field: Option<&'static str>,
    },
}

/// Whether, and when, trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing was changed, and the same call may succeed later.
    Retriable {
        /// How long it makes sense to wait at least, when that is known.
        after: Option<SignedDuration>,
    },
    /// Nothing was changed, and the same call will not succeed until its content changes.
    Terminal,
    /// The effect may or may not have happened. Look before calling again.
    Ambiguous,
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting of the client is unusable. Terminal.
    #[error("{setting}: {message}")]
    Configuration {
        /// The setting's name in Toolplane's configuration.
        setting: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// 404. For a get or delete by id this is an answer; just after a create it may be lag.
    #[error("{call}: there is no such resource")]
    NotFound {
        /// The call.
        call: Call,
    },
    /// 401 or 403. Retriable, slowly: it heals when the token is mended, and no row is to blame.
    #[error(
        "{call}: DigitalOcean refused the token ({message}); digitalocean_token must be a valid token with read and write scope"
    )]
    Unauthorized {
        /// The call.
        call: Call,
        /// Their words.
        message: String,
    },
    /// The token's budget is spent: 429, or not even sent. Nothing was changed. Retriable at `retry_at`.
    #[error("{call}: the request limit of digitalocean_token is reached until {retry_at}")]
    RateLimited {
        /// The call.
        call: Call,
        /// The soonest time at which the call can be let through.
        retry_at: Timestamp,
    },
    /// Any other 4xx. Nothing was changed; see [`Refusal`] for what may help.
    #[error("{call}: refused ({status} {id}): {message}")]
    Refused {
        /// The call.
        call: Call,
        /// The HTTP status.
        status: u16,
        /// Their word for it: `unprocessable_entity`.
        id: String,
        /// Their sentence.
        message: String,
        /// What it means.
        refusal: Refusal,
    },
    /// A call that may have changed something ended in a timeout, a dropped connection, a 5xx or an unreadable answer.
    #[error("{call}: no usable answer, the effect may have happened: {message}")]
    Ambiguous {
        /// The call.
        call: Call,
        /// What was seen instead of an answer.
        message: String,
        /// What lies beneath.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// DigitalOcean could not be reached, or a read ended in a timeout or a 5xx. Nothing was changed. Retriable.
    #[error("{call}: DigitalOcean is not available: {message}")]
    Unavailable {
        /// The call.
        call: Call,
        /// What was seen instead of an answer.
        message: String,
        /// What lies beneath.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// A read was answered with something that is not what the API promises. Retriable, slowly.
    #[error("{call}: the answer cannot be read: {message}")]
    Decode {
        /// The call.
        call: Call,
        /// Where and why.
        message: String,
    },
    /// A list's pages did not add up, also when read again. Retriable; nothing may be concluded from what was in it.
    #[error("{call}: the list is incomplete: {message}")]
    Incomplete {
        /// The call.
        call: Call,
        /// What did not add up.
        message: String,
    },
}

impl Error {
    /// Whether, and when, trying again can help.
    pub fn class(&self) -> Class {
        let after = |seconds| Class::Retriable {
            after: Some(SignedDuration::from_secs(seconds)),
        };
        match self {
            Self::Configuration { .. } => Class::Terminal,
            Self::NotFound { .. } | Self::Unavailable { .. } | Self::Incomplete { .. } => Class::Retriable { after: None },
            Self::Unauthorized { .. } => after(60),
            Self::Decode { .. } => after(30),
            Self::RateLimited { retry_at, .. } => Class::Retriable {
                after: Some(retry_at.duration_since(Timestamp::now()).max(SignedDuration::ZERO)),
            },
            Self::Refused { refusal, .. } => match refusal {
                Refusal::TryAgain | Refusal::PendingEvent => after(5),
                Refusal::DropletLimit => after(60),
                Refusal::Duplicate | Refusal::Invalid { .. } => Class::Terminal,
            },
            Self::Ambiguous { .. } => Class::Ambiguous,
        }
    }

    /// Whether the resource is not there (404).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// One upper-camel-case word, for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "DigitalOceanMisconfigured",
            Self::NotFound { .. } => "DigitalOceanNotFound",
            Self::Unauthorized { .. } => "DigitalOceanUnauthorized",
            Self::RateLimited { .. } => "DigitalOceanRateLimited",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::TryAgain => "DigitalOceanTryAgain",
                Refusal::PendingEvent => "DropletBusy",
                Refusal::DropletLimit => "DropletLimitReached",
                Refusal::Duplicate => "DigitalOceanDuplicate",
                Refusal::Invalid { .. } => "DigitalOceanRefused",
            },
            Self::Ambiguous { .. } => "DigitalOceanAmbiguous",
            Self::Unavailable { .. } => "DigitalOceanUnavailable",
            Self::Decode { .. } => "DigitalOceanUnreadable",
            Self::Incomplete { .. } => "DigitalOceanIncomplete",
        }
    }

    /// Classes a transport failure: the request may not have been sent, or its answer may have been lost.
    pub(crate) fn transport(call: Call, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let message = if error.is_connect() {
            "no connection".to_owned()
        } else if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            "the connection was lost".to_owned()
        };
        let source = Some(error);
        // Without a connection nothing was sent, so nothing can have happened.
        let sent = source.as_ref().is_some_and(|error| !error.is_connect());
        if call.mutates() && sent {
            Self::Ambiguous { call, message, source }
        } else {
            Self::Unavailable { call, message, source }
        }
    }

    /// Classes an answer whose status is no success. `retry_at` is when the token may be used again, for a 429.
    pub(crate) fn status(call: Call, status: u16, body: &[u8], retry_at: Timestamp) -> Self {
        let said = Said::read(status, body);
        match status {
            401 | 403 => Self::Unauthorized {
                call,
                message: said.message,
            },
            404 => Self::NotFound { call },
            429 => Self::RateLimited { call, retry_at },
            // A request timeout (408) is an edge's way of saying that it does not know either.
            408 | 500.. if call.mutates() => Self::Ambiguous {
                call,
                message: said.line(status),
                source: None,
            },
            408 | 500.. => Self::Unavailable {
                call,
                message: said.line(status),
                source: None,
            },
            _ => Self::Refused {
                call,
                status,
                refusal: refusal(status, &said.message),
                id: said.id,
                message: said.message,
            },
        }
    }

    /// Classes a success whose body is not what was promised.
    pub(crate) fn body(call: Call, message: String) -> Self {
        if call.mutates() {
            Self::Ambiguous {
                call,
                message,
                source: None,
            }
        } else {
            Self::Decode { call, message }
        }
    }
}

/// What an error's body says.
struct Said {
    id: String,
    message: String,
}

impl Said {
    /// Reads both of DigitalOcean's error bodies. Anything else, HTML of an edge above all, is described and never shown.
    fn read(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            id: Option<String>,
            message: Option<String>,
            error: Option<String>,
        }
        let parsed = serde_json::from_slice::<Body>(body).ok();
        match parsed.and_then(|body| Some((body.id, body.message.or(body.error)?))) {
            Some((id, message)) => Self {
                id: id.unwrap_or_else(|| format!("http_{status}")),
                message: shorten(&message),
            },
            None if body.is_empty() => Self {
                id: format!("http_{status}"),
                message: "an empty body".to_owned(),
            },
            None => Self {
                id: format!("http_{status}"),
                message: format!("a body of {} bytes that is not the API's", body.len()),
            },
        }
    }

    fn line(&self, status: u16) -> String {
        format!("HTTP {status}, {}", self.message)
    }
}

/// Bounds a foreign text, so that it fits a row's message.
fn shorten(text: &str) -> String {
    const MOST: usize = 500;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

/// What a 4xx means. DigitalOcean has one id for all of these (`unprocessable_entity`), so that only the sentence tells.
fn refusal(status: u16, message: &str) -> Refusal {
    const FIELDS: [(&str, &str); 15] = [
        ("disk image", "size"),
        ("hostname characters", "name"),
        ("user_data", "user_data"),
        ("user data", "user_data"),
        ("ssh", "ssh_keys"),
        ("image", "image"),
        ("region", "region"),
        ("size", "size"),
        ("vpc", "vpc_uuid"),
        ("inbound", "inbound_rules"),
        ("outbound", "outbound_rules"),
        ("rule", "rules"),
        ("tag", "tags"),
        ("droplet_ids", "droplet_ids"),
        ("name", "name"),
    ];
    let message = message.to_lowercase();
    let says = |text: &str| message.contains(text);
    if says("pending event") || says("is locked") || says("currently locked") {
        Refusal::PendingEvent
    } else if says("droplet limit") {
        Refusal::DropletLimit
    } else if says("try again") {
        Refusal::TryAgain
    } else if status == 409 {
        Refusal::Duplicate
    } else {
        let field = FIELDS.iter().find(|(word, _)| says(word)).map(|(_, field)| *field);
        Refusal::Invalid { field }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: Call = Call {
        method: "POST",
        endpoint: "/v2/droplets",
    };
    const GET: Call = Call {
        method: "GET",
        endpoint: "/v2/droplets/{id}",
    };

    fn status(call: Call, status: u16, message: &str) -> Error {
        let body = serde_json::json!({"id": "unprocessable_entity", "message": message}).to_string();
        Error::status(call, status, body.as_bytes(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_422_is_transient_or_names_its_field() {
        for (message, expected) in [
            ("Please try again.", Refusal::TryAgain),
            ("Droplet already has a pending event.", Refusal::PendingEvent),
            (
                "creating this/these droplet(s) will exceed your droplet limit",
                Refusal::DropletLimit,
            ),
            (
                "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)",
                Refusal::Invalid { field: Some("name") },
            ),
            (
                "You specified an invalid image for Droplet creation.",
                Refusal::Invalid { field: Some("image") },
            ),
            (
                "You specified an invalid size for Droplet creation.",
                Refusal::Invalid { field: Some("size") },
            ),
            ("Region is not available", Refusal::Invalid { field: Some("region") }),
            ("Something else.", Refusal::Invalid { field: None }),
        ] {
            let error = status(CREATE, 422, message);
            assert!(
                matches!(&error, Error::Refused { refusal, .. } if *refusal == expected),
                "{message}: {error:?}"
            );
        }
    }

    #[test]
    fn a_server_error_is_ambiguous_only_when_something_may_have_happened() {
        for code in [408, 500, 502, 503, 504] {
            assert_eq!(status(CREATE, code, "x").class(), Class::Ambiguous, "{code}");
            assert_eq!(status(GET, code, "x").class(), Class::Retriable { after: None }, "{code}");
        }
    }

    #[test]
    fn html_is_never_shown() {
        let error = Error::status(
            CREATE,
            504,
            b"<html><h1>504 Gateway Time-out</h1></html>",
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            error.to_string(),
            "POST /v2/droplets: no usable answer, the effect may have happened: HTTP 504, a body of 42 bytes that is not the API's"
        );
    }

    #[test]
    fn the_tags_endpoints_other_error_body_is_read() {
        let body =
            br#"{"error": "Error validating resource tag: contains invalid characters", "messages": null, "root_causes": []}"#;
        let error = Error::status(CREATE, 400, body, Timestamp::UNIX_EPOCH);
        assert!(
            matches!(&error, Error::Refused { message, refusal: Refusal::Invalid { field: Some("tags") }, .. }
                if message.starts_with("Error validating")),
            "{error:?}"
        );
    }

    #[test]
    fn a_refused_token_names_the_setting() {
        let error = status(GET, 401, "Unable to authenticate you.");
        assert!(error.to_string().contains("digitalocean_token"), "{error}");
    }
}

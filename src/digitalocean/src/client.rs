//! One request and its answer: authentication, budget, timeouts, retries of reads, and the class of what went wrong.
//!
//! Must not: know an endpoint. The calls themselves stand with their nouns (`droplet.rs`, `firewall.rs`, ...).
//! Promises: only a GET is ever sent twice; the token is never logged, and never sent to another host.

#[cfg(test)]
mod tests;

use crate::{
    budget::{Budget, Permit, Priority, RateHeaders},
    error::{Call, Error},
};
use backon::{ExponentialBuilder, Retryable};
use effects::{Effect, Effects, System};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::{
    Method,
    header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use url::Url;

/// How to reach DigitalOcean.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://api.digitalocean.com`, or a simulator's address. Plain http is taken for loopback addresses only.
    pub base_url: Url,
    /// A personal access token with read and write scope.
    pub token: SecretString,
    /// Sent with every request: `toolplane/0.1.0`.
    pub user_agent: String,
    /// How long to wait for a whole answer.
    pub timeout: Duration,
    /// How often a read is tried in all before [`Error::Unavailable`] or [`Error::Incomplete`] comes out.
    pub read_attempts: usize,
    /// What may be spent. All clients of one token share one.
    pub budget: Budget,
    /// The way of every request.
    pub effects: Effects,
}

impl Config {
    /// The defaults: 30 seconds, three attempts, the documented limits, no witness.
    pub fn new(base_url: Url, token: SecretString) -> Self {
        Self {
            base_url,
            token,
            user_agent: concat!("toolplane/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_secs(30),
            read_attempts: 3,
            budget: Budget::default(),
            effects: Effects::default(),
        }
    }
}

/// A client for one token. Clones share connections and budget.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    /// As what reads wait for their turn.
    reads: Priority,
    /// What the next request is sent under. With it, even when that is used up, requests go before others of their priority.
    reserved: Option<Arc<Reserved>>,
}

/// Leave that was reserved, until it is used.
#[derive(Debug)]
struct Reserved(Mutex<Option<Permit>>);

impl Reserved {
    fn take(&self) -> Option<Permit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base_url: Url,
    read_attempts: usize,
    budget: Budget,
    effects: Effects,
}

/// What to send.
#[derive(Debug)]
pub(crate) struct Request {
    /// The method of [`Client`] that sends it: `droplet_create`.
    pub(crate) name: &'static str,
    pub(crate) call: Call,
    pub(crate) priority: Priority,
    /// It goes before others of its priority.
    pub(crate) urgent: bool,
    /// The path below the base URL, with the ids in it, percent-encoded where they are text.
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<serde_json::Value>,
}

impl Request {
    pub(crate) fn get(name: &'static str, endpoint: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, "GET", endpoint, path, Priority::Read)
    }

    pub(crate) fn new(
        name: &'static str,
        method: &'static str,
        endpoint: &'static str,
        path: impl Into<String>,
        priority: Priority,
    ) -> Self {
        Self {
            name,
            call: Call { method, endpoint },
            priority,
            urgent: false,
            path: path.into(),
            query: Vec::new(),
            body: None,
        }
    }

    fn effect(&self) -> Effect {
        Effect {
            system: System::DigitalOcean,
            name: self.name,
            mutating: self.call.mutates(),
        }
    }

    /// Before others of its priority, for what is worth nothing when it comes late.
    pub(crate) fn urgent(mut self, urgent: bool) -> Self {
        self.urgent = urgent;
        self
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let value = serde_json::to_value(body).map_err(|error| Error::Configuration {
            setting: "request body",
            message: error.to_string(),
        })?;
        self.body = Some(value);
        Ok(self)
    }
}

impl Client {
    /// A client; sends nothing yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        let loopback = check_base_url(&config.base_url)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", config.token.expose_secret())).map_err(|_| {
            // The cause is not kept: it would quote the token.
            Error::Configuration {
                setting: "digitalocean_token",
                message: "contains characters that no header can carry; is there a line break in its file?".to_owned(),
            }
        })?;
        authorization.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            // A redirect would carry the token elsewhere, and turn a POST into a GET.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(config.timeout.min(Duration::from_secs(10)))
            .timeout(config.timeout);
        if loopback {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Error::Configuration {
            setting: "digitalocean_url",
            message: error.to_string(),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                base_url: config.base_url,
                read_attempts: config.read_attempts.max(1),
                budget: config.budget,
                effects: config.effects,
            }),
            reads: Priority::Read,
            reserved: None,
        })
    }

    /// The same client, whose reads wait for their turn as this does: what is only done once they are answered.
    #[must_use]
    pub fn reading_for(&self, what: Priority) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            reads: what,
            reserved: None,
        }
    }

    /// The same client, for one request that was announced to others: it is sent under leave that was reserved, while that is valid.
    /// Without, it goes before all of its priority that were not announced, which may as well come later.
    #[must_use]
    pub fn announced(&self, reserved: Option<Permit>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            reads: self.reads,
            reserved: Some(Arc::new(Reserved(Mutex::new(reserved)))),
        }
    }

    /// The budget that this client spends from.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Sends a request whose answer has a body.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        if request.call.mutates() {
            return decode(request.call, &self.send(&request).await?);
        }
        let attempt = || async { decode(request.call, &self.send(&request).await?) };
        self.again(attempt, |error| matches!(error, Error::Unavailable { .. })).await
    }

    /// Sends a request whose answer has none, or none of interest.
    pub(crate) async fn submit(&self, request: Request) -> Result<(), Error> {
        self.send(&request).await.map(drop)
    }

    /// Repeats a read, with growing and jittered pauses, while it fails in a way that passes.
    pub(crate) async fn again<T, F>(&self, attempt: impl FnMut() -> F, when: impl Fn(&Error) -> bool) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(self.inner.read_attempts - 1)
            .with_jitter();
        attempt.retry(pauses).when(when).await
    }

    /// Leave to send one request: what was reserved, while it is valid, or waited for.
    pub(crate) async fn leave(&self, call: Call, priority: Priority, urgent: bool) -> Result<Permit, Error> {
        if let Some(permit) = self
            .reserved
            .as_ref()
            .and_then(|reserved| reserved.take())
            .filter(Permit::is_valid)
        {
            return Ok(permit);
        }
        let place = match priority {
            Priority::Read => self.reads,
            Priority::Delete | Priority::Create | Priority::Change => priority,
        };
        let budget = &self.inner.budget;
        let permit = if urgent || self.reserved.is_some() {
            budget.acquire_urgent(place).await
        } else {
            budget.acquire(place).await
        };
        permit.map_err(|exhausted| Error::RateLimited {
            call,
            retry_at: exhausted.retry_at,
        })
    }

    /// One request, one answer, no retry.
    async fn send(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let call = request.call;
        let permit = self.leave(call, request.priority, request.urgent).await?;
        let outcome = self.inner.effects.run(request.effect(), self.exchange(request, permit)).await;
        let result = outcome.as_ref().map_or_else(Error::reason, |_| "Ok");
        metrics::counter!("digitalocean_requests_total", "method" => call.method, "endpoint" => call.endpoint, "result" => result)
            .increment(1);
        tracing::debug!(method = call.method, path = request.path, result, "DigitalOcean was asked");
        outcome
    }

    async fn exchange(&self, request: &Request, permit: Permit) -> Result<Vec<u8>, Error> {
        let call = request.call;
        let answer = self
            .build(request)?
            .send()
            .await
            .map_err(|error| Error::transport(call, error))?;
        let status = answer.status();
        let headers = rate_headers(answer.headers());
        let retry_at = if status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            permit.refused(headers)
        } else {
            permit.settle(headers);
            Timestamp::now()
        };
        let body = answer.bytes().await;
        if status.is_success() {
            return body.map(Vec::from).map_err(|error| Error::transport(call, error));
        }
        // A failure whose body was lost is still that failure.
        Err(Error::status(call, status.as_u16(), &body.unwrap_or_default(), retry_at))
    }

    fn build(&self, request: &Request) -> Result<reqwest::RequestBuilder, Error> {
        let unusable = |message: String| Error::Configuration {
            setting: "digitalocean_url",
            message,
        };
        let base = self.inner.base_url.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{}", request.path)).map_err(|error| unusable(error.to_string()))?;
        let method = Method::from_bytes(request.call.method.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let mut builder = self.inner.http.request(method, url).query(&request.query);
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        Ok(builder)
    }
}

/// Whether the URL is a loopback address; an error when it cannot be used.
fn check_base_url(url: &Url) -> Result<bool, Error> {
    let refused = |message: &str| Error::Configuration {
        setting: "digitalocean_url",
        message: format!("{url} {message}"),
    };
    let loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err(refused("names no host")),
    };
    match url.scheme() {
        "https" => Ok(loopback),
        "http" if loopback => Ok(true),
        "http" => Err(refused("would send the token in plain text; use https")),
        _ => Err(refused("must be an https URL")),
    }
}

/// Reads a body, and says where it is not what it should be.
fn decode<T: DeserializeOwned>(call: Call, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::body(call, error.to_string()))
}

/// A time that an answer names, corrected by how far its clock and ours are apart.
fn by_our_clock(headers: &HeaderMap, seconds: i64) -> Option<Timestamp> {
    let ours = Timestamp::now().as_second();
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let theirs = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let ahead = ours - theirs.map_or(ours, Timestamp::as_second);
    Timestamp::from_second(seconds.checked_add(ahead)?).ok()
}

fn rate_headers(headers: &HeaderMap) -> RateHeaders {
    fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
        headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }
    RateHeaders {
        limit: number(headers, "ratelimit-limit"),
        remaining: number(headers, "ratelimit-remaining"),
        reset: number(headers, "ratelimit-reset").and_then(|seconds| by_our_clock(headers, seconds)),
        retry_after: number(headers, "retry-after").map(SignedDuration::from_secs),
    }
}

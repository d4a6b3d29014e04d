//! What an enrolment gave: certificate and tokens, in memory alone.

use agent_api::{AgentKey, EnrolResponse, Error, Token, tls};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// The bounds within which the control plane may set the heartbeat's interval.
const INTERVAL: (u32, u32) = (1, 300);

/// Certificate and tokens of one epoch.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Their epoch.
    pub(crate) epoch: i64,
    /// Shown to the control plane.
    pub(crate) agent_token: Token,
    /// Asked of whoever uses the agent's API.
    pub(crate) control_token: Token,
    /// Asked of whoever calls a tool.
    pub(crate) tool_token: Token,
    /// How TLS is served.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// Between heartbeats, until an answer says otherwise.
    pub(crate) heartbeat: Duration,
}

/// The current credentials; `None` until the first enrolment.
pub(crate) type Current = watch::Receiver<Option<Arc<Credentials>>>;

impl Credentials {
    /// Takes up an answer to an enrolment with this key.
    pub(crate) fn new(answer: EnrolResponse, key: &AgentKey) -> Result<Self, Error> {
        Ok(Self {
            epoch: answer.epoch,
            tls: tls::server_config(&answer.certificate_pem, &key.to_pem())?,
            agent_token: answer.agent_token,
            control_token: answer.control_token,
            tool_token: answer.tool_token,
            heartbeat: interval(answer.heartbeat_seconds),
        })
    }
}

/// The heartbeat's interval as the control plane tells it, kept sane.
pub(crate) fn interval(seconds: u32) -> Duration {
    Duration::from_secs(seconds.clamp(INTERVAL.0, INTERVAL.1).into())
}

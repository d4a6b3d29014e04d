//! What the handlers share.

use crate::AgentBinary;
use agent_api::{CertificateAuthority, MasterKey};
use schema::Database;
use std::{sync::Arc, time::Duration};

/// The control plane's side of the API: cheap to clone, one for all requests.
#[derive(Clone)]
pub struct Backend {
    /// Rows.
    pub database: Database,
    /// Derives and checks the agents' tokens.
    pub master_key: Arc<MasterKey>,
    /// Signs the agents' certificates.
    pub authority: Arc<CertificateAuthority>,
    /// What new droplets download.
    pub agent_binary: AgentBinary,
    /// How often agents are told to report.
    pub heartbeat_interval: Duration,
}

impl Backend {
    /// The interval as agents are told it: whole seconds, at least one.
    pub(crate) fn heartbeat_seconds(&self) -> u32 {
        u32::try_from(self.heartbeat_interval.as_secs()).unwrap_or(u32::MAX).max(1)
    }
}

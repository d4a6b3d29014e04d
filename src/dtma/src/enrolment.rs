//! Enrolling with the control plane.
//!
//! Owns: when to ask, and asking again. Must not: give up, or keep an answer anywhere but in memory. Promises: every attempt
//! carries a fresh proof by the same key, so that an answer that was lost can be had again.

use crate::credentials::Credentials;
use agent_api::{AgentKey, BackendClient, Bootstrap, EnrolRequest, Error};
use backon::{ExponentialBuilder, Retryable};
use std::time::Duration;

/// Who enrols, and where.
pub(crate) struct Enrolment {
    pub(crate) backend: BackendClient,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) key: AgentKey,
}

impl Enrolment {
    /// Asks until it is answered. A refusal may end, too: a database that is restored, an intent that was reopened.
    pub(crate) async fn complete(&self) -> Credentials {
        let schedule = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_mins(1))
            .with_jitter()
            .without_max_times();
        let mut attempt = 0;
        loop {
            let enrolled = (|| self.attempt()).retry(schedule).notify(|error, after| {
                attempt += 1;
                report(error, after, attempt);
            });
            if let Ok(credentials) = enrolled.await {
                tracing::info!(epoch = credentials.epoch, "enrolled");
                return credentials;
            }
        }
    }

    async fn attempt(&self) -> Result<Credentials, Error> {
        let (environment_id, intent_id) = (self.bootstrap.environment_id, self.bootstrap.intent_id);
        let request = EnrolRequest {
            environment_id,
            intent_id,
            token: self.bootstrap.enrolment_token.clone(),
            csr_pem: self.key.csr_pem()?,
            proof: self.key.proof(environment_id, intent_id)?,
        };
        Credentials::new(self.backend.enrol(&request).await?, &self.key)
    }
}

/// A control plane that is away is no one's fault; a refusal needs a person.
fn report(error: &Error, after: Duration, attempt: u32) {
    let error_field = error as &dyn std::error::Error;
    if error.is_retriable() {
        tracing::warn!(error = error_field, ?after, attempt, "not enrolled yet");
    } else {
        tracing::error!(error = error_field, ?after, attempt, "enrolment refused");
    }
}

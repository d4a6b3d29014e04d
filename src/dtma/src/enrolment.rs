//! Enrolling with the control plane.
//!
//! Owns: when to ask, and asking again. Must not: give up, or keep an answer anywhere but in memory. Promises: every attempt
//! carries a fresh proof by the same key, so that an answer that was lost can be had again.

use crate::credentials::Credentials;
use agent_api::{AgentKey, BackendClient, Bootstrap, EnrolRequest, Error};
use backon::{ExponentialBuilder, Retryable};
use std::time::Duration;

/// The longest pause between attempts while the control plane is away: no more load than heartbeats are.
const AWAY: Duration = Duration::from_secs(15);

/// The pause after a refusal: someone has to do something first.
const REFUSED: Duration = Duration::from_secs(30);

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
            .with_max_delay(AWAY)
            .with_jitter()
            .without_max_times();
        loop {
            let enrolled = (|| self.attempt())
                .retry(schedule)
                .adjust(|error, after| if error.is_retriable() { after } else { Some(REFUSED) })
                .notify(report);
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
fn report(error: &Error, after: Duration) {
    let error_field = error as &dyn std::error::Error;
    if error.is_retriable() {
        tracing::warn!(error = error_field, ?after, "not enrolled yet");
    } else {
        tracing::error!(error = error_field, ?after, "enrolment refused");
    }
}

//! What a new droplet knows: the content of `/etc/toolplane/agent.json`, carried by user data.

use crate::{Error, Token};
use model::{EnvironmentId, IntentId};
use serde::{Deserialize, Serialize};
use url::Url;

/// The agent's bootstrap configuration. Nothing in it lives longer than the enrolment.
///
/// User data can be read by whatever runs on the droplet, and for as long as the droplet lives: so the token is good for one
/// enrolment, of short life, and everything else is public.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Whose droplet this is.
    pub environment_id: EnvironmentId,
    /// What made it.
    pub intent_id: IntentId,
    /// Base of the control plane's API, `https://...`, without `/api/v1`.
    pub backend_url: Url,
    /// Whom to trust for `backend_url` and `agent_url`: one or more certificates, as PEM.
    pub backend_ca_pem: String,
    /// Good for the first enrolment.
    pub enrolment_token: Token,
    /// Where the agent's binary is downloaded from.
    pub agent_url: Url,
    /// SHA-256 of that binary, as 64 lower-case hex digits.
    pub agent_sha256: String,
}

impl Bootstrap {
    /// Reads and checks the configuration.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let bootstrap: Self = serde_json::from_slice(json).map_err(Error::Bootstrap)?;
        bootstrap.check()?;
        Ok(bootstrap)
    }

    /// Checks what the types leave open.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |field, problem| Err(Error::BootstrapField { field, problem });
        for (field, url) in [("backend_url", &self.backend_url), ("agent_url", &self.agent_url)] {
            // Tokens travel to the one, code comes from the other: neither without TLS.
            if url.scheme() != "https" {
                return refuse(field, "is no https:// URL");
            }
            if !url.username().is_empty() || url.password().is_some() {
                return refuse(field, "carries a user name or a password");
            }
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.agent_sha256.len() != 64 || !self.agent_sha256.bytes().all(hex) {
            return refuse("agent_sha256", "is not 64 lower-case hex digits");
        }
        if !self.backend_ca_pem.contains("-----BEGIN CERTIFICATE-----") {
            return refuse("backend_ca_pem", "holds no certificate");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> serde_json::Value {
        json!({
            "environment_id": "00000000-0000-4000-8000-000000000001",
            "intent_id": "00000000-0000-4000-8000-000000000002",
            "backend_url": "https://backend.example:8443",
            "backend_ca_pem": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n",
            "enrolment_token": "tpe_x",
            "agent_url": "https://backend.example:8443/api/v1/agent/binary/00",
            "agent_sha256": "0".repeat(64),
        })
    }

    #[test]
    fn it_round_trips() {
        let bootstrap = Bootstrap::from_json(good().to_string().as_bytes()).unwrap();
        assert_eq!(
            serde_json::to_value(&bootstrap).unwrap()["backend_url"],
            "https://backend.example:8443/"
        );
        assert!(!format!("{bootstrap:?}").contains("tpe_x"));
    }

    #[test]
    fn what_cannot_work_is_refused_by_field() {
        for (field, value) in [
            ("backend_url", "http://backend.example"),
            ("agent_url", "https://user:pass@backend.example/dtma"),
            ("agent_sha256", "00"),
            ("agent_sha256", &"G".repeat(64)),
            ("backend_ca_pem", "none"),
        ] {
            let mut json = good();
            json[field] = value.into();
            let error = Bootstrap::from_json(json.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains(field), "{field}: {error}");
        }
        let mut json = good();
        json.as_object_mut().unwrap().remove("intent_id");
        assert!(matches!(
            Bootstrap::from_json(json.to_string().as_bytes()),
            Err(Error::Bootstrap(_))
        ));
    }
}

//! The control plane's side of an enrolment: who asks is checked here, what was promised before is asked of the database.
//!
//! Owns: token, signing request and proof. Must not: know whether the intent is open, expired or already enrolled by another
//! key; that is one atomic statement in `schema`, between [`verify`] and [`admit`].

use crate::{
    CertificateAuthority, EnrolRequest, EnrolResponse, Error, MasterKey, agent_key,
    proof::{self, Invalid},
};
use model::{EnvironmentId, IntentId};
use rcgen::{CertificateSigningRequestParams, PKCS_ED25519, PublicKeyData};
use std::net::IpAddr;

/// Who asks, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// Whose droplet.
    pub environment_id: EnvironmentId,
    /// What made it.
    pub intent_id: IntentId,
    /// SHA-256 of the droplet's public key (SPKI, DER), in hex.
    pub key_sha256: String,
    csr_pem: String,
}

/// Why a request is refused before anything is looked up. Never retriable with the same request.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The enrolment token is not this environment's and intent's.
    #[error("the enrolment token is not valid for this environment and intent")]
    Token,
    /// The signing request is no such thing, or its signature does not fit.
    #[error("the certificate signing request is not valid")]
    SigningRequest(#[source] rcgen::Error),
    /// The key is of another kind.
    #[error("the certificate signing request is for another kind of key: expected Ed25519")]
    KeyKind,
    /// The proof does not show possession of the key, now, for this enrolment.
    #[error("the proof of possession is not valid")]
    Proof(#[source] Invalid),
}

impl Refusal {
    /// The HTTP status that says so: a request that is wrong in form is 400, one that proves nothing 403.
    pub fn status(&self) -> u16 {
        match self {
            Self::SigningRequest(_) | Self::KeyKind => 400,
            Self::Token | Self::Proof(_) => 403,
        }
    }
}

/// Checks the token, the signing request's signature and the proof, in this order: whoever has no token costs no parsing.
pub fn verify(request: &EnrolRequest, master_key: &MasterKey) -> Result<Applicant, Refusal> {
    let (environment, intent) = (request.environment_id, request.intent_id);
    if !master_key.enrolment_token(environment, intent).verify(request.token.expose()) {
        return Err(Refusal::Token);
    }
    let csr = CertificateSigningRequestParams::from_pem(&request.csr_pem).map_err(Refusal::SigningRequest)?;
    if PublicKeyData::algorithm(&csr.public_key) != &PKCS_ED25519 {
        return Err(Refusal::KeyKind);
    }
    proof::check(&request.proof, csr.public_key.der_bytes(), environment, intent).map_err(Refusal::Proof)?;
    Ok(Applicant {
        environment_id: environment,
        intent_id: intent,
        key_sha256: agent_key::key_sha256(&csr.public_key),
        csr_pem: request.csr_pem.clone(),
    })
}

/// The answer for an applicant whom the database knows: certificate and tokens of the droplet's epoch.
pub fn admit(
    applicant: &Applicant,
    master_key: &MasterKey,
    authority: &CertificateAuthority,
    address: Option<IpAddr>,
    epoch: i64,
    heartbeat_seconds: u32,
) -> Result<EnrolResponse, Error> {
    let environment = applicant.environment_id;
    Ok(EnrolResponse {
        certificate_pem: authority.issue_agent(&applicant.csr_pem, environment, address)?,
        ca_pem: authority.certificate_pem().to_owned(),
        agent_token: master_key.agent_token(environment, epoch),
        control_token: master_key.control_token(environment, epoch),
        tool_token: master_key.tool_token(environment, epoch),
        epoch,
        heartbeat_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentKey, Token};

    fn request(master: &MasterKey, key: &AgentKey) -> EnrolRequest {
        let (environment_id, intent_id) = (EnvironmentId::random(), IntentId::random());
        EnrolRequest {
            environment_id,
            intent_id,
            token: master.enrolment_token(environment_id, intent_id),
            csr_pem: key.csr_pem().unwrap(),
            proof: key.proof(environment_id, intent_id).unwrap(),
        }
    }

    #[test]
    fn an_enrolment_goes_round() {
        let master = MasterKey::generate().unwrap();
        let authority = master.certificate_authority().unwrap();
        let key = AgentKey::generate().unwrap();
        let request = request(&master, &key);
        let applicant = verify(&request, &master).unwrap();
        assert_eq!(applicant.key_sha256, key.sha256());

        let sent = admit(&applicant, &master, &authority, None, 3, 10).unwrap();
        let received: EnrolResponse = serde_json::from_slice(&serde_json::to_vec(&sent).unwrap()).unwrap();
        assert!(
            master
                .agent_token(request.environment_id, 3)
                .verify(received.agent_token.expose())
        );
        assert!(
            master
                .control_token(request.environment_id, 3)
                .verify(received.control_token.expose())
        );
        assert_eq!(received.ca_pem, authority.certificate_pem());
        crate::tls::server_config(&received.certificate_pem, &key.to_pem()).unwrap();
        let shown = format!("{received:?} {request:?}");
        for secret in [
            &received.agent_token,
            &received.control_token,
            &received.tool_token,
            &request.token,
        ] {
            assert!(!shown.contains(secret.expose()));
        }
    }

    #[test]
    fn another_key_is_another_applicant() {
        let master = MasterKey::generate().unwrap();
        let mut request = request(&master, &AgentKey::generate().unwrap());
        let first = verify(&request, &master).unwrap();
        let other = AgentKey::generate().unwrap();
        request.csr_pem = other.csr_pem().unwrap();
        request.proof = other.proof(request.environment_id, request.intent_id).unwrap();
        assert_ne!(verify(&request, &master).unwrap().key_sha256, first.key_sha256);
    }

    #[test]
    fn a_proof_by_another_key_than_the_requests_is_refused() {
        let master = MasterKey::generate().unwrap();
        let mut request = request(&master, &AgentKey::generate().unwrap());
        request.csr_pem = AgentKey::generate().unwrap().csr_pem().unwrap();
        assert!(matches!(verify(&request, &master), Err(Refusal::Proof(_))));
    }

    #[test]
    fn a_token_of_another_intent_environment_or_master_key_is_refused() {
        let master = MasterKey::generate().unwrap();
        let key = AgentKey::generate().unwrap();
        let good = request(&master, &key);
        let (environment, intent) = (good.environment_id, good.intent_id);
        for token in [
            master.enrolment_token(environment, IntentId::random()),
            master.enrolment_token(EnvironmentId::random(), intent),
            MasterKey::generate().unwrap().enrolment_token(environment, intent),
            Token::from(String::new()),
        ] {
            let request = EnrolRequest { token, ..good.clone() };
            assert!(matches!(verify(&request, &master), Err(Refusal::Token)));
        }
    }

    #[test]
    fn another_kind_of_key_and_garbage_are_refused() {
        let master = MasterKey::generate().unwrap();
        let mut request = request(&master, &AgentKey::generate().unwrap());
        let p256 = rcgen::KeyPair::generate().unwrap();
        request.csr_pem = rcgen::CertificateParams::default()
            .serialize_request(&p256)
            .unwrap()
            .pem()
            .unwrap();
        let refusal = verify(&request, &master).unwrap_err();
        assert!(matches!(refusal, Refusal::KeyKind));
        assert_eq!(refusal.status(), 400);
        request.csr_pem = "-----BEGIN".to_owned();
        assert!(matches!(verify(&request, &master), Err(Refusal::SigningRequest(_))));
    }
}

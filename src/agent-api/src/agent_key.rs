//! The droplet's own key: made on the droplet, kept on its disk, never sent.

use crate::{Error, proof};
use model::{EnvironmentId, IntentId};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;

/// An Ed25519 key pair.
pub struct AgentKey(KeyPair);

impl AgentKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, Error> {
        KeyPair::generate_for(&PKCS_ED25519)
            .map(Self)
            .map_err(Error::certificate("the agent's key"))
    }

    /// Reads what [`Self::to_pem`] wrote.
    pub fn from_pem(pem: &SecretString) -> Result<Self, Error> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem.expose_secret(), &PKCS_ED25519)
            .map(Self)
            .map_err(Error::certificate("the agent's key"))
    }

    /// The private key as PKCS#8 PEM, for a file that only its owner may read, and for serving TLS.
    pub fn to_pem(&self) -> SecretString {
        self.0.serialize_pem().into()
    }

    /// A certificate signing request. It carries no names: the authority would not believe them.
    pub fn csr_pem(&self) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .serialize_request(&self.0)
            .and_then(|request| request.pem())
            .map_err(Error::certificate("the certificate signing request"))
    }

    /// A short-lived statement, signed by this key, that whoever enrols holds it now.
    pub fn proof(&self, environment: EnvironmentId, intent: IntentId) -> Result<String, Error> {
        proof::sign(self.0.serialized_der(), environment, intent)
    }

    /// SHA-256 of the public key (SPKI, DER), in hex: how the control plane remembers who enrolled.
    pub fn sha256(&self) -> String {
        key_sha256(&self.0)
    }
}

/// SHA-256 of a public key (SPKI, DER), in hex.
pub(crate) fn key_sha256(key: &impl PublicKeyData) -> String {
    hex::encode(Sha256::digest(key.subject_public_key_info()))
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({})", self.sha256())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_being_written_and_is_not_shown() {
        let key = AgentKey::generate().unwrap();
        let again = AgentKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.sha256(), again.sha256());
        let pem = key.to_pem();
        let body = pem.expose_secret().lines().nth(1).unwrap();
        assert!(!format!("{key:?}").contains(body));
        assert!(AgentKey::from_pem(&"no key".to_owned().into()).is_err());
    }
}

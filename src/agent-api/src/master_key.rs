//! The one secret of an installation, and everything that is derived from it.
//!
//! Tokens and the authority's key are HKDF-SHA-256 outputs of the master key, so nothing has to be stored: a replica that
//! knows the master key knows them all, and a database dump knows none.

use crate::{CertificateAuthority, Error, Token};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use model::{EnvironmentId, IntentId};
use rand::TryRngCore;
use secrecy::SecretString;
use sha2::Sha256;
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

/// Separates these derivations from any other use of the same key; the version changes if their meaning ever does.
const SALT: &[u8] = b"toolplane/v1";

/// What a token is for. Each is a distinct HKDF `info`, so that one never stands for another.
#[derive(Clone, Copy)]
enum Purpose {
    /// Droplet to control plane, once.
    Enrolment,
    /// Agent to control plane.
    Agent,
    /// Control plane to agent.
    Control,
    /// Callers of tools to the agent's proxy.
    Tool,
}

/// The HKDF `info` of the authority's Ed25519 seed; no token's `info` begins like it.
const AUTHORITY: &[u8] = b"certificate-authority";

impl Purpose {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Enrolment => b"enrolment-token",
            Self::Agent => b"agent-token",
            Self::Control => b"control-token",
            Self::Tool => b"tool-token",
        }
    }

    /// Marks the text, so that secret scanners and people can tell what leaked.
    fn prefix(self) -> &'static str {
        match self {
            Self::Enrolment => "tpe_",
            Self::Agent => "tpa_",
            Self::Control => "tpc_",
            Self::Tool => "tpt_",
        }
    }
}

/// 32 secret bytes. Zeroed when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::rngs::OsRng.try_fill_bytes(bytes.as_mut()).map_err(Error::random)?;
        Ok(Self(bytes))
    }

    /// The key as 64 hex digits, for the file that keeps it.
    pub fn to_hex(&self) -> SecretString {
        hex::encode(self.0.as_ref()).into()
    }

    /// What user data carries: good for the first enrolment of the droplet that `intent` makes.
    pub fn enrolment_token(&self, environment: EnvironmentId, intent: IntentId) -> Token {
        self.token(Purpose::Enrolment, environment, intent.0.as_bytes())
    }

    /// What the agent shows to the control plane. Another epoch, another token.
    pub fn agent_token(&self, environment: EnvironmentId, epoch: i64) -> Token {
        self.token(Purpose::Agent, environment, &epoch.to_be_bytes())
    }

    /// What the control plane shows to the agent.
    pub fn control_token(&self, environment: EnvironmentId, epoch: i64) -> Token {
        self.token(Purpose::Control, environment, &epoch.to_be_bytes())
    }

    /// What callers of an environment's tools show to the agent's proxy.
    pub fn tool_token(&self, environment: EnvironmentId, epoch: i64) -> Token {
        self.token(Purpose::Tool, environment, &epoch.to_be_bytes())
    }

    /// Toolplane's own certificate authority: the same one for every holder of this key.
    pub fn certificate_authority(&self) -> Result<CertificateAuthority, Error> {
        CertificateAuthority::from_seed(&self.derive(&[AUTHORITY]))
    }

    fn token(&self, purpose: Purpose, environment: EnvironmentId, scope: &[u8]) -> Token {
        let bytes = self.derive(&[purpose.info(), b"\0", environment.0.as_bytes(), scope]);
        let mut text = String::with_capacity(64);
        text.push_str(purpose.prefix());
        URL_SAFE_NO_PAD.encode_string(bytes.as_ref(), &mut text);
        Token::from(text)
    }

    fn derive(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut output = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(SALT), self.0.as_ref())
            .expand_multi_info(info, output.as_mut())
            .expect("HKDF-SHA-256 yields up to 8160 bytes, and 32 are asked for");
        output
    }
}

impl FromStr for MasterKey {
    type Err = Error;

    /// Reads 64 hex digits; white space around them is ignored, since the key often comes from a file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut()).map_err(|_| Error::MasterKey)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_read_from_64_hex_digits_only() {
        let digits = "0123456789abcdef".repeat(4);
        let key: MasterKey = format!("{digits}\n").parse().unwrap();
        assert_eq!(key.to_hex().expose_secret(), digits);
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"z".repeat(64)] {
            assert!(matches!(bad.parse::<MasterKey>(), Err(Error::MasterKey)), "{bad:?}");
        }
        assert!(!format!("{key:?}").contains("0123"));
    }

    #[test]
    fn tokens_differ_by_purpose_environment_epoch_intent_and_key() {
        let (key, other) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let (one, two) = (EnvironmentId::random(), EnvironmentId::random());
        // The intent's id holds the same bytes as the environment's: only the purpose can tell them apart.
        let intents = [IntentId(one.0), IntentId::random()];
        let mut seen = BTreeSet::new();
        for key in [&key, &other] {
            for environment in [one, two] {
                for intent in intents {
                    assert!(seen.insert(key.enrolment_token(environment, intent).expose().to_owned()));
                }
                for epoch in [1, 2] {
                    assert!(seen.insert(key.agent_token(environment, epoch).expose().to_owned()));
                    assert!(seen.insert(key.control_token(environment, epoch).expose().to_owned()));
                    assert!(seen.insert(key.tool_token(environment, epoch).expose().to_owned()));
                }
            }
        }
        assert_eq!(seen.len(), 2 * 2 * (2 + 6));
        let bodies: BTreeSet<&str> = seen.iter().map(|token| &token[4..]).collect();
        assert_eq!(bodies.len(), seen.len(), "they differ in more than the prefix");
    }

    #[test]
    fn the_same_key_gives_the_same_tokens() {
        let key: MasterKey = "11".repeat(32).parse().unwrap();
        let environment: EnvironmentId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let token = key.agent_token(environment, 1);
        assert_eq!(token.expose(), key.clone().agent_token(environment, 1).expose());
        assert!(
            token
                .expose()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        );
    }
}

//! Proof of possession: a short JWT (`EdDSA`) signed by the key that a signing request is about.
//!
//! A signing request is signed too, but it never goes stale: who captured one could present it for ever. The proof says
//! when, for what, and for which droplet.

use crate::Error;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use model::{EnvironmentId, IntentId};
use serde::{Deserialize, Serialize};

/// The only audience of a proof.
const AUDIENCE: &str = "toolplane-enroll";

/// Seconds that a fresh proof is good for, and the longest that one may claim to be.
const LIFETIME: u64 = 300;

/// Seconds that the droplet's clock may be off.
const LEEWAY: u64 = 60;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The environment.
    pub(crate) iss: String,
    /// The intent that made the droplet.
    pub(crate) sub: String,
    /// Always [`AUDIENCE`].
    pub(crate) aud: String,
    /// Seconds since 1970.
    pub(crate) iat: u64,
    /// At most [`LIFETIME`] after `iat`.
    pub(crate) exp: u64,
}

/// What is wrong with a proof.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Not a JWT, not signed by the key, for another audience, environment or intent, or expired.
    #[error("not a valid proof by this key for this enrolment")]
    Jwt(#[source] jsonwebtoken::errors::Error),
    /// It claims to be good for longer than five minutes.
    #[error("good for {seconds} seconds, and {LIFETIME} is the most")]
    LivesTooLong {
        /// What it claims.
        seconds: u64,
    },
    /// It claims to have been made later than now.
    #[error("made {seconds} seconds in the future")]
    NotYetMade {
        /// How far ahead.
        seconds: u64,
    },
}

/// A proof by the private key in PKCS#8 DER.
pub(crate) fn sign(pkcs8: &[u8], environment: EnvironmentId, intent: IntentId) -> Result<String, Error> {
    let now = jsonwebtoken::get_current_timestamp();
    let claims = Claims {
        iss: environment.to_string(),
        sub: intent.to_string(),
        aud: AUDIENCE.to_owned(),
        iat: now,
        exp: now + LIFETIME,
    };
    sign_claims(pkcs8, &claims)
}

fn sign_claims(pkcs8: &[u8], claims: &Claims) -> Result<String, Error> {
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &EncodingKey::from_ed_der(pkcs8)).map_err(Error::Proof)
}

/// Checks a proof against the 32 raw bytes of the Ed25519 public key.
pub(crate) fn check(proof: &str, public_key: &[u8], environment: EnvironmentId, intent: IntentId) -> Result<(), Invalid> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.leeway = LEEWAY;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[environment]);
    validation.sub = Some(intent.to_string());
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = jsonwebtoken::decode::<Claims>(proof, &DecodingKey::from_ed_der(public_key), &validation)
        .map_err(Invalid::Jwt)?
        .claims;
    let lifetime = claims.exp.saturating_sub(claims.iat);
    if lifetime > LIFETIME {
        return Err(Invalid::LivesTooLong { seconds: lifetime });
    }
    let ahead = claims.iat.saturating_sub(jsonwebtoken::get_current_timestamp());
    if ahead > LEEWAY {
        return Err(Invalid::NotYetMade { seconds: ahead });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};

    struct Fixture {
        key: KeyPair,
        environment: EnvironmentId,
        intent: IntentId,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                key: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
                environment: EnvironmentId::random(),
                intent: IntentId::random(),
            }
        }

        /// Checks a proof whose claims were changed before it was signed.
        fn check(&self, change: impl FnOnce(&mut Claims)) -> Result<(), Invalid> {
            let now = jsonwebtoken::get_current_timestamp();
            let mut claims = Claims {
                iss: self.environment.to_string(),
                sub: self.intent.to_string(),
                aud: AUDIENCE.to_owned(),
                iat: now,
                exp: now + LIFETIME,
            };
            change(&mut claims);
            let proof = sign_claims(self.key.serialized_der(), &claims).unwrap();
            check(&proof, self.key.der_bytes(), self.environment, self.intent)
        }
    }

    #[test]
    fn a_fresh_proof_is_taken() {
        Fixture::new().check(|_| ()).unwrap();
    }

    #[test]
    fn the_wrong_audience_environment_or_intent_is_refused() {
        let fixture = Fixture::new();
        let other = EnvironmentId::random().to_string();
        for change in [
            |claims: &mut Claims, _: &str| claims.aud = "toolplane".to_owned(),
            |claims: &mut Claims, other: &str| claims.iss = other.to_owned(),
            |claims: &mut Claims, other: &str| claims.sub = other.to_owned(),
        ] {
            assert!(matches!(fixture.check(|claims| change(claims, &other)), Err(Invalid::Jwt(_))));
        }
    }

    #[test]
    fn a_stale_a_long_lived_and_an_early_proof_are_refused() {
        let fixture = Fixture::new();
        let stale = fixture.check(|claims| {
            claims.iat -= 2 * LIFETIME;
            claims.exp -= 2 * LIFETIME;
        });
        assert!(matches!(stale, Err(Invalid::Jwt(_))), "{stale:?}");
        let long = fixture.check(|claims| claims.exp += 1);
        assert!(matches!(long, Err(Invalid::LivesTooLong { seconds: 301 })), "{long:?}");
        let early = fixture.check(|claims| {
            claims.iat += 2 * LEEWAY;
            claims.exp += 2 * LEEWAY;
        });
        assert!(matches!(early, Err(Invalid::NotYetMade { .. })), "{early:?}");
    }

    #[test]
    fn another_keys_signature_and_another_algorithm_are_refused() {
        let (one, two) = (Fixture::new(), KeyPair::generate_for(&PKCS_ED25519).unwrap());
        let forged = sign(two.serialized_der(), one.environment, one.intent).unwrap();
        assert!(matches!(
            check(&forged, one.key.der_bytes(), one.environment, one.intent),
            Err(Invalid::Jwt(_))
        ));
        // The classic confusion: a MAC whose secret is the public key.
        let claims = Claims {
            iss: one.environment.to_string(),
            sub: one.intent.to_string(),
            aud: AUDIENCE.to_owned(),
            iat: jsonwebtoken::get_current_timestamp(),
            exp: jsonwebtoken::get_current_timestamp() + 60,
        };
        let confused = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(one.key.der_bytes()),
        )
        .unwrap();
        assert!(check(&confused, one.key.der_bytes(), one.environment, one.intent).is_err());
    }
}

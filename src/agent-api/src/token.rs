//! Bearer tokens: opaque text that is compared in constant time and never shown.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// A bearer token. Zeroed when dropped; `Debug` redacts it; serializing it (onto the wire, into user data) reveals it.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Token(SecretString);

impl Token {
    /// The text itself, for an `Authorization` header.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `presented` is this token, in time that depends on its length only.
    pub fn verify(&self, presented: &str) -> bool {
        self.expose().as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// Whether an `Authorization` header's value presents this token. The scheme's case does not matter (RFC 9110).
    pub fn verify_header(&self, value: Option<&[u8]>) -> bool {
        bearer(value).is_some_and(|presented| self.verify(presented))
    }
}

/// The token in the value of an `Authorization: Bearer ...` header.
pub fn bearer(value: Option<&[u8]>) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value?).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_verifies() {
        let token = Token::from("tpa_abc".to_owned());
        assert!(token.verify("tpa_abc"));
        for other in ["", "tpa_abd", "tpa_ab", "tpa_abcd", "TPA_ABC"] {
            assert!(!token.verify(other), "{other:?}");
        }
    }

    #[test]
    fn headers_are_read_as_rfc_9110_says() {
        let token = Token::from("abc".to_owned());
        assert!(token.verify_header(Some(b"Bearer abc")));
        assert!(token.verify_header(Some(b"bearer abc")));
        for bad in [
            None,
            Some(&b"abc"[..]),
            Some(b"Basic abc"),
            Some(b"Bearer"),
            Some(b"Bearer \xff"),
        ] {
            assert!(!token.verify_header(bad), "{bad:?}");
        }
    }

    #[test]
    fn debug_does_not_show_it() {
        assert!(!format!("{:?}", Token::from("hunter2".to_owned())).contains("hunter2"));
    }
}

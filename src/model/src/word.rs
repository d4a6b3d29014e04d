//! Words that many rows have in common: slugs, condition types, reasons.
//!
//! Owns: sharing the memory of equal words. Must not: be used for sentences or anything that names a row: those are as many as
//! there are rows. Promises: behaves as the text that it is; sharing ends, rather than memory, when there are too many words.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::{Borrow, Cow},
    collections::HashSet,
    fmt,
    ops::Deref,
    sync::{Arc, LazyLock, RwLock},
};

/// So many different words are never in honest use.
const WORDS: usize = 4096;
/// What is longer is no word.
const LENGTH: usize = 64;

/// Text that is held once, however many rows say it. It takes the room of one pointer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(Arc<Text>);

/// Its length is kept with it, and not in every [`Word`].
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Text(Box<str>);

impl Word {
    /// The shared copy of this text.
    pub fn new(text: &str) -> Self {
        static KNOWN: LazyLock<RwLock<HashSet<Word>>> = LazyLock::new(RwLock::default);
        if let Ok(known) = KNOWN.read()
            && let Some(shared) = known.get(text)
        {
            return shared.clone();
        }
        let fresh = Self(Arc::new(Text(text.into())));
        if text.len() <= LENGTH
            && let Ok(mut known) = KNOWN.write()
        {
            if let Some(shared) = known.get(text) {
                return shared.clone();
            }
            if known.len() < WORDS {
                known.insert(fresh.clone());
            }
        }
        fresh
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        self
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed where the text has no escapes, which words never have.
        #[derive(Deserialize)]
        struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
        Text::deserialize(deserializer).map(|Text(text)| Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_share_their_memory_however_they_came() {
        let made = Word::new("HeartbeatsReceived");
        let read: Word = serde_json::from_str(r#""HeartbeatsReceived""#).unwrap();
        let escaped: Word = serde_json::from_str(r#""Heartbeats\u0052eceived""#).unwrap();
        assert!(Arc::ptr_eq(&made.0, &read.0) && Arc::ptr_eq(&made.0, &escaped.0));
        assert_eq!(serde_json::to_string(&made).unwrap(), r#""HeartbeatsReceived""#);
        assert!(!Arc::ptr_eq(&made.0, &Word::new("HeartbeatsMissed").0));
    }

    #[test]
    fn what_is_no_word_is_not_kept() {
        let sentence = "a droplet ".repeat(10);
        assert_eq!(Word::new(&sentence), Word::new(&sentence));
        assert!(!Arc::ptr_eq(&Word::new(&sentence).0, &Word::new(&sentence).0));
    }
}

//! Whether "gone" may be believed at the moment. Owns: the word that decisions go by. Must not: judge.

use jiff::Timestamp;
use std::sync::Arc;

/// Whether what is missing from a read counts as gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// What a read does not show is not there.
    #[default]
    Trusted,
    /// So much is missing at once that the reads themselves are in doubt. No create and no delete may follow from what is missing;
    /// what a read does show is still there.
    Withheld {
        /// Since when.
        since: Timestamp,
        /// Why, as a sentence for people, with its numbers.
        reason: Arc<str>,
    },
}

impl Trust {
    /// Whether something may follow from what is missing.
    pub fn is_trusted(&self) -> bool {
        match self {
            Self::Trusted => true,
            Self::Withheld { .. } => false,
        }
    }
}

/// A verdict as it is stored: since when and why it is withheld.
impl From<Option<&(Timestamp, String)>> for Trust {
    fn from(withheld: Option<&(Timestamp, String)>) -> Self {
        match withheld {
            Some((since, reason)) => Self::Withheld {
                since: *since,
                reason: reason.as_str().into(),
            },
            None => Self::Trusted,
        }
    }
}

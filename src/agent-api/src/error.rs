//! What can go wrong between the control plane and an agent, and whether trying again can help.

use model::Stamp;

/// An error of this crate. [`Error::is_retriable`] is decided here, where the error is born.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The master key's text is no key.
    #[error("master key: expected 64 hex digits")]
    MasterKey,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Random(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A key, certificate or signing request could not be made or read.
    #[error("{what}")]
    Certificate {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// PEM text without what it should hold, or TLS material that rustls refuses.
    #[error("{what}")]
    Tls {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A proof of possession could not be signed.
    #[error("the proof of possession could not be signed")]
    Proof(#[source] jsonwebtoken::errors::Error),
    /// The bootstrap configuration is no such JSON.
    #[error("the bootstrap configuration is not valid")]
    Bootstrap(#[source] serde_json::Error),
    /// A field of the bootstrap configuration says something impossible.
    #[error("the bootstrap configuration's {field} {problem}")]
    BootstrapField {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No answer: connection refused, TLS refused, timeout, or an answer that broke off.
    #[error("{what}: no answer")]
    Unreachable {
        /// The request.
        what: &'static str,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// An answer with an error status.
    #[error("{what}: answered {status}: {detail}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// The answer's own words, cut to a sane length.
        detail: String,
    },
    /// The agent holds a newer desired set than the one that was sent.
    #[error("the agent holds a newer desired set ({}.{}) than the one that was sent", held.epoch, held.generation)]
    OlderSet {
        /// The stamp of the set that it holds.
        held: Stamp,
    },
    /// An answer that is not what was asked for.
    #[error("{what}: the answer is not understood")]
    Answer {
        /// The request.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the same request can succeed later without anything being changed by a person.
    ///
    /// A `401` counts as terminal: the token has to be had anew first. A `403` or `404` does not heal by itself.
    pub fn is_retriable(&self) -> bool {
        match self {
            // An answer that is not understood: the other side may be in the middle of an upgrade.
            Self::Unreachable { .. } | Self::Random(_) | Self::Answer { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::MasterKey
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::Proof(_)
            | Self::Bootstrap(_)
            | Self::BootstrapField { .. }
            | Self::OlderSet { .. } => false,
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::OlderSet { .. } => Some(409),
            Self::MasterKey
            | Self::Random(_)
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::Proof(_)
            | Self::Bootstrap(_)
            | Self::BootstrapField { .. }
            | Self::Unreachable { .. }
            | Self::Answer { .. } => None,
        }
    }

    /// Whether the bearer token was not taken.
    pub fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    pub(crate) fn random(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Random(Box::new(source))
    }

    pub(crate) fn certificate(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Certificate { what, source }
    }

    pub(crate) fn tls<E: Into<Box<dyn std::error::Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Tls {
            what,
            source: source.into(),
        }
    }
}

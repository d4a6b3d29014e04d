//! What errors of DigitalOcean mean to a pass over a firewall. Owns: the mapping. Those of the database have theirs in `schema`.

use digitalocean::{Class, Refusal};
use runtime::Error;

/// An error of DigitalOcean.
pub(crate) fn cloud(error: &digitalocean::Error) -> Error {
    let reason = error.reason();
    let message = error.to_string();
    // A young droplet may not be known everywhere yet, and an old one may have gone a moment ago.
    let passing = matches!(
        error,
        digitalocean::Error::Refused {
            refusal: Refusal::Invalid {
                field: Some("droplet_ids")
            },
            ..
        }
    );
    match (error, error.class()) {
        (digitalocean::Error::RateLimited { call, .. }, Class::Retriable { after: Some(after) }) => Error::Waiting {
            reason,
            message: format!("{call}: the request limit of digitalocean_token is reached"),
            after,
        },
        (_, Class::Retriable { after }) => Error::Retriable {
            reason,
            message,
            after,
            source: None,
        },
        (_, Class::Terminal) if !passing => Error::terminal(reason, message),
        (_, Class::Terminal | Class::Ambiguous) => Error::retriable(reason, message),
    }
}

//! What errors of DigitalOcean mean to a pass; those of the database are mapped in `schema`. Owns: the mapping. Promises: what DigitalOcean refuses for a
//! value is named by the row's column.

use digitalocean::{Class, Refusal};
use runtime::Error;

/// An error of DigitalOcean.
pub(crate) fn cloud(error: &digitalocean::Error) -> Error {
    let (reason, message) = (error.reason(), sentence(error));
    match (error, error.class()) {
        (digitalocean::Error::RateLimited { .. }, Class::Retriable { after: Some(after) }) => {
            Error::Waiting { reason, message, after }
        }
        (_, Class::Retriable { after }) => Error::Retriable {
            reason,
            message,
            after,
            source: None,
        },
        (_, Class::Ambiguous) => Error::retriable(reason, message),
        (_, Class::Terminal) => Error::terminal(reason, message),
    }
}

/// The error's words, after the column that they are about.
fn sentence(error: &digitalocean::Error) -> String {
    match error {
        digitalocean::Error::Refused {
            refusal: Refusal::Invalid { field: Some(field) },
            message,
            ..
        } => match *field {
            "region" => format!("region_slug: {message}"),
            "size" => format!("size_slug: {message}"),
            "image" => format!("image_slug: {message}"),
            field => format!("{field}: {message}"),
        },
        // Without its time: a text that changes with every try would be a change of the row each time, which wakes the row's
        // key, and so undo the backoff. `after` carries the time.
        digitalocean::Error::RateLimited { call, .. } => format!("{call}: the request limit of digitalocean_token is reached"),
        other => other.to_string(),
    }
}

//! Environment variables: which of those with our prefix are ours.
//!
//! Owns: their names. Must not: read one. Promises: a name that is neither ours nor Kubernetes' is not known.

use super::table::{self, SETTINGS};

/// What all of them begin with.
pub(crate) const PREFIX: &str = "TOOLPLANE_";

/// Those that are no settings: of the command line, and of the private PostgreSQL that `toolplane demo` starts.
const OTHERS: [&str; 4] = [
    "TOOLPLANE_CONFIG",
    "TOOLPLANE_LOG",
    "TOOLPLANE_LOG_FORMAT",
    "TOOLPLANE_POSTGRES_BIN",
];

/// Every variable that is ours.
pub(crate) fn known() -> Vec<String> {
    let settings = SETTINGS.iter().flat_map(|setting| {
        let file = setting.secret.then(|| table::variable(&table::file_key(setting.name)));
        [Some(setting.variable()), file]
    });
    settings.flatten().chain(OTHERS.map(str::to_owned)).collect()
}

/// Whether a variable is ours, or is none of our business.
pub(crate) fn is_known(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return true };
    OTHERS.contains(&name) || table::find(&rest.to_lowercase()).is_some() || is_of_a_service(rest)
}

/// Kubernetes tells every container of every service in its namespace. Of a service named `toolplane`, or `toolplane-` and more:
/// `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_HTTPS`, `PORT`, `PORT_8443_TCP`, `PORT_8443_TCP_ADDR`.
fn is_of_a_service(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let follows = |words: &[&str]| match words {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", number, "TCP" | "UDP" | "SCTP", rest @ ..] => {
            number.parse::<u16>().is_ok() && matches!(rest, [] | ["PROTO" | "PORT" | "ADDR"])
        }
        _ => false,
    };
    (0..words.len()).any(|from| follows(&words[from..]))
}

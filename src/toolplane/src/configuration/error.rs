//! What can be wrong with the configuration.

use super::{
    table::{self, Setting},
    variables,
};
use std::path::PathBuf;

/// Every error of this module.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum Error {
    #[error("{name}: {wrong} (set by {origin})")]
    #[diagnostic(help("expected {right}"))]
    Invalid {
        name: &'static str,
        wrong: String,
        right: String,
        origin: String,
    },
    #[error("{name}: not set")]
    #[diagnostic(help("{help}"))]
    Missing { name: &'static str, help: String },
    #[error("{name}: set both directly and by a file, {origin} and {file_origin}")]
    #[diagnostic(help("keep one of them"))]
    Both {
        name: &'static str,
        origin: String,
        file_origin: String,
    },
    #[error("{name}: cannot read {}, which {origin} names", path.display())]
    #[diagnostic(help("it must be a readable file that holds the secret and nothing else"))]
    SecretFile {
        name: &'static str,
        path: PathBuf,
        origin: String,
        #[source]
        source: std::io::Error,
    },
    #[error("unknown setting `{key}` in {}", path.display())]
    #[diagnostic(help("{help}"))]
    Unknown { key: String, path: PathBuf, help: String },
    #[error("unknown environment variable {name}")]
    #[diagnostic(help("{help}"))]
    UnknownVariable { name: String, help: String },
    #[error("cannot read the configuration file {}", path.display())]
    #[diagnostic(help("it is TOML with lines such as `listen = \"127.0.0.1:8443\"`; --config or TOOLPLANE_CONFIG names it"))]
    File {
        path: PathBuf,
        #[source]
        source: config::ConfigError,
    },
}

impl Error {
    pub(crate) fn missing(setting: &'static Setting) -> Self {
        let (name, variable, flag) = (setting.name, setting.variable(), setting.flag());
        let ways = if setting.secret {
            format!(
                "set {variable}, or {variable}_FILE, {flag} or `{name}_file` in the configuration file to the path of a file that holds it"
            )
        } else {
            format!("set {flag}, {variable} or `{name}` in the configuration file")
        };
        Self::Missing {
            name,
            help: format!("{ways}: {}", setting.help),
        }
    }

    pub(crate) fn unknown(key: &str, path: PathBuf) -> Self {
        let known: Vec<&str> = table::SETTINGS.iter().map(|setting| setting.name).collect();
        let help = nearest(key, known.iter().copied());
        let help = help.map_or_else(
            || format!("known are {}", known.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        Self::Unknown {
            key: key.to_owned(),
            path,
            help,
        }
    }

    pub(crate) fn unknown_variable(name: &str) -> Self {
        let known = variables::known();
        // What all of them begin with says nothing about which one was meant.
        let bare = |name: &str| name.strip_prefix(variables::PREFIX).unwrap_or(name).to_uppercase();
        let bares: Vec<String> = known.iter().map(|name| bare(name)).collect();
        let help = nearest(&bare(name), bares.iter().map(String::as_str));
        let help = help.map_or_else(
            || format!("unset it; known are {}", known.join(", ")),
            |name| format!("did you mean {}{name}?", variables::PREFIX),
        );
        Self::UnknownVariable {
            name: name.to_owned(),
            help,
        }
    }
}

/// The known name that is most like another, if one is.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similar = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let (similarity, nearest) = similar.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (similarity > 0.8).then_some(nearest)
}

//! What can be wrong with the configuration.

use super::table::{self, Setting};
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
        let nearest = table::SETTINGS
            .iter()
            .map(|setting| (strsim::jaro_winkler(key, setting.name), setting.name))
            .max_by(|left, right| left.0.total_cmp(&right.0))
            .filter(|(similarity, _)| *similarity > 0.8);
        let known = || {
            let names: Vec<&str> = table::SETTINGS.iter().map(|setting| setting.name).collect();
            format!("known are {}", names.join(", "))
        };
        let help = nearest.map_or_else(known, |(_, name)| format!("did you mean `{name}`?"));
        Self::Unknown {
            key: key.to_owned(),
            path,
            help,
        }
    }
}

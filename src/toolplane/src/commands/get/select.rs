//! Which rows a name means: those of that name, the one of that id, or those whose id begins so.

use super::Listing;
use crate::cli::Kind;

/// Shorter beginnings would mean some row or other by accident.
const SHORTEST: usize = 4;

/// No row is meant.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("no {what} is called `{name}`")]
#[diagnostic(help("{help}"))]
pub(crate) struct Unknown {
    what: &'static str,
    name: String,
    help: String,
}

impl Unknown {
    pub(crate) fn new(kind: Kind, name: &str) -> Self {
        let (what, by) = match kind {
            Kind::Environments => (
                "environment",
                "an environment goes by its id, the beginning of its id, or its user's id",
            ),
            Kind::Instances => ("instance", "an instance goes by its name, its id, or the beginning of its id"),
            Kind::Catalog => (
                "tool of the catalog",
                "a tool goes by its name, its id, or the beginning of its id",
            ),
        };
        let short = if is_hexadecimal(name) && name.len() < SHORTEST {
            format!(", which has at least {SHORTEST} characters")
        } else {
            String::new()
        };
        let kind = super::document::resource(kind);
        Self {
            what,
            name: name.to_owned(),
            help: format!("{by}{short}; `toolplane get {kind}` lists all"),
        }
    }
}

fn is_hexadecimal(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Listing {
    /// Keeps what the name means. Several instances may have one name; an environment goes by its id or its user's. What is
    /// meant exactly wins over what only begins so.
    pub(super) fn keep(&mut self, name: &str) {
        match self {
            Self::Environments(rows) => keep(
                rows,
                name,
                |row| row.id.to_string(),
                |row| row.spec.user_id.to_string() == name,
            ),
            Self::Instances(rows, _) => keep(
                rows,
                name,
                |row| row.id.to_string(),
                |row| row.spec.instance_name.as_deref() == Some(name),
            ),
            Self::Catalog(rows) => keep(rows, name, |row| row.id.to_string(), |row| row.tool_name == name),
        }
    }
}

fn keep<R>(rows: &mut Vec<R>, name: &str, id: impl Fn(&R) -> String, is_named: impl Fn(&R) -> bool) {
    let beginning = name.to_ascii_lowercase();
    let is_meant = |row: &R| is_named(row) || id(row) == beginning;
    if rows.iter().any(is_meant) {
        rows.retain(is_meant);
    } else if name.len() >= SHORTEST {
        rows.retain(|row| id(row).starts_with(&beginning));
    } else {
        rows.clear();
    }
}

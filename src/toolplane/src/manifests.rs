//! Manifests: desired state as YAML.
//!
//! Owns: how catalog entries, environments and instances are written down, what a right one looks like, and how the names in them
//! are resolved to rows. Must not: write anything. Promises: every mistake of all files is reported at once, each with file,
//! document, line and field; and what [`resolve`](resolve::resolve) returns refers to rows that exist or are part of it.

mod check;
mod document;
mod problem;
mod resolve;
mod slugs;
mod source;

pub(crate) use document::{API_VERSION, Manifest, Object};
pub(crate) use problem::Problems;
pub(crate) use resolve::{Known, Resolved, resolve};
pub(crate) use slugs::{Offered, check_offered};
pub(crate) use source::Source;

/// Reads every document of every source.
pub(crate) fn parse(sources: &[Source]) -> Result<Vec<Manifest>, Problems> {
    let mut manifests = Vec::new();
    let mut problems = Problems::default();
    for source in sources {
        for document in source.documents() {
            match document::parse(&document) {
                Ok(manifest) => {
                    check::check(&manifest, &mut problems);
                    manifests.push(manifest);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    if manifests.is_empty() && problems.is_empty() {
        problems.push(problem::Problem::without_place(
            "nothing to apply: no document in any file",
            "see `toolplane apply --help`",
        ));
    }
    problems.or(manifests)
}

#[cfg(test)]
mod tests;

//! What can go wrong, each naming the part that is missing or broken.

use std::{io, path::PathBuf};

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binaries were not found.
    #[error(
        "PostgreSQL: no `{binary}` in {searched}; install the server (Debian and Ubuntu: `apt install postgresql`), or name the \
         folder of its binaries in {variable}",
        variable = crate::binaries::VARIABLE
    )]
    BinaryMissing {
        /// The first binary that is missing.
        binary: &'static str,
        /// Where it was looked for.
        searched: String,
    },
    /// We are root and there is nobody else to run it as.
    #[error("PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody` to run it under")]
    NoAccount,
    /// A file or folder of the cluster.
    #[error("cluster directory: cannot use {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}")]
    Spawn {
        /// Which.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which.
        program: String,
        /// The end of what it printed.
        output: String,
    },
    /// `postgres` ended or did not become ready.
    #[error("postgres {what}; the end of its log:\n{log}")]
    NotReady {
        /// `ended with exit status: 1`, `was not ready after 60 s`.
        what: String,
        /// Its last lines.
        log: String,
    },
}

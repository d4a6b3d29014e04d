//! What can go wrong on the bench, said so that a person knows what to do.

use std::path::PathBuf;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not installed.
    #[error("`{program}` is not installed; {remedy}")]
    ProgramMissing {
        /// What was looked for in `PATH`.
        program: String,
        /// `apt install docker.io`.
        remedy: String,
    },
    /// A process could not be started.
    #[error("could not start {name}")]
    Spawn {
        /// What was to run.
        name: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A process that should last has ended.
    #[error("{name} ended with {status}; the end of its log, {}:\n{tail}", log.display())]
    Ended {
        /// What ran.
        name: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Where it logged.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A process runs but did not become ready.
    #[error("{name} did not answer within {seconds} seconds; the end of its log, {}:\n{tail}", log.display())]
    NotReady {
        /// What runs.
        name: String,
        /// How long it was waited for.
        seconds: u64,
        /// Where it logs.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// No engine answers and none can be started.
    #[error(
        "no Docker engine answers on {tried}, and only root can start one of our own; \
         start Docker (`systemctl start docker`), point DOCKER_HOST at an engine, or run this as root"
    )]
    EngineNeedsRoot {
        /// The addresses that did not answer.
        tried: String,
    },
    /// An engine does not answer.
    #[error("no Docker engine answers on {host}: {reason}")]
    EngineSilent {
        /// As in `DOCKER_HOST`.
        host: String,
        /// What happened instead.
        reason: String,
    },
    /// A `docker` command failed.
    #[error("`docker {arguments}` failed: {stderr}")]
    Docker {
        /// What was asked.
        arguments: String,
        /// What it said.
        stderr: String,
    },
    /// A path is too long for a Unix socket.
    #[error("{} is too long for a Unix socket ({length} bytes, at most 107 are possible); choose a shorter folder", path.display())]
    PathTooLong {
        /// The socket.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A tool did not answer an MCP call as it should.
    #[error("MCP call to {endpoint}: {reason}")]
    Mcp {
        /// The tool's URL.
        endpoint: String,
        /// What happened instead.
        reason: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

//! `GET /api/v1/agent/binary/{sha256}`: the agent that new droplets download. It holds no secret and needs no token.

use crate::{Backend, Problem};
use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use sha2::{Digest, Sha256};
use std::{os::fd::AsRawFd, path::PathBuf, sync::Arc};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// An agent executable that was hashed once, at start. The hash is part of its URL and of every droplet's user data.
#[derive(Clone, Debug)]
pub struct AgentBinary {
    /// Kept open: what replaces the file while we run, such as an upgrade, is another file.
    file: Arc<std::fs::File>,
    sha256: Arc<str>,
    size: u64,
}

/// The agent cannot be offered.
#[derive(Debug, thiserror::Error)]
#[error("agent_binary {path}: cannot be read; it must name the dtma executable that droplets download")]
pub struct AgentBinaryError {
    path: String,
    #[source]
    source: std::io::Error,
}

impl AgentBinary {
    /// Reads and hashes the file.
    pub async fn open(path: PathBuf) -> Result<Self, AgentBinaryError> {
        match hash(&path).await {
            Ok((file, sha256, size)) => Ok(Self {
                file: Arc::new(file),
                sha256: sha256.into(),
                size,
            }),
            Err(source) => Err(AgentBinaryError {
                path: path.display().to_string(),
                source,
            }),
        }
    }

    /// SHA-256 of the file, 64 hex digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The path of the download below the backend's URL.
    pub fn url_path(&self) -> String {
        agent_api::wire::backend_path::binary(&self.sha256)
    }
}

async fn hash(path: &PathBuf) -> std::io::Result<(std::fs::File, String, u64)> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Ok((file.into_std().await, hex::encode(hasher.finalize()), size));
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
}

/// Streams the file. Another hash than the current one is 404: a droplet that was told of an older agent fails to boot
/// clearly, and is replaced, rather than starting what it cannot verify.
pub(crate) async fn download(State(backend): State<Backend>, Path(sha256): Path<String>) -> Result<Response, Problem> {
    let binary = &backend.agent_binary;
    if sha256 != binary.sha256() {
        return Err(Problem::NotFound(format!(
            "no agent with SHA-256 {sha256}; the current one is {}",
            binary.sha256()
        )));
    }
    // The same file, with a position of its own.
    let file = tokio::fs::File::open(format!("/proc/self/fd/{}", binary.file.as_raw_fd()))
        .await
        .map_err(|error| Problem::Internal(Box::new(error)))?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, binary.size.to_string()),
        (CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(file, 1 << 16))).into_response())
}

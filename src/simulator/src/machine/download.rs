//! Getting the agent: from the URL in the bootstrap configuration, over TLS that its CA vouches for, and only with its hash.

use super::disk::Disk;
use futures::StreamExt;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{fs, io, io::Write, time::Duration};

/// What a boot reads of `/etc/toolplane/agent.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Bootstrap {
    agent_url: String,
    agent_sha256: String,
    #[serde(default)]
    backend_ca_pem: String,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{path} cannot be read: {message}")]
    Bootstrap { path: String, message: String },
    #[error("backend_ca_pem is no certificate")]
    Authority(#[source] reqwest::Error),
    #[error("the agent could not be downloaded from {url}: {message}")]
    Download { url: String, message: String },
    #[error("the agent from {url} has the SHA-256 {found}, expected was {expected}")]
    Hash { url: String, found: String, expected: String },
    #[error("the disk")]
    Disk(#[from] io::Error),
}

impl Bootstrap {
    pub(super) fn read(disk: &Disk) -> Result<Self, Error> {
        let path = disk.config_path();
        let failed = |message: String| Error::Bootstrap {
            path: path.display().to_string(),
            message,
        };
        let bytes = fs::read(&path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
    }
}

/// Downloads the agent and puts it in place, unless it is there.
pub(super) async fn fetch(disk: &Disk, bootstrap: &Bootstrap) -> Result<(), Error> {
    if disk.agent_path().exists() {
        return Ok(());
    }
    let url = &bootstrap.agent_url;
    let failed = |message: String| Error::Download {
        url: url.clone(),
        message,
    };
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_mins(10));
    if !bootstrap.backend_ca_pem.is_empty() {
        let authority = reqwest::Certificate::from_pem_bundle(bootstrap.backend_ca_pem.as_bytes()).map_err(Error::Authority)?;
        builder = builder.tls_certs_only(authority);
    }
    let client = builder.build().map_err(Error::Authority)?;
    let answer = client.get(url).send().await.map_err(|error| failed(chain(&error)))?;
    let answer = answer.error_for_status().map_err(|error| failed(chain(&error)))?;
    let mut file = fs::File::create(disk.download_path())?;
    let (mut hash, mut stream) = (Sha256::new(), answer.bytes_stream());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| failed(chain(&error)))?;
        hash.update(&chunk);
        file.write_all(&chunk)?;
    }
    drop(file);
    let found = hex::encode(hash.finalize());
    if !found.eq_ignore_ascii_case(bootstrap.agent_sha256.trim()) {
        fs::remove_file(disk.download_path())?;
        return Err(Error::Hash {
            url: url.clone(),
            found,
            expected: bootstrap.agent_sha256.clone(),
        });
    }
    Ok(disk.install(&found)?)
}

/// An error with its causes: the first of them seldom says what is wrong with a connection.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

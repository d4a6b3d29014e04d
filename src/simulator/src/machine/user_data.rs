//! The part of cloud-init that a simulated droplet has: `write_files` of a `#cloud-config`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use std::io;

/// What is read of a cloud-config. Everything else is for a real operating system.
#[derive(Debug, Default, Deserialize)]
struct CloudConfig {
    #[serde(default)]
    write_files: Vec<WriteFile>,
}

/// A file to write.
#[derive(Debug, Deserialize)]
pub(super) struct WriteFile {
    pub(super) path: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    permissions: Option<String>,
}

/// Why user data cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the user data is no #cloud-config")]
    NoCloudConfig,
    #[error("the user data is no valid YAML: {0}")]
    Yaml(String),
}

/// The files that user data wants written.
pub(super) fn files(user_data: &str) -> Result<Vec<WriteFile>, Error> {
    if !user_data.starts_with("#cloud-config") {
        return Err(Error::NoCloudConfig);
    }
    let parsed: Option<CloudConfig> = serde_saphyr::from_str(user_data).map_err(|error| Error::Yaml(error.to_string()))?;
    Ok(parsed.unwrap_or_default().write_files)
}

impl WriteFile {
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        match self.encoding.as_deref() {
            None | Some("text/plain" | "text") => Ok(self.content.clone().into_bytes()),
            Some("b64" | "base64") => {
                let packed: String = self.content.split_whitespace().collect();
                STANDARD.decode(packed).map_err(io::Error::other)
            }
            Some(other) => Err(io::Error::other(format!("encoding {other} is not simulated"))),
        }
    }

    pub(super) fn mode(&self) -> u32 {
        let text = self.permissions.as_deref().unwrap_or("0644");
        u32::from_str_radix(text.trim_start_matches("0o"), 8).unwrap_or(0o644) & 0o7777
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_cloud_init_reads_them() {
        let files = files(
            "#cloud-config\npackages: [docker.io]\nwrite_files:\n- path: /etc/toolplane/agent.json\n  permissions: '0600'\n  \
             content: |\n    {\"a\": 1}\n- path: /b\n  encoding: b64\n  content: aGVs\n    bG8=\nruncmd:\n- [a, b]\n",
        )
        .unwrap();
        assert_eq!(files[0].bytes().unwrap(), b"{\"a\": 1}\n");
        assert_eq!(files[0].mode(), 0o600);
        assert_eq!(files[1].bytes().unwrap(), b"hello");
        assert_eq!(files[1].mode(), 0o644);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        assert!(matches!(files("#!/bin/sh\n"), Err(Error::NoCloudConfig)));
        assert!(matches!(files("#cloud-config\nwrite_files: 3\n"), Err(Error::Yaml(_))));
        assert!(files("#cloud-config\n").unwrap().is_empty());
    }
}

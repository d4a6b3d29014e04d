//! The user data that a droplet boots from: `user-data.yaml`, filled with one environment's bootstrap configuration.
//!
//! Owns: the template, and how values get into it. Must not: know DigitalOcean, or carry anything that the bootstrap
//! configuration does not. Promises: whatever a value holds, the document keeps its shape; the result fits into a droplet.

use agent_api::Bootstrap;
use askama::{Template, filters::Escaper};
use std::fmt;

/// The longest user data that DigitalOcean takes, in bytes.
pub const LIMIT: usize = 64 * 1024;

/// Why there is no user data. Terminal: the configuration of the control plane has to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bootstrap configuration says something impossible.
    #[error("user data")]
    Bootstrap(#[from] agent_api::Error),
    /// The bootstrap configuration cannot be written as JSON.
    #[error("user data: agent.json")]
    Json(#[from] serde_json::Error),
    /// The template could not be filled.
    #[error("user data")]
    Template(#[from] askama::Error),
    /// The result is too long, most likely for a long bundle in `backend_ca_pem`.
    #[error("user data: {bytes} bytes, and {LIMIT} is the most that DigitalOcean takes")]
    TooLong {
        /// How long it became.
        bytes: usize,
    },
}

/// `user-data.yaml` with its holes.
#[derive(Template)]
#[template(path = "user-data.yaml")]
struct UserData<'a> {
    agent_json: &'a str,
    ca_pem: &'a str,
    agent_url: &'a str,
    agent_sha256: &'a str,
}

/// The user data of one droplet. It carries the enrolment token: do not log it.
pub fn render(bootstrap: &Bootstrap) -> Result<String, Error> {
    bootstrap.check()?;
    let document = UserData {
        agent_json: &serde_json::to_string_pretty(bootstrap)?,
        ca_pem: &bootstrap.backend_ca_pem,
        agent_url: bootstrap.agent_url.as_str(),
        agent_sha256: &bootstrap.agent_sha256,
    }
    .render()?;
    if document.len() > LIMIT {
        return Err(Error::TooLong { bytes: document.len() });
    }
    Ok(document)
}

/// Escapes for the inside of a YAML double-quoted scalar. Named in `askama.toml` for every `.yaml` template, so that no
/// template has to think of it.
#[derive(Clone, Copy)]
struct DoubleQuoted;

impl Escaper for DoubleQuoted {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        for c in string.chars() {
            match c {
                '"' => dest.write_str("\\\"")?,
                '\\' => dest.write_str("\\\\")?,
                '\n' => dest.write_str("\\n")?,
                ' '..='~' => dest.write_char(c)?,
                // By number, and not as JSON would have it: YAML joins no surrogates and takes some characters for line ends.
                other => write!(dest, "\\U{:08X}", u32::from(other))?,
            }
        }
        Ok(())
    }
}

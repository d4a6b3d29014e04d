//! The droplet's key on its disk.
//!
//! Owns: `key.pem` in the state directory. Must not: send it anywhere. Promises: it is made once; a key that cannot be read is
//! never replaced, because the control plane would refuse another one for this droplet.

use crate::file;
use agent_api::AgentKey;
use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// Reads the key, or makes it at the first start.
pub(crate) fn load_or_create(state_dir: &Path) -> anyhow::Result<AgentKey> {
    let path = state_dir.join("key.pem");
    let stored = file::read(&path).with_context(|| format!("reading {}", path.display()))?;
    if let Some(pem) = stored {
        let pem = String::from_utf8(pem).with_context(|| format!("{} is no key", path.display()))?;
        return AgentKey::from_pem(&SecretString::from(pem)).with_context(|| format!("{} is no key", path.display()));
    }
    let key = AgentKey::generate()?;
    file::replace(&path, key.to_pem().expose_secret().as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    tracing::info!(key = key.sha256(), "made this droplet's key");
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap().sha256(), first.sha256());
        std::fs::write(folder.path().join("key.pem"), "torn").unwrap();
        let error = load_or_create(folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("key.pem is no key"), "{error:#}");
        assert_eq!(std::fs::read(folder.path().join("key.pem")).unwrap(), b"torn");
    }
}

//! An image registry on loopback, so that what droplets pull travels the way it does in production.

use crate::{Child, Error, children::find_program};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
    time::Duration,
};

/// A running registry. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    process: Child,
}

impl Registry {
    /// Starts Debian's `docker-registry` with its data in `folder`, on `preferred_port` of 127.0.0.1 or, when that is taken, on any.
    pub async fn start(folder: &Path, preferred_port: u16) -> Result<Self, Error> {
        let program = find_program("docker-registry", "on Debian: `apt install docker-registry`")?;
        let address = free_address(preferred_port).map_err(Error::file(folder))?;
        let data = folder.join("registry");
        std::fs::create_dir_all(&data).map_err(Error::file(&data))?;
        let file = folder.join("registry.yml");
        std::fs::write(&file, configuration(&data, address)).map_err(Error::file(&file))?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&file);
        let mut process = Child::spawn("the image registry", &command, &folder.join("logs/registry.log"))?;
        process
            .wait_until(Duration::from_secs(30), || async { answers(address).await })
            .await?;
        Ok(Self { address, process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        self.process.log()
    }
}

/// A loopback address on which nobody listens now: on `preferred_port` or, when that is taken, on any.
pub fn free_address(preferred_port: u16) -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, preferred_port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?
        .local_addr()
}

// A JSON string is a YAML string, and quotes whatever a path may contain.
fn configuration(data: &Path, address: SocketAddr) -> String {
    let data = serde_json::Value::from(data.display().to_string());
    format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"{address}\"}}\n"
    )
}

async fn answers(address: SocketAddr) -> bool {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build() else {
        return false;
    };
    let answer = client.get(format!("http://{address}/v2/")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_and_a_taken_port_is_stepped_around() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = taken.local_addr().unwrap().port();
        let registry = Registry::start(folder.path(), port).await.unwrap();
        assert_ne!(registry.address().port(), port);
        assert!(answers(registry.address()).await);
        let address = registry.address();
        drop(registry);
        assert!(!answers(address).await);
    }
}

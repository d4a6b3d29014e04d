//! SQL as a person would send it: through `psql`, as the role that is named.

use tokio::process::Command;

/// A database and the role to speak as.
#[derive(Clone, Debug)]
pub struct Sql {
    url: String,
}

impl Sql {
    /// Speaks to the database at this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Runs one script as the database's owner; gives what it printed (unaligned, tuples only), or what psql complained of.
    pub async fn run(&self, script: &str) -> Result<String, String> {
        let output = Command::new("psql")
            .args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", script, &self.url])
            .output()
            .await
            .map_err(|error| format!("psql: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Runs a script that must succeed.
    ///
    /// # Panics
    /// With psql's complaint.
    pub async fn must(&self, script: &str) -> String {
        match self.run(script).await {
            Ok(printed) => printed,
            Err(complaint) => panic!("{script}\n{complaint}"),
        }
    }
}

//! What the control plane needs.

use super::{Finding, Report};
use crate::{
    commands::connect::{self, digitalocean_error},
    configuration::Settings,
};
use agent_api::MasterKey;
use digitalocean::AccountStatus;
use schema::{ConnectOptions, Database};
use secrecy::ExposeSecret;
use std::{os::unix::fs::PermissionsExt, time::Duration};

/// A notification over a healthy connection takes milliseconds; this bounds one over an unhealthy one.
const DELIVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(settings: &Settings, report: &mut Report) {
    database(settings, report).await;
    report.add("digitalocean", &digitalocean(settings).await);
    report.add("master key", &master_key(settings));
    report.add("agent binary", &agent_binary(settings).await);
    report.add("firewall", &firewall(settings));
}

/// Who is let in to droplets, at the network.
fn firewall(settings: &Settings) -> Finding {
    let networks = match settings.require_backend_cidrs() {
        Ok(networks) => networks,
        Err(error) => return Finding::from_error(&error),
    };
    if networks.iter().any(|network| network.prefix_len() == 0) {
        return Finding::Ok(
            "WARNING: backend_cidrs lets everybody connect to agents and tools; only their tokens decide".to_owned(),
        );
    }
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    Finding::Ok(format!("agents and tools are reached from {}", networks.join(", ")))
}

async fn database(settings: &Settings, report: &mut Report) {
    let database = match connect(settings).await {
        Ok((database, version)) => {
            report.add("database", &Finding::Ok(format!("PostgreSQL {version}")));
            database
        }
        Err(finding) => {
            report.add("database", &finding);
            for part in ["pooler", "migrations", "notifications"] {
                report.add(part, &Finding::Skipped("needs the database".to_owned()));
            }
            return;
        }
    };
    report.add("pooler", &pooler(&database).await);
    report.add("migrations", &migrations(&database).await);
    report.add("notifications", &notifications(&database).await);
}

async fn connect(settings: &Settings) -> Result<(Database, String), Finding> {
    let url = settings.require_database_url().map_err(|error| Finding::from_error(&error))?;
    let unreachable = |error| Finding::from_error(&connect::Error::Unreachable(error));
    let database = Database::connect(&ConnectOptions::new(url.clone(), None))
        .await
        .map_err(unreachable)?;
    let version = database.server_version().await.map_err(unreachable)?;
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or_default();
    if major < 15 {
        return Err(Finding::failed(
            format!("PostgreSQL {version} is too old"),
            "use PostgreSQL 15 or later: views here run with the rights of whoever asks",
        ));
    }
    Ok((database, version))
}

async fn pooler(database: &Database) -> Finding {
    match database.is_transaction_pooler().await {
        Ok(false) => Finding::Ok("none in transaction mode".to_owned()),
        Ok(true) => Finding::from_error(&connect::Error::TransactionPooler),
        Err(error) => Finding::from_error(&connect::Error::Unreachable(error)),
    }
}

async fn migrations(database: &Database) -> Finding {
    match database.migrations_pending().await {
        Ok(pending) if pending.is_empty() => Finding::Ok("current".to_owned()),
        Ok(pending) => Finding::from_error(&connect::Error::Unmigrated(pending)),
        Err(error) => Finding::from_error(&connect::Error::Unreachable(error)),
    }
}

async fn notifications(database: &Database) -> Finding {
    match database.listen_delivers(DELIVERY).await {
        Ok(true) => Finding::Ok("LISTEN delivers".to_owned()),
        Ok(false) => Finding::failed(
            format!("a notification did not arrive within {} seconds", DELIVERY.as_secs()),
            "connect to PostgreSQL without a pooler in between; until then changes are seen at the next resync only",
        ),
        Err(error) => Finding::from_error(&connect::Error::Unreachable(error)),
    }
}

async fn digitalocean(settings: &Settings) -> Finding {
    let client = match connect::digitalocean(settings) {
        Ok(Some(client)) => client,
        Ok(None) => {
            return match settings.require_digitalocean_token() {
                Ok(_) => Finding::Skipped(String::new()),
                Err(error) => Finding::from_error(&error),
            };
        }
        Err(error) => return Finding::from_error(&error),
    };
    match client.account_get().await {
        Ok(account) => match account.status {
            AccountStatus::Active | AccountStatus::Unknown => Finding::Ok(format!("at most {} droplets", account.droplet_limit)),
            AccountStatus::Warning => Finding::Ok(format!("the account has a warning: {}", account.status_message)),
            AccountStatus::Locked => Finding::failed(
                format!("the account is locked: {}", account.status_message),
                "see https://cloud.digitalocean.com/account",
            ),
        },
        Err(error) => Finding::from_error(&digitalocean_error(&error)),
    }
}

fn master_key(settings: &Settings) -> Finding {
    let key = match settings.require_master_key() {
        Ok(key) => key,
        Err(error) => return Finding::from_error(&error),
    };
    let remedy = "make one with `openssl rand -hex 32`, and keep it: agents made under another key have to be made anew";
    match key.expose_secret().parse::<MasterKey>() {
        Ok(key) => match key.certificate_authority() {
            Ok(_) => Finding::Ok("usable".to_owned()),
            Err(error) => Finding::failed(error.to_string(), remedy),
        },
        Err(error) => Finding::failed(error.to_string(), remedy),
    }
}

/// It is what droplets download, so it must run on them: 64-bit x86, and linked statically. Running it here shows both.
async fn agent_binary(settings: &Settings) -> Finding {
    let path = &settings.agent_binary;
    let remedy = "set agent_binary to a dtma that was built for x86_64 Linux, statically linked";
    let executable = std::fs::metadata(path).map(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    match executable {
        Ok(true) => {}
        Ok(false) => return Finding::failed(format!("{} is not executable", path.display()), remedy),
        Err(error) => return Finding::failed(format!("{}: {error}", path.display()), remedy),
    }
    let output = tokio::process::Command::new(path)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(DELIVERY, output).await {
        Ok(Ok(output)) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Finding::Ok(format!("{version} at {}", path.display()))
        }
        Ok(Ok(output)) => Finding::failed(format!("`{} --version` ended with {}", path.display(), output.status), remedy),
        Ok(Err(error)) => Finding::failed(format!("{}: {error}", path.display()), remedy),
        Err(_) => Finding::failed(format!("`{} --version` does not end", path.display()), remedy),
    }
}

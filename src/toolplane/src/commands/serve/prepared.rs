//! Everything that has to be right before work begins.

use crate::{commands::connect, configuration::Settings};
use agent_api::{CertificateAuthority, MasterKey};
use api::AgentBinary;
use miette::{IntoDiagnostic, WrapErr};
use schema::{ConnectOptions, Database, Role};
use secrecy::ExposeSecret;

/// Connections for reconcilers and their reflectors.
const WORK_CONNECTIONS: u32 = 20;
/// Connections for requests of agents.
const REQUEST_CONNECTIONS: u32 = 10;
/// Renewing a lease must not wait for anybody else's query.
const LEASE_CONNECTIONS: u32 = 2;

/// Checked and connected.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) settings: Settings,
    pub(super) master_key: MasterKey,
    pub(super) authority: CertificateAuthority,
    pub(super) agent_binary: AgentBinary,
    pub(super) digitalocean: digitalocean::Client,
    pub(super) database: Database,
    pub(super) request_database: Database,
    pub(super) lease_database: Database,
}

impl Prepared {
    pub(super) async fn new(settings: Settings) -> miette::Result<Self> {
        let master_key: MasterKey = settings.require_master_key()?.expose_secret().parse().into_diagnostic()?;
        let authority = master_key
            .certificate_authority()
            .into_diagnostic()
            .wrap_err("master_key: unusable")?;
        let agent_binary = AgentBinary::open(settings.agent_binary.clone()).await.into_diagnostic()?;
        let digitalocean = digitalocean(&settings).await?;
        check_database(&settings).await?;
        Ok(Self {
            database: database(&settings, "work", WORK_CONNECTIONS).await?,
            request_database: database(&settings, "requests", REQUEST_CONNECTIONS).await?,
            lease_database: database(&settings, "leases", LEASE_CONNECTIONS).await?,
            settings,
            master_key,
            authority,
            agent_binary,
            digitalocean,
        })
    }

    pub(super) async fn close(&self) {
        for database in [&self.database, &self.request_database, &self.lease_database] {
            database.close().await;
        }
    }
}

/// The whole schema, and a connection that notifications and leases can rely on.
async fn check_database(settings: &Settings) -> miette::Result<()> {
    let plain = connect::database(settings, None).await?;
    if plain.is_transaction_pooler().await.map_err(connect::Error::Unreachable)? {
        return Err(connect::Error::TransactionPooler.into());
    }
    let pending = plain.migrations_pending().await.map_err(connect::Error::Unreachable)?;
    plain.close().await;
    if pending.is_empty() {
        Ok(())
    } else {
        Err(connect::Error::Unmigrated(pending).into())
    }
}

async fn database(settings: &Settings, purpose: &str, max_connections: u32) -> miette::Result<Database> {
    let options = ConnectOptions {
        max_connections,
        application_name: format!("toolplane serve: {purpose}"),
        ..ConnectOptions::new(settings.require_database_url()?.clone(), Some(Role::Controller))
    };
    Ok(Database::connect(&options).await.map_err(connect::Error::Unreachable)?)
}

/// What is wrong with the token or with DigitalOcean can be mended while we run, and agents need us meanwhile; so it is only told.
async fn digitalocean(settings: &Settings) -> miette::Result<digitalocean::Client> {
    settings.require_digitalocean_token()?;
    let client = connect::digitalocean(settings)?.ok_or_else(|| miette::miette!("digitalocean_token: not set"))?;
    match client.account_get().await {
        Ok(account) => tracing::info!(droplet_limit = account.droplet_limit, "DigitalOcean answers"),
        Err(error @ digitalocean::Error::Unauthorized { .. }) => tracing::error!(%error, "no droplet can be made or destroyed"),
        Err(error) => tracing::warn!(%error, "DigitalOcean does not answer now"),
    }
    Ok(client)
}

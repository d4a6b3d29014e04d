//! Everything that has to be right before work begins.

use crate::ReplicaConfig;
use agent_api::CertificateAuthority;
use schema::{ConnectOptions, Database, Role};

/// Why a replica does not start. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No connection, or none that can be worked with.
    #[error("the database does not answer")]
    Database(#[source] schema::Error),
    /// The schema is older than this program.
    #[error("the database's schema is not up to date: {} pending", .0.join(", "))]
    Unmigrated(Vec<String>),
    /// Neither notifications nor roles survive such a pooler.
    #[error("the database is behind a pooler in transaction mode, which delivers no notifications and keeps no role")]
    TransactionPooler,
    /// How the shared request budget stands cannot be read.
    #[error("the request budget cannot be read")]
    Budget(#[source] digitalocean::LedgerError),
    /// The client of DigitalOcean cannot be made.
    #[error(transparent)]
    DigitalOcean(digitalocean::Error),
    /// No certificate can be made from the master key.
    #[error("{what}")]
    Certificate {
        /// Which setting is to blame.
        what: &'static str,
        /// Why.
        #[source]
        source: agent_api::Error,
    },
}

/// Checked and connected.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) config: ReplicaConfig,
    pub(crate) authority: CertificateAuthority,
    pub(crate) digitalocean: digitalocean::Client,
    pub(crate) database: Database,
    pub(crate) request_database: Database,
    pub(crate) lease_database: Database,
}

impl Prepared {
    pub(crate) async fn new(config: ReplicaConfig) -> Result<Self, StartError> {
        let authority = authority(&config)?;
        let digitalocean = digitalocean(&config).await?;
        check_database(&config).await?;
        let connections = config.connections;
        Ok(Self {
            database: database(&config, "work", connections.work).await?,
            request_database: database(&config, "requests", connections.requests).await?,
            lease_database: database(&config, "leases", connections.leases).await?,
            config,
            authority,
            digitalocean,
        })
    }

    /// For whoever only looks: the database refuses every write, and DigitalOcean is asked nothing yet.
    pub(crate) async fn reading(config: ReplicaConfig) -> Result<Self, StartError> {
        let authority = authority(&config)?;
        check_database(&config).await?;
        let options = ConnectOptions {
            application_name: "toolplane plan".to_owned(),
            read_only: true,
            effects: config.effects.clone(),
            ..ConnectOptions::new(config.database_url.clone(), Some(Role::Controller))
        };
        let database = Database::connect(&options).await.map_err(StartError::Database)?;
        Ok(Self {
            authority,
            digitalocean: client(&config)?,
            request_database: database.clone(),
            lease_database: database.clone(),
            database,
            config,
        })
    }

    pub(crate) async fn close(&self) {
        for database in [&self.database, &self.request_database, &self.lease_database] {
            database.close().await;
        }
    }
}

/// The whole schema, and a connection that notifications and leases can rely on.
async fn check_database(config: &ReplicaConfig) -> Result<(), StartError> {
    let options = ConnectOptions::new(config.database_url.clone(), None);
    let plain = Database::connect(&options).await.map_err(StartError::Database)?;
    if plain.is_transaction_pooler().await.map_err(StartError::Database)? {
        return Err(StartError::TransactionPooler);
    }
    let pending = plain.migrations_pending().await.map_err(StartError::Database)?;
    plain.close().await;
    if pending.is_empty() {
        Ok(())
    } else {
        Err(StartError::Unmigrated(pending))
    }
}

/// Connections that are kept for each purpose: one listens, one works, and a list finds one free.
const AT_REST: u32 = 3;

async fn database(config: &ReplicaConfig, purpose: &str, max_connections: u32) -> Result<Database, StartError> {
    let options = ConnectOptions {
        max_connections,
        min_connections: max_connections.min(AT_REST),
        application_name: format!("toolplane serve: {purpose}"),
        effects: config.effects.clone(),
        ..ConnectOptions::new(config.database_url.clone(), Some(Role::Controller))
    };
    Database::connect(&options).await.map_err(StartError::Database)
}

/// What is wrong with the token or with DigitalOcean can be mended while we run, and agents need us meanwhile; so it is only told.
async fn digitalocean(config: &ReplicaConfig) -> Result<digitalocean::Client, StartError> {
    let client = client(config)?;
    match client.account_get().await {
        Ok(account) => tracing::info!(droplet_limit = account.droplet_limit, "DigitalOcean answers"),
        Err(error @ digitalocean::Error::Unauthorized { .. }) => tracing::error!(%error, "no droplet can be made or destroyed"),
        Err(error) => tracing::warn!(%error, "DigitalOcean does not answer now"),
    }
    Ok(client)
}

fn client(config: &ReplicaConfig) -> Result<digitalocean::Client, StartError> {
    let reached = digitalocean::Config {
        effects: config.effects.clone(),
        ..config.digitalocean.clone()
    };
    digitalocean::Client::new(reached).map_err(StartError::DigitalOcean)
}

fn authority(config: &ReplicaConfig) -> Result<CertificateAuthority, StartError> {
    let authority = config.master_key.certificate_authority();
    authority.map_err(|source| StartError::Certificate {
        what: "master_key: unusable",
        source,
    })
}

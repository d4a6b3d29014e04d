//! Connections that commands open, and errors that say what to do when they cannot.

use crate::configuration::Settings;
use digitalocean::Client;
use schema::{ConnectOptions, Database, Role};
use secrecy::SecretString;

/// Why there is no connection, for people.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum Error {
    #[error("the database does not answer")]
    #[diagnostic(help("check that PostgreSQL runs and that database_url is right; `toolplane doctor` looks more closely"))]
    Unreachable(#[source] schema::Error),
    #[error("the database's schema is not up to date: {} pending", .0.join(", "))]
    #[diagnostic(help("run `toolplane migrate` with a user who may create tables"))]
    Unmigrated(Vec<String>),
    #[error("database_url leads to a pooler in transaction mode, which delivers no notifications and keeps no role")]
    #[diagnostic(help("use the direct connection or a session-mode pooler (on Supabase port 5432, not 6543)"))]
    TransactionPooler,
    #[error("what DigitalOcean has cannot be judged beside the last sweep: {0}")]
    #[diagnostic(help("check that PostgreSQL runs; after an update let `toolplane serve` of the same version sweep once"))]
    Unjudged(String),
    #[error("DigitalOcean: {message}")]
    #[diagnostic(help("{help}"))]
    DigitalOcean { message: String, help: &'static str },
}

/// A connection under a role, or under the address's own user, as migrations need.
pub(crate) async fn database(settings: &Settings, role: Option<Role>) -> miette::Result<Database> {
    let options = ConnectOptions::new(settings.require_database_url()?.clone(), role);
    Ok(Database::connect(&options).await.map_err(Error::Unreachable)?)
}

/// A connection for commands that read and write rows; the schema must be there.
pub(crate) async fn migrated_database(settings: &Settings, role: Role) -> miette::Result<Database> {
    let plain = database(settings, None).await?;
    let pending = plain.migrations_pending().await.map_err(Error::Unreachable)?;
    plain.close().await;
    if !pending.is_empty() {
        return Err(Error::Unmigrated(pending).into());
    }
    database(settings, Some(role)).await
}

/// A client of DigitalOcean, if a token is configured.
pub(crate) fn digitalocean(settings: &Settings) -> Result<Option<Client>, Error> {
    let Some(token) = settings.digitalocean_token.clone() else {
        return Ok(None);
    };
    Client::new(digitalocean_config(settings, token))
        .map(Some)
        .map_err(|error| digitalocean_error(&error))
}

/// How DigitalOcean is reached.
pub(crate) fn digitalocean_config(settings: &Settings, token: SecretString) -> digitalocean::Config {
    digitalocean::Config::new(settings.digitalocean_url.clone(), token)
}

/// A failed call, with what to do about it.
pub(crate) fn digitalocean_error(error: &digitalocean::Error) -> Error {
    let help = match error {
        digitalocean::Error::Unauthorized { .. } => {
            "make a token with read and write scope at https://cloud.digitalocean.com/account/api/tokens and set digitalocean_token to it"
        }
        digitalocean::Error::Configuration { .. } => "mend the setting that the message names",
        digitalocean::Error::RateLimited { .. } => "wait, or find out who else uses up this token's requests",
        digitalocean::Error::NotFound { .. }
        | digitalocean::Error::Refused { .. }
        | digitalocean::Error::Ambiguous { .. }
        | digitalocean::Error::Unavailable { .. }
        | digitalocean::Error::Decode { .. }
        | digitalocean::Error::Incomplete { .. } => {
            "check digitalocean_url and whether this machine reaches it; https://status.digitalocean.com says whether it is their side"
        }
    };
    Error::DigitalOcean {
        message: error.to_string(),
        help,
    }
}

//! What can go wrong between the program and Postgres, classed where it arises.

use model::{EnvironmentId, IntentId};
use sqlx::postgres::PgDatabaseError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the database is not one.
    #[error(transparent)]
    Address(sqlx::Error),
    /// No connection, a lost one, or a failure of the server. Trying again may help.
    #[error(transparent)]
    Database(sqlx::Error),
    /// The database refused what was to be written, by a constraint, a trigger or a privilege. Trying again is of no use.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The lease that the write was made under is no longer held. Whoever holds the shard now will see to the row.
    #[error("shard {shard}: the lease of epoch {epoch} is not held any more")]
    Fenced {
        /// Of the row.
        shard: u16,
        /// That the caller believed to be current.
        epoch: i64,
    },
    /// An intent is open already, and its effect may have been sent. Load again, and look for the effect.
    #[error("environment {0} has an open intent already")]
    IntentOpen(EnvironmentId),
    /// The environment is not as it was read any more, or is gone. Load again, and decide anew.
    #[error("environment {0} has changed since it was read")]
    Stale(EnvironmentId),
    /// There is no such intent.
    #[error("intent {0} does not exist, or is resolved")]
    NoIntent(IntentId),
    /// Something that was read cannot be understood by this version of the program.
    #[error("{row} cannot be understood")]
    Row {
        /// The row or the column.
        row: String,
        /// What was wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection that notifications come over was lost.
    #[error("the connection that notifications come over was lost")]
    ListenLost,
    /// A migration failed.
    #[error(transparent)]
    Migration(sqlx::migrate::MigrateError),
}

/// What the database said when it refused a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A sentence.
    pub message: String,
    /// What to do instead, if the database knows.
    pub hint: Option<String>,
    /// The column that is wrong, if one is.
    pub column: Option<String>,
    /// The constraint that does not hold, if it is one.
    pub constraint: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Database(_) | Self::Fenced { .. } | Self::IntentOpen(_) | Self::Stale(_) | Self::ListenLost => true,
            Self::Address(_) | Self::Refused(_) | Self::NoIntent(_) | Self::Row { .. } | Self::Migration(_) => false,
        }
    }

    /// A refusal that this crate found out itself.
    pub(crate) fn refused(column: &str, message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Refusal {
            message: message.into(),
            hint: None,
            column: Some(column.to_owned()),
            constraint: None,
        }))
    }
}

/// What an error of the database means to a pass.
impl From<&Error> for runtime::Error {
    fn from(error: &Error) -> Self {
        let reason = match error {
            Error::Fenced { .. } => "LeaseLost",
            Error::IntentOpen(_) => "IntentOpen",
            Error::Stale(_) => "RecordStale",
            Error::NoIntent(_) => "IntentResolved",
            Error::Refused(_) | Error::Row { .. } => "DatabaseRefused",
            Error::Address(_) | Error::Database(_) | Error::ListenLost | Error::Migration(_) => "DatabaseUnavailable",
        };
        // An intent that is resolved already means only that the record was old.
        let retriable = error.is_retriable() || matches!(error, Error::NoIntent(_));
        let message = error.to_string();
        if retriable {
            Self::retriable(reason, message)
        } else {
            Self::terminal(reason, message)
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let refusal = error
            .as_database_error()
            .and_then(|database| database.try_downcast_ref::<PgDatabaseError>())
            .filter(|database| is_refusal(database.code()))
            .map(|database| Refusal {
                message: database.message().to_owned(),
                hint: database.hint().or(database.detail()).map(ToOwned::to_owned),
                column: database.column().map(ToOwned::to_owned),
                constraint: database.constraint().map(ToOwned::to_owned),
            });
        match (refusal, error) {
            (Some(refusal), _) => Self::Refused(Box::new(refusal)),
            (None, sqlx::Error::ColumnDecode { index, source }) => Self::Row {
                row: format!("column {index}"),
                source,
            },
            (None, error) => Self::Database(error),
        }
    }
}

/// Integrity constraints (23), data exceptions (22) and privileges (42501) speak of what was to be written.
fn is_refusal(code: &str) -> bool {
    code.starts_with("23") || code.starts_with("22") || code == "42501"
}

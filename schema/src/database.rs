//! The pool of connections, each under the role that its work needs.

use crate::{Error, statuses::StatusQueue};
use effects::{Effect, Effects, System};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection, Executor, PgConnection, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

/// Bounds how long a call waits for a connection while the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after its last use a connection is taken to be alive still.
const PROVEN_FOR: Duration = Duration::from_secs(1);

/// Whose privileges a connection works under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Status and everything that the control plane keeps for itself.
    Controller,
    /// Specification of every account.
    Service,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Controller => "toolplane_controller",
            Self::Service => "service_role",
        }
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// What every connection becomes; `None` stays the user of the address, as migrations need.
    pub role: Option<Role>,
    /// The most connections at once.
    pub max_connections: u32,
    /// How many connections are opened ahead of their use, and kept: a new one takes a server process of its own to start.
    pub min_connections: u32,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Whether the database refuses every write over these connections.
    pub read_only: bool,
    /// The way of every write.
    pub effects: Effects,
}

impl ConnectOptions {
    /// Eight connections under a role, for reading and writing.
    pub fn new(url: SecretString, role: Option<Role>) -> Self {
        Self {
            url,
            role,
            max_connections: 8,
            min_connections: 0,
            application_name: "toolplane".to_owned(),
            read_only: false,
            effects: Effects::default(),
        }
    }
}

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    /// For reads, and for writes that pass [`Database::write`].
    pub(crate) pool: PgPool,
    /// Those that wait to be written.
    pub(crate) statuses: Arc<StatusQueue>,
    effects: Effects,
}

/// A transaction that writes. Its commit is the effect: before it nothing has happened, and without it nothing will.
#[derive(Debug)]
pub(crate) struct Writing {
    transaction: Transaction<'static, Postgres>,
    effect: Effect,
    effects: Effects,
}

impl Writing {
    /// Has the effect.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.effects.run(self.effect, self.transaction.commit()).await
    }

    /// Has none.
    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

impl Deref for Writing {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

impl Database {
    /// Connects once, to see that it can be done; further connections are made when needed. A server that is away is told at
    /// once, not after the time that later calls wait for its return.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let connect = PgConnectOptions::from_str(options.url.expose_secret())
            .map_err(Error::Address)?
            .application_name(&options.application_name)
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(5));
        // As statements and not as start-up parameters, which poolers refuse. Plans here are short: compiling them to machine
        // code costs more than it saves.
        let mut set_up = match options.role {
            Some(role) => format!("set jit = off; set role {}", role.name()),
            None => "set jit = off".to_owned(),
        };
        if options.read_only {
            set_up.push_str("; set default_transaction_read_only = on");
        }
        // The pool would try again and again, also what can never succeed.
        let mut first = connect.connect().await?;
        run(&mut first, set_up.clone())
            .await
            .map_err(|error| not_migrated(error.into()))?;
        first.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(options.min_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A ping costs as much as the query that follows. A connection that was used a moment ago does without.
            .test_before_acquire(false)
            .before_acquire(|connection, used| {
                Box::pin(async move { Ok(used.idle_for < PROVEN_FOR || connection.ping().await.is_ok()) })
            })
            .after_connect(move |connection, _| Box::pin(run(connection, set_up.clone())))
            .connect_lazy_with(connect);
        Ok(Self {
            pool,
            statuses: Arc::default(),
            effects: options.effects.clone(),
        })
    }

    /// Has the effect of one statement that writes and commits by itself. `name` is the method's.
    pub(crate) async fn write<T>(
        &self,
        name: &'static str,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.effects.run(Effect::write(System::Postgres, name), statement).await
    }

    /// A transaction that writes. `name` is the method's.
    pub(crate) async fn begin(&self, name: &'static str) -> Result<Writing, sqlx::Error> {
        Ok(Writing {
            transaction: self.pool.begin().await?,
            effect: Effect::write(System::Postgres, name),
            effects: self.effects.clone(),
        })
    }

    /// Ends every connection, after the calls under way.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop)
}

/// The roles come with the migrations.
fn not_migrated(error: Error) -> Error {
    match error {
        Error::Refused(mut refusal) if refusal.message.starts_with("role ") => {
            refusal.hint = Some("the migrations make it: run `toolplane migrate`".to_owned());
            Error::Refused(refusal)
        }
        other => other,
    }
}

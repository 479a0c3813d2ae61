//! Opening a database by its URL, and the one place that tells SQLite from PostgreSQL.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr, SqlitePool};

use crate::StoreError;
use crate::pace::{Call, Pace};

/// Either database, and who is told of its calls.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) pool: Pool,
    pace: Option<Arc<dyn Pace>>,
}

/// A pool of connections to either database.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs one body against whichever pool is behind the store. Every call of the database goes through here.
macro_rules! on {
    ($database:expr, $pool:ident => $body:expr) => {{
        let database = $database;
        let call = database.begin_call().await?;
        let came = match &database.pool {
            $crate::database::Pool::Sqlite($pool) => $body,
            $crate::database::Pool::Postgres($pool) => $body,
        };
        if let Some(call) = call {
            call.end().await?;
        }
        came
    }};
}
pub(crate) use on;

impl Database {
    /// `sqlite:FILE`, `sqlite::memory:` or `postgres://…`; brings the schema up to date.
    pub(crate) async fn open(url: &str, pace: Option<Arc<dyn Pace>>) -> Result<Self, StoreError> {
        let call = match &pace {
            Some(pace) => Some(pace.begin().await?),
            None => None,
        };
        let pool = Pool::open(url).await?;
        if let Some(call) = call {
            call.end().await?;
        }
        Ok(Self { pool, pace })
    }

    /// The same database at another pace.
    pub(crate) fn paced(&self, pace: Option<Arc<dyn Pace>>) -> Self {
        Self {
            pool: self.pool.clone(),
            pace,
        }
    }

    pub(crate) async fn begin_call(&self) -> Result<Option<Box<dyn Call>>, StoreError> {
        match &self.pace {
            Some(pace) => pace.begin().await.map(Some),
            None => Ok(None),
        }
    }

    /// How a writing transaction begins: on SQLite it takes the write lock at once.
    pub(crate) const fn begin(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "BEGIN IMMEDIATE",
            Pool::Postgres(_) => "BEGIN",
        }
    }

    /// How a reading transaction begins that sees one moment, whatever is written meanwhile.
    pub(crate) const fn begin_reading(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "BEGIN",
            Pool::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// How the head is read by whoever is about to write: on PostgreSQL its row is the lock.
    pub(crate) const fn lock_head(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "SELECT number, size, time, checkpoint FROM head",
            Pool::Postgres(_) => "SELECT number, size, time, checkpoint FROM head FOR UPDATE",
        }
    }
}

impl Pool {
    async fn open(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres") {
            // Committed means durable, whatever a server or a role has as its default.
            let options = PgConnectOptions::from_str(url)?.options([("synchronous_commit", "on")]);
            let pool = PgPoolOptions::new()
                .max_connections(8)
                .acquire_timeout(Duration::from_secs(10))
                .connect_with(options)
                .await?;
            migrator(&POSTGRES)
                .run(&pool)
                .await
                .map_err(|error| StoreError::Schema(error.to_string()))?;
            return Ok(Self::Postgres(pool));
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(20));
        // A database in memory lives in one connection.
        let connections = if url.contains(":memory:") { 1 } else { 6 };
        // Processes that open one file at the same moment, or while another closes it, are told "busy" whatever the
        // timeout, or find a table that the other just made: whoever lost looks again.
        let mut patience = 40;
        let pool = loop {
            match open_sqlite(options.clone(), connections).await {
                Ok(pool) => break pool,
                Err(error) if patience > 0 && lost_a_race(&error) => {
                    patience -= 1;
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(10..250))).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Self::Sqlite(pool))
    }
}

/// Why a database did not open.
enum Unopened {
    Connection(sqlx::Error),
    Schema(MigrateError),
}

impl From<Unopened> for StoreError {
    fn from(error: Unopened) -> Self {
        match error {
            Unopened::Connection(error) => error.into(),
            Unopened::Schema(error) => Self::Schema(error.to_string()),
        }
    }
}

async fn open_sqlite(options: SqliteConnectOptions, connections: u32) -> Result<SqlitePool, Unopened> {
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        // A file does not go away between two calls; and whoever is cancelled while a connection is tested would close it,
        // which in memory is the whole database.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(Unopened::Connection)?;
    let migrated = migrator(&SQLITE).run(&pool).await;
    if migrated.is_err() {
        pool.close().await;
    }
    migrated.map(|()| pool).map_err(Unopened::Schema)
}

/// Whether another process was in the way, and will not be for long.
fn lost_a_race(error: &Unopened) -> bool {
    let (Unopened::Connection(error)
    | Unopened::Schema(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))) = error
    else {
        return false;
    };
    let busy = |code: &str| code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6));
    error
        .as_database_error()
        .is_some_and(|error| error.code().is_some_and(|code| busy(&code)) || error.message().contains("already exists"))
}

/// How many steps the schema has.
pub(crate) const STEPS: usize = NAMES.len();
/// The schema's steps, the same for both.
const NAMES: [&str; 4] = ["first", "queue", "witness", "checkpoints"];
const SQLITE: [&str; 4] = [
    include_str!("../migrations/0001.sqlite.sql"),
    include_str!("../migrations/0002.sqlite.sql"),
    include_str!("../migrations/0003.sqlite.sql"),
    include_str!("../migrations/0004.sqlite.sql"),
];
const POSTGRES: [&str; 4] = [
    include_str!("../migrations/0001.postgres.sql"),
    include_str!("../migrations/0002.postgres.sql"),
    include_str!("../migrations/0003.postgres.sql"),
    include_str!("../migrations/0004.postgres.sql"),
];

fn migrator(steps: &[&'static str; 4]) -> Migrator {
    let steps = (1..).zip(NAMES).zip(steps).map(|((number, name), sql)| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(steps.collect())
}

//! Opening a database by its URL, and the one place that tells SQLite from PostgreSQL.

use std::borrow::Cow;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, SqlSafeStr, SqliteConnection, SqlitePool};
use tokio_util::sync::CancellationToken;

use crate::pace::{Call, Pace};
use crate::{StoreError, room};

/// Either database, and who is told of its calls.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) pool: Pool,
    pace: Option<Arc<dyn Pace>>,
    health: Arc<Health>,
    /// Where it lies, if it is a file.
    directory: Option<Arc<Path>>,
}

/// What calls of the database failed of, as far as it outlasts the call.
#[derive(Debug, Default)]
struct Health {
    /// The disk was full when something was written last.
    full: AtomicBool,
    /// What was written may not be what the disk holds: nothing more is read or written by this process.
    failed: CancellationToken,
}

/// How long a connection may take to show that it lives.
const PING: Duration = Duration::from_millis(500);
/// A connection that was used within this time is used again without a ping.
const FRESH: Duration = Duration::from_secs(1);
/// How long a call of a database server may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// How long it may take to read or write a whole database.
pub(crate) const WHOLE: Duration = Duration::from_secs(24 * 3600);

/// A pool of connections to either database.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs one body against whichever pool is behind the store. Every call of the database goes through here: what it failed
/// of is remembered, and a server that went away without a word is not waited for.
macro_rules! on {
    ($database:expr, $pool:ident => $body:expr) => {
        $crate::database::on!($database, within $crate::database::CALL, $pool => $body)
    };
    ($database:expr, within $limit:expr, $pool:ident => $body:expr) => {{
        let database = $database;
        database.still_good()?;
        let call = database.begin_call().await?;
        let came: Result<_, $crate::StoreError> = match &database.pool {
            $crate::database::Pool::Sqlite($pool) => async { Ok($body) }.await,
            $crate::database::Pool::Postgres($pool) => {
                match tokio::time::timeout($limit, async { Ok($body) }).await {
                    Ok(came) => came,
                    Err(_) => Err($crate::StoreError::Database("no answer in time".to_owned())),
                }
            }
        };
        if let Some(call) = call {
            call.end().await?;
        }
        database.judge(came)?
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
        Ok(Self {
            pool,
            pace,
            health: Arc::default(),
            directory: room::directory_of(url).map(Arc::from),
        })
    }

    /// Nothing, unless the disk failed under this process.
    pub(crate) fn still_good(&self) -> Result<(), StoreError> {
        if self.health.failed.is_cancelled() {
            return Err(StoreError::Failed);
        }
        Ok(())
    }

    /// Remembers what outlasts a call.
    pub(crate) fn judge<T>(&self, came: Result<T, StoreError>) -> Result<T, StoreError> {
        match &came {
            Err(StoreError::Full) => self.health.full.store(true, Ordering::SeqCst),
            Err(StoreError::Failed) => self.health.failed.cancel(),
            _ => {}
        }
        came
    }

    /// Whether the disk was full when something was written last; something was written since, if `written`.
    pub(crate) fn is_full(&self, written: bool) -> bool {
        if written {
            self.health.full.store(false, Ordering::SeqCst);
        }
        self.health.full.load(Ordering::SeqCst)
    }

    /// Comes when the disk failed under this process.
    pub(crate) async fn failed(&self) {
        self.health.failed.cancelled().await;
    }

    /// The same database at another pace.
    pub(crate) fn paced(&self, pace: Option<Arc<dyn Pace>>) -> Self {
        Self {
            pool: self.pool.clone(),
            pace,
            health: Arc::clone(&self.health),
            directory: self.directory.clone(),
        }
    }

    pub(crate) async fn begin_call(&self) -> Result<Option<Box<dyn Call>>, StoreError> {
        match &self.pace {
            Some(pace) => pace.begin().await.map(Some),
            None => Ok(None),
        }
    }

    /// Where it lies, if it is a file.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// What a database is tried with that was full. Of a server's disk nobody tells how much is free: what is tried there is as
    /// large as a large answer, 8 MiB, and leaves nothing behind.
    pub(crate) const fn trial(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "UPDATE head SET one = 1",
            Pool::Postgres(_) => {
                "CREATE TEMPORARY TABLE trial ON COMMIT DROP AS SELECT md5(one::text) AS line FROM generate_series(1, 130000) AS one"
            }
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
            // A client that went away without a word lets go of the head's lock within seconds.
            let options = PgConnectOptions::from_str(url)?.options([
                ("synchronous_commit", "on"),
                ("idle_in_transaction_session_timeout", "10s"),
                ("tcp_user_timeout", "10s"),
                ("tcp_keepalives_idle", "10"),
                ("tcp_keepalives_interval", "3"),
                ("tcp_keepalives_count", "3"),
            ]);
            let pool = PgPoolOptions::new()
                .max_connections(8)
                .acquire_timeout(Duration::from_secs(8))
                // A ping over a connection whose other end vanished would hang: it has a time of its own.
                .test_before_acquire(false)
                .before_acquire(|connection, since| {
                    // Whoever answered a moment ago is not asked whether it lives.
                    let lately = since.idle_for < FRESH;
                    Box::pin(async move {
                        if lately {
                            return Ok(true);
                        }
                        match tokio::time::timeout(PING, connection.ping()).await {
                            Ok(pinged) => pinged.map(|()| true),
                            Err(_) => Err(sqlx::Error::PoolTimedOut),
                        }
                    })
                })
                .connect_with(options)
                .await?;
            migrator(&POSTGRES).run(&pool).await.map_err(unmigrated)?;
            return Ok(Self::Postgres(pool));
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Journals of statements and sorting need no other disk, which could be full, and leave nothing on one.
            .pragma("temp_store", "memory")
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

/// How long somebody who only glances at a database waits for it.
const GLANCE: Duration = Duration::from_secs(5);

/// What stands in a database, before anything in it is opened or made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// The notes that it keeps: they may name a newer log of this node.
    pub notes: Vec<String>,
    /// The number of its newest log.
    pub number: Option<u32>,
}

impl Glance {
    /// Glances at the database behind a URL. Nothing where there is none yet, or it does not answer.
    pub async fn at(url: &str) -> Self {
        tokio::time::timeout(GLANCE, Self::read(url))
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }

    async fn read(url: &str) -> Result<Self, sqlx::Error> {
        const NOTES: &str = "SELECT bytes FROM notes ORDER BY name, number";
        const NUMBER: &str = "SELECT number FROM head";
        let (notes, number): (_, Option<i64>) = if url.starts_with("postgres") {
            let mut connection = PgConnection::connect(url).await?;
            let notes = sqlx::query_scalar(NOTES).fetch_all(&mut connection).await?;
            (notes, sqlx::query_scalar(NUMBER).fetch_optional(&mut connection).await?)
        } else {
            let options = SqliteConnectOptions::from_str(url)?
                .create_if_missing(false)
                .busy_timeout(GLANCE);
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let notes = sqlx::query_scalar(NOTES).fetch_all(&mut connection).await?;
            let number = sqlx::query_scalar(NUMBER).fetch_optional(&mut connection).await?;
            connection.close().await?;
            (notes, number)
        };
        Ok(Self {
            notes,
            number: number.and_then(|number| number.try_into().ok()),
        })
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
            Unopened::Schema(error) => unmigrated(error),
        }
    }
}

/// Why the schema is not what this program needs.
fn unmigrated(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(number) | MigrateError::VersionTooNew(number, _) => StoreError::Newer(number),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => match error.into() {
            StoreError::Database(why) => StoreError::Schema(why),
            other => other,
        },
        error => StoreError::Schema(error.to_string()),
    }
}

/// Whether a connection may serve again. On a full disk SQLite rolls back by itself, the pool's own ROLLBACK fails, and the
/// connection counts as in a transaction for ever: it would refuse every later one.
async fn is_out_of_its_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A ROLLBACK may still be on its way: the ping comes after it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
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
        .after_release(|connection, _| Box::pin(is_out_of_its_transaction(connection)))
        .connect_with(options)
        .await
        .map_err(Unopened::Connection)?;
    // What a process left that saw its disk fail goes to the disk once more, before anything is built on it.
    let written = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&pool).await;
    if let Err(error) = written {
        pool.close().await;
        return Err(Unopened::Connection(error));
    }
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
    let made = |message: &str| message.contains("already exists") || message.starts_with("duplicate column name");
    error
        .as_database_error()
        .is_some_and(|error| error.code().is_some_and(|code| busy(&code)) || made(error.message()))
}

/// How many steps the schema has.
pub(crate) const STEPS: usize = NAMES.len();
/// The schema's steps, the same for both.
const NAMES: [&str; 7] = ["first", "queue", "witness", "checkpoints", "batch", "orders", "earlier"];
const SQLITE: [&str; 7] = [
    include_str!("../migrations/0001.sqlite.sql"),
    include_str!("../migrations/0002.sqlite.sql"),
    include_str!("../migrations/0003.sqlite.sql"),
    include_str!("../migrations/0004.sqlite.sql"),
    include_str!("../migrations/0005.sqlite.sql"),
    include_str!("../migrations/0006.sqlite.sql"),
    include_str!("../migrations/0007.sqlite.sql"),
];
const POSTGRES: [&str; 7] = [
    include_str!("../migrations/0001.postgres.sql"),
    include_str!("../migrations/0002.postgres.sql"),
    include_str!("../migrations/0003.postgres.sql"),
    include_str!("../migrations/0004.postgres.sql"),
    include_str!("../migrations/0005.postgres.sql"),
    include_str!("../migrations/0006.postgres.sql"),
    include_str!("../migrations/0007.postgres.sql"),
];

fn migrator(steps: &[&'static str; STEPS]) -> Migrator {
    let steps = (1..).zip(NAMES).zip(steps).map(|((number, name), sql)| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(steps.collect())
}

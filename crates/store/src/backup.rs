//! A database as lines of text, the same from SQLite and PostgreSQL: written within one reading transaction while others
//! write, and read into a scratch database beside the live one, which takes its place whole or not at all.
//!
//! Knows nothing of files, encryption and signatures: whoever calls brings the lines to where they are kept.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::{AssertSqlSafe, QueryBuilder, Row};
use tokio::sync::mpsc;

use crate::database::{Database, Pool, WHOLE, on};
use crate::{Store, StoreError};

/// What a column holds.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Text,
    Bytes,
}
use Kind::{Bytes, Integer, Text};

/// A table: its name, its columns in order, how it is read, how its rows begin to be written.
struct Table {
    name: &'static str,
    columns: &'static [Kind],
    read: &'static str,
    write: &'static str,
}

macro_rules! tables {
    ($($name:literal: $($column:literal $kind:ident),+; order by $order:literal;)+) => {
        [$(Table {
            name: $name,
            columns: &[$($kind),+],
            read: concat!("SELECT ", tables!(@list $($column),+), " FROM ", $name, " ORDER BY ", $order),
            write: concat!("INSERT INTO ", $name, " (", tables!(@list $($column),+), ") "),
        }),+]
    };
    (@list $first:literal $(, $rest:literal)*) => { concat!($first $(, ", ", $rest)*) };
}

/// Every table; a test compares them with the schema.
const TABLES: [Table; 19] = tables! {
    "head": "one" Integer, "number" Integer, "size" Integer, "time" Integer, "checkpoint" Text; order by "one";
    "keys": "name" Text, "wrapped" Bytes; order by "name";
    "log": "number" Integer, "idx" Integer, "entry" Bytes, "body" Bytes, "key" Text; order by "number, idx";
    "roots": "number" Integer, "level" Integer, "idx" Integer, "hash" Bytes; order by "number, level, idx";
    "questions": "origin" Text, "id" Text, "leaf" Bytes, "expires" Integer; order by "origin, id";
    "said": "origin" Text, "id" Text, "number" Integer, "first" Integer, "count" Integer; order by "origin, id, number, first";
    "received": "origin" Text, "id" Text, "log" Text, "first" Integer, "count" Integer, "wire" Bytes, "size" Integer, "root" Bytes; order by "origin, id, log, first, count";
    "withdrawals": "asker" Integer, "mandate" Text, "until" Integer; order by "asker, mandate";
    "imports": "number" Integer, "category" Text, "source" Text, "as_of" Text, "digest" Bytes, "accepted" Integer, "file" Bytes; order by "number";
    "records": "subject" Bytes, "import" Integer, "row" Integer, "sealed" Bytes; order by "subject, import, row";
    "notes": "name" Text, "number" Integer, "bytes" Text; order by "name, number";
    "asked": "origin" Text, "id" Text, "kind" Text, "mandate" Text, "expires" Integer, "attempt" Integer, "due" Integer, "holder" Text, "leased" Integer, "line" Bytes; order by "origin, id";
    "seen": "log" Text, "size" Integer, "checkpoint" Text; order by "log";
    "cosigned": "number" Integer, "size" Integer, "checkpoint" Text; order by "number";
    "checkpoints": "log" Text, "size" Integer, "root" Bytes, "kept" Integer, "note" Text, "since" Integer, "cover" Integer, "proof" Bytes, "witnessed" Integer; order by "log, size, root, kept";
    "orders": "hash" Bytes, "action" Text, "number" Integer, "idx" Integer, "executed" Integer, "done" Integer; order by "hash";
    "forks": "subject" Text, "found" Integer, "proof" Text; order by "subject";
    "earlier": "number" Integer, "size" Integer, "checkpoint" Text, "key" Text, "stands" Integer; order by "number";
    "witnessed": "number" Integer, "size" Integer, "time" Integer, "checkpoint" Text; order by "number, size";
};

/// Rows of one INSERT, and about how many bytes.
const ROWS: usize = 500;
const BYTES: usize = 4 << 20;

/// The number of the schema that lines are of; rows of another are not read.
pub const SCHEMA: usize = crate::database::STEPS;

/// The names of all tables.
pub fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

/// A line that is no row, or not of this schema.
fn unreadable() -> StoreError {
    StoreError::Corrupt("a line of the backup")
}

macro_rules! line_of {
    ($table:expr, $row:expr) => {{
        let (table, row) = ($table, $row);
        let mut values = Vec::with_capacity(table.columns.len());
        for (at, kind) in table.columns.iter().enumerate() {
            values.push(match kind {
                Integer => Value::from(row.try_get::<Option<i64>, _>(at)?),
                Text => Value::from(row.try_get::<Option<String>, _>(at)?),
                Bytes => Value::from(
                    row.try_get::<Option<Vec<u8>>, _>(at)?
                        .map(|bytes| STANDARD.encode(bytes)),
                ),
            });
        }
        let mut line = String::from(table.name);
        // Writing into a String does not fail.
        let _ = writeln!(line, " {}", Value::Array(values));
        line
    }};
}

impl Store {
    /// Gives every row as a line, all of one moment; nobody who writes waits for it. Ends early if nobody reads.
    pub async fn dump(&self, lines: mpsc::Sender<String>) -> Result<(), StoreError> {
        on!(&self.database, within WHOLE, pool => {
            let mut tx = pool.begin_with(self.database.begin_reading()).await?;
            for table in &TABLES {
                let mut rows = sqlx::query(table.read).fetch(&mut *tx);
                while let Some(row) = rows.try_next().await? {
                    if lines.send(line_of!(table, row)).await.is_err() {
                        return Err(StoreError::NotWritten("nobody reads the backup".to_owned()));
                    }
                }
            }
            tx.rollback().await?;
        });
        Ok(())
    }
}

/// A database beside the live one that is being filled.
#[derive(Debug)]
pub struct Scratch {
    live: String,
    place: Place,
    database: Database,
}

#[derive(Clone, Debug)]
enum Place {
    /// The scratch file, and the live one.
    File(PathBuf, PathBuf),
    /// The scratch schema.
    Schema(String),
}

impl Place {
    fn beside(live: &str, stamp: i64) -> Result<(Self, String), StoreError> {
        if live.starts_with("postgres") {
            let schema = format!("sanku_restoring_{stamp}");
            let joint = if live.contains('?') { '&' } else { '?' };
            let url = format!("{live}{joint}options=-c%20search_path%3D{schema}");
            return Ok((Self::Schema(schema), url));
        }
        let file = live.strip_prefix("sqlite:").filter(|file| !file.starts_with(':'));
        let file = PathBuf::from(file.ok_or(StoreError::Database("a database in memory has no place".to_owned()))?);
        let mut scratch = file.clone().into_os_string();
        scratch.push(format!(".restoring-{stamp}"));
        let url = format!("sqlite:{}", Path::new(&scratch).display());
        Ok((Self::File(scratch.into(), file), url))
    }
}

/// A file and what SQLite keeps beside it.
fn with_journals(file: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

impl Scratch {
    /// An empty database beside the live one; `stamp` makes its name.
    pub async fn beside(live: &str, stamp: i64) -> Result<Self, StoreError> {
        let (place, url) = Place::beside(live, stamp)?;
        if let Place::Schema(schema) = &place {
            let pool = sqlx::PgPool::connect(live).await?;
            sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
                .execute(&pool)
                .await?;
            pool.close().await;
        }
        let database = Database::open(&url, None).await?;
        Ok(Self {
            live: live.to_owned(),
            place,
            database,
        })
    }

    /// Where it is opened.
    pub fn url(&self) -> Result<String, StoreError> {
        let stamp = match &self.place {
            Place::File(scratch, _) => return Ok(format!("sqlite:{}", scratch.display())),
            Place::Schema(schema) => schema.rsplit('_').next().and_then(|stamp| stamp.parse().ok()),
        };
        Ok(Place::beside(&self.live, stamp.unwrap_or_default())?.1)
    }

    /// Fills it with lines until there are no more, in one transaction.
    pub async fn fill(&self, mut lines: mpsc::Receiver<String>) -> Result<u64, StoreError> {
        let mut count = 0;
        on!(&self.database, within WHOLE, pool => {
            let mut tx = pool.begin_with(self.database.begin()).await?;
            let mut held: Option<(usize, Vec<Vec<Value>>, usize)> = None;
            loop {
                let line = lines.recv().await;
                let next = line.as_deref().map(row_of).transpose()?;
                let goes = match (&held, &next) {
                    (Some((table, rows, bytes)), Some((of, _))) => table != of || rows.len() >= ROWS || *bytes >= BYTES,
                    (held, next) => held.is_some() && next.is_none(),
                };
                if goes && let Some((table, rows, _)) = held.take() {
                    let mut insert = QueryBuilder::new(TABLES[table].write);
                    insert.push_values(rows, |mut out, row| {
                        for (value, kind) in row.into_iter().zip(TABLES[table].columns) {
                            match (kind, value) {
                                (Bytes, Value::String(text)) => out.push_bind(STANDARD.decode(text).unwrap_or_default()),
                                (Bytes, _) => out.push_bind(None::<Vec<u8>>),
                                (_, Value::String(text)) => out.push_bind(text),
                                (Text, _) => out.push_bind(None::<String>),
                                (Integer, value) => out.push_bind(value.as_i64()),
                            };
                        }
                    });
                    insert.build().execute(&mut *tx).await?;
                }
                let Some((table, row)) = next else { break };
                count += 1;
                let (_, rows, bytes) = held.get_or_insert((table, Vec::new(), 0));
                *bytes += line.map_or(0, |line| line.len());
                rows.push(row);
            }
            tx.commit().await?;
        });
        Ok(count)
    }

    /// It takes the live database's place. Says under which name the old one is kept, if there was one.
    pub async fn put_in_place(self, stamp: i64) -> Result<Option<String>, StoreError> {
        match (&self.database.pool, &self.place) {
            (Pool::Sqlite(pool), Place::File(scratch, file)) => {
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await?;
                pool.close().await;
                moved(scratch, file, stamp).map_err(|error| StoreError::Database(error.kind().to_string()))
            }
            (Pool::Postgres(pool), Place::Schema(schema)) => {
                pool.close().await;
                let live = sqlx::PgPool::connect(&self.live).await?;
                let mut tx = live.begin().await?;
                let old: String = sqlx::query("SELECT current_schema()")
                    .fetch_one(&mut *tx)
                    .await?
                    .try_get(0)?;
                let kept = format!("sanku_before_{stamp}");
                sqlx::query(AssertSqlSafe(format!("ALTER SCHEMA \"{old}\" RENAME TO {kept}")))
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(AssertSqlSafe(format!("ALTER SCHEMA {schema} RENAME TO \"{old}\"")))
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
                live.close().await;
                Ok(Some(kept))
            }
            _ => Err(StoreError::Database("another kind of database".to_owned())),
        }
    }

    /// It goes away.
    pub async fn discard(self) -> Result<(), StoreError> {
        match (&self.database.pool, &self.place) {
            (Pool::Sqlite(pool), Place::File(scratch, _)) => {
                pool.close().await;
                for file in with_journals(scratch) {
                    let _ = std::fs::remove_file(file);
                }
            }
            (Pool::Postgres(pool), Place::Schema(schema)) => {
                pool.close().await;
                let live = sqlx::PgPool::connect(&self.live).await?;
                sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE")))
                    .execute(&live)
                    .await?;
                live.close().await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Moves the live files aside and the scratch file into their place. Between both there is no database, and a start is told so
/// by what is remembered outside of it.
fn moved(scratch: &Path, file: &Path, stamp: i64) -> std::io::Result<Option<String>> {
    let mut kept = file.as_os_str().to_owned();
    kept.push(format!(".before-restore-{stamp}"));
    let kept = PathBuf::from(kept);
    let there = file.exists();
    for (from, to) in with_journals(file).into_iter().zip(with_journals(&kept)) {
        if from.exists() {
            std::fs::rename(from, to)?;
        }
    }
    std::fs::rename(scratch, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())?;
    Ok(there.then(|| kept.display().to_string()))
}

/// The table and the values of a line.
fn row_of(line: &str) -> Result<(usize, Vec<Value>), StoreError> {
    let (name, values) = line.trim_end().split_once(' ').ok_or_else(unreadable)?;
    let table = TABLES
        .iter()
        .position(|table| table.name == name)
        .ok_or_else(unreadable)?;
    let values: Vec<Value> = serde_json::from_str(values).map_err(|_| unreadable())?;
    let columns = TABLES[table].columns;
    let fits = |(value, kind): (&Value, &Kind)| match (kind, value) {
        (Integer | Bytes, Value::Null) => true,
        (Integer, value) => value.is_i64(),
        (Text, value) => value.is_string(),
        (Bytes, Value::String(text)) => STANDARD.decode(text).is_ok(),
        (Bytes, _) => false,
    };
    if values.len() == columns.len() && values.iter().zip(columns).all(fits) {
        Ok((table, values))
    } else {
        Err(unreadable())
    }
}

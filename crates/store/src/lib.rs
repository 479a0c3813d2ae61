//! The only place with SQL: the log with its sequencer, questions and statements, sealed records, notes.
//!
//! SQLite by default, PostgreSQL by another URL; every statement of SQL is one text for both. Knows no HTTP.
//!
//! Limits. A database put back to an older state is whole in itself: only memory outside of it tells (`ground`). An import is
//! one transaction under the head's lock: while a large one is written, the log waits.

mod backup;
mod blocks;
mod checkpoints;
mod clock;
mod compose;
mod database;
mod earlier;
mod ground;
mod log;
mod look;
mod opening;
mod orders;
mod pace;
mod questions;
mod queue;
mod recent;
mod records;
mod room;
mod script;
mod sealing;
mod sequencer;
mod standing;
mod verify;
mod witness;

use std::sync::Arc;

pub use backup::{SCHEMA, Scratch, tables};
pub use checkpoints::{Cover, HeldCheckpoint, OpenLog, StoredFork, Unwitnessed};
pub use database::Glance;
pub use earlier::ReceivedRun;
pub use ground::{Recovering, Remembered as RememberedCheckpoint, Teller, Unfit};
pub use opening::{Before, Opening};
pub use orders::ExecutedOrder;
pub use pace::{Call, Later, Pace};
pub use questions::{Remembered, key_name};
pub use queue::{AskedKind, Claim, Claimed};
pub use records::{Found, ImportRow, ImportRows, StoredImport, StoredRecord};
pub use room::Room;
use sanku_federation_protocol::names::Origin;
use sanku_tlog::{Checkpoint, SigningKey, VerifierKey, empty_root};
use sanku_values::Clock;
pub use sealing::StorageKeys;
pub use sequencer::{Committed, Effect, Part, Urgency};
pub use standing::Standing;

use crate::database::{Database, on};

/// Why the store cannot do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer as it should.
    #[error("数据库 database: {0}")]
    Database(String),
    /// The disk is full: nothing was written.
    #[error(
        "磁盘已满，未写入；腾出空间后自动恢复 the disk is full, nothing was written; make room, and the node goes on by itself"
    )]
    Full,
    /// The disk failed while something was written: what it holds is not known, and this process touches it no more.
    #[error(
        "磁盘写入失败，本进程停用数据库；查看 dmesg 和磁盘，重新启动后核对 the disk failed while it was written, and this process uses the database no more; see dmesg and the disk, then start the node again: it verifies what is there"
    )]
    Failed,
    /// A newer program made the database.
    #[error(
        "数据库由较新的程序建立（结构 {0}）；用那个版本或更新的程序，或恢复升级前的备份 a newer program made this database (schema {0}); run that program or a newer one, or put back the copy from before the upgrade"
    )]
    Newer(i64),
    /// The schema cannot be brought up to date.
    #[error("数据库结构 schema: {0}")]
    Schema(String),
    /// A key is missing or wrong.
    #[error("密钥 keys: {0}")]
    Keys(&'static str),
    /// What was read does not hold: it is not served.
    #[error("数据损坏 corrupt: {0}")]
    Corrupt(&'static str),
    /// The key was destroyed: the content cannot be read any more.
    #[error("密钥已销毁，内容不可恢复 the key was destroyed, the content is gone")]
    Destroyed,
    /// The database is behind or beside what this node signed: nothing is said until it holds that again, or an administrator
    /// decided.
    #[error("节点处于恢复状态 recovering: {0}")]
    Recovering(Box<Recovering>),
    /// This machine's clock is too far from the neighbours': nothing was written.
    #[error(
        "本机时钟与相邻节点相差超过 15 分钟，未写入；校准时钟（timedatectl）后自动恢复 the clock is more than 15 minutes from the neighbours', nothing was written; set it (timedatectl), and the node goes on by itself"
    )]
    Clock,
    /// Nothing was written.
    #[error("日志未写入 the log was not written: {0}")]
    NotWritten(String),
    /// A draft that cannot be an entry.
    #[error("not a statement: {0}")]
    Draft(String),
    /// The same content is in already.
    #[error("内容已导入，批号 {number} already imported as #{number}")]
    AlreadyImported {
        /// The import that holds it.
        number: u64,
    },
    /// Another question stands under the same asker's id: nothing was written for this call.
    #[error("同一编号下已有另一份查询 another question stands under this id")]
    Different,
    /// The mandate was withdrawn before this could be written: nothing was written for this call.
    #[error("授权书已撤回，未写入 the mandate was withdrawn, nothing was written")]
    Withdrawn,
    /// Another process of this node said something about the question meanwhile: nothing was written for this call.
    #[error("另一进程已作出回答，未写入 another process said it meanwhile, nothing was written")]
    SaidMeanwhile,
    /// The order was executed before: nothing was written for this call.
    #[error("指令已执行过，未写入 the order was executed before, nothing was written")]
    Executed,
    /// The log has no such entry.
    #[error("没有这条记录，日志共 {size} 条 no such entry: the log has {size}")]
    NoSuchEntry {
        /// The log's size.
        size: u64,
    },
    /// The log does not hold from here on.
    #[error("日志从第 {index} 条起不成立 the log does not hold from index {index}: {why}")]
    Broken {
        /// The first index that does not hold, or the first of the group that holds it.
        index: u64,
        /// Why.
        why: &'static str,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // Messages of databases may quote values: only their kind goes further.
        match error {
            sqlx::Error::Database(error) => match error.code().as_deref() {
                // SQLITE_FULL, SQLITE_IOERR_SHMSIZE; PostgreSQL's disk_full.
                Some("13" | "4874" | "53100") => Self::Full,
                // SQLITE_IOERR_FSYNC, _WRITE, _DIR_FSYNC. After a failed fsync the kernel may call pages clean that
                // never reached the disk: writing on would build on what is not there.
                Some("1034" | "778" | "1290") => Self::Failed,
                Some(code) => Self::Database(format!("code {code}")),
                None => Self::Database("refused".to_owned()),
            },
            sqlx::Error::Io(error) => Self::Database(error.kind().to_string()),
            sqlx::Error::PoolTimedOut => Self::Database("no connection in time".to_owned()),
            sqlx::Error::RowNotFound => Self::Corrupt("a row is missing"),
            sqlx::Error::Configuration(_) => Self::Database("the URL is not of its form".to_owned()),
            _ => Self::Database("it broke off".to_owned()),
        }
    }
}

/// A node's database.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    keys: StorageKeys,
    origin: Origin,
    verifier: VerifierKey,
    jobs: tokio::sync::mpsc::Sender<sequencer::Job>,
    batches: tokio::sync::mpsc::Sender<sequencer::Job>,
    blocks: Arc<blocks::Blocks>,
    /// This process among those that share the database.
    process: Arc<str>,
    clock: Arc<clock::LogClock>,
    ground: Arc<ground::Ground>,
    signing: Arc<SigningKey>,
    /// Of an earlier log: how it ended.
    ended: Option<Arc<earlier::Ended>>,
}

impl Store {
    /// Opens the database behind a URL and starts the log's sequencer. A database that is not this log's opens too, and is
    /// recovering: it can be looked at, and takes nothing.
    ///
    /// # Errors
    /// If the database cannot be opened or read.
    pub async fn open(
        url: &str,
        keys: StorageKeys,
        origin: Origin,
        signing: SigningKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        Self::open_paced(url, keys, origin, signing, clock, None).await
    }

    /// The same; `pace` is told of every call of the database, for whoever simulates time.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_paced(
        url: &str,
        keys: StorageKeys,
        origin: Origin,
        signing: SigningKey,
        clock: Arc<dyn Clock>,
        pace: Option<Arc<dyn Pace>>,
    ) -> Result<Self, StoreError> {
        let database = Database::open(url, pace).await?;
        let ground = ground::Ground::of(url);
        Self::over(database, ground, keys, origin, signing, clock).await
    }

    /// What another process of this node opens over the same database, be it in memory, for the log that this key signs.
    ///
    /// # Errors
    /// As `open`.
    pub async fn another(
        &self,
        signing: SigningKey,
        clock: Arc<dyn Clock>,
        pace: Option<Arc<dyn Pace>>,
    ) -> Result<Self, StoreError> {
        let origin = signing.verifier().name().parse();
        let origin = origin.map_err(|_| StoreError::Keys("the log's key bears another name"))?;
        let keys = self.keys.clone();
        let ground = self.ground.of_another();
        Self::over(self.database.paced(pace), ground, keys, origin, signing, clock).await
    }

    async fn over(
        database: Database,
        ground: ground::Ground,
        keys: StorageKeys,
        origin: Origin,
        signing: SigningKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let verifier = signing.verifier().clone();
        if verifier.name() != origin.to_string() {
            return Err(StoreError::Keys("the log's key bears another name"));
        }
        let empty = Checkpoint {
            origin: origin.to_string(),
            size: 0,
            root: empty_root(),
        };
        let empty = empty
            .sign(&signing)
            .map_err(|_| StoreError::Keys("the log's key does not sign"))?;
        on!(&database, pool => sqlx::query("INSERT INTO head (one, number, size, time, checkpoint) VALUES (1, $1, 0, 0, $2) ON CONFLICT DO NOTHING").bind(i64::from(origin.number)).bind(empty.to_string()).execute(pool).await.map(drop))?;
        let (ground, signing) = (Arc::new(ground), Arc::new(signing));
        let clock = Arc::new(clock::LogClock::new(clock));
        let process: Arc<str> = format!("{:032x}", fastrand::u128(..)).into();
        let (jobs, persons) = tokio::sync::mpsc::channel(1024);
        let (batches, of_batches) = tokio::sync::mpsc::channel(16);
        let store = Self {
            database: database.clone(),
            keys: keys.clone(),
            origin: origin.clone(),
            verifier,
            jobs,
            batches,
            blocks: Arc::default(),
            process: Arc::clone(&process),
            clock: Arc::clone(&clock),
            ground: Arc::clone(&ground),
            signing: Arc::clone(&signing),
            ended: None,
        };
        match store.look().await {
            Ok(()) | Err(StoreError::Recovering(_)) => {}
            Err(error) => return Err(error),
        }
        tokio::spawn(
            sequencer::Sequencer {
                database,
                keys,
                origin,
                signing,
                clock,
                process,
                ground,
                recent: recent::Recent::default(),
                contended: false,
            }
            .run(persons, of_batches),
        );
        Ok(store)
    }

    /// Comes when the disk failed under this process: from then on every call ends with [`StoreError::Failed`].
    pub async fn failed(&self) {
        self.database.failed().await;
    }

    /// The log's origin.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The log's key.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Lets go of the database.
    pub async fn close(self) {
        match &self.database.pool {
            database::Pool::Sqlite(pool) => pool.close().await,
            database::Pool::Postgres(pool) => pool.close().await,
        }
    }

    /// A keyed pseudonym under this node's key.
    pub fn pseudonym(&self, purpose: &str, text: &str) -> sanku_tlog::Hash {
        self.keys.pseudonym(purpose, text)
    }
}

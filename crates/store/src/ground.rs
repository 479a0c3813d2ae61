//! No fork by accident: what this node's log is known to have been, by whose word, and whether the database holds it.
//!
//! Nothing is signed that does not extend the newest checkpoint that this process signed or saw committed, and every one that
//! a file beside the keys or a neighbour remembers. While the database is behind or beside one of them the store is
//! *recovering*: it takes nothing, and goes on by itself only when the database holds all of them again.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sanku_federation_protocol::names::Origin;
use sanku_tlog::{Checkpoint, Hash, SignedNote};
use sanku_values::DivisionCode;
use sqlx::Row;
use tokio::sync::watch;

use crate::database::on;
use crate::{Store, StoreError};

/// Whose word it is that the log was once so large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// This process signed it, or saw it in the database.
    Process,
    /// The file in which this node's processes remember it.
    File,
    /// A neighbour has seen it.
    Neighbour(DivisionCode),
}

impl fmt::Display for Teller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => out.write_str("本进程 this process"),
            Self::File => out.write_str("库外记录 the file outside of the database"),
            Self::Neighbour(code) => write!(out, "节点 node {code}"),
        }
    }
}

/// A checkpoint of this log that somebody remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// As it was signed.
    pub note: String,
    /// Who remembers it.
    pub teller: Teller,
}

/// Why a database is not this log's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It lacks entries that somebody remembers.
    Behind(Box<Remembered>),
    /// It holds other entries than somebody remembers.
    Beside(Box<Remembered>),
    /// It does not hold what its own checkpoint says.
    Broken(&'static str),
    /// It holds another log of this node, with this number.
    OtherLog(u32),
    /// The registry closed the log at this size.
    Closed(u64),
    /// The log has a later number, and nothing opened it.
    NotOpened,
    /// Its file was replaced under the running process.
    Replaced,
}

/// The state in which nothing is signed and nothing answered: what the database holds, and why that is not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovering {
    /// How many entries the database holds of this log.
    pub holds: u64,
    /// Why.
    pub why: Unfit,
}

impl Recovering {
    /// A stable word.
    pub const fn word(&self) -> &'static str {
        match self.why {
            Unfit::Behind(_) => "behind",
            Unfit::Beside(_) => "beside",
            Unfit::Broken(_) => "broken",
            Unfit::OtherLog(_) => "other_log",
            Unfit::Closed(_) => "closed",
            Unfit::NotOpened => "not_opened",
            Unfit::Replaced => "replaced",
        }
    }

    /// The checkpoint that the database does not hold, where one is known.
    pub const fn remembered(&self) -> Option<&Remembered> {
        match &self.why {
            Unfit::Behind(remembered) | Unfit::Beside(remembered) => Some(remembered),
            _ => None,
        }
    }

    /// How many entries are known to be missing.
    pub fn missing(&self) -> u64 {
        match &self.why {
            Unfit::Behind(remembered) => remembered.checkpoint.size.saturating_sub(self.holds),
            _ => 0,
        }
    }

    /// What to do, for the administrator.
    pub const fn cure(&self) -> &'static str {
        match self.why {
            Unfit::Behind(_) | Unfit::Beside(_) | Unfit::Broken(_) => {
                "停止节点，放回最新的数据库；确已丢失时换新日志号（手册“夜间”） stop the node and put the newest database back; if it is lost, open a new log (operations.md, At night)"
            }
            Unfit::OtherLog(_) => {
                "核对 storage.url 和 identity.directory 是否属于同一节点、同一日志；另一进程已开启新日志时重新启动本进程 see whether storage.url and identity.directory are of one node and one log; if another process opened the next log, restart this one"
            }
            Unfit::Closed(_) => {
                "本日志不再有效；新密钥已备好时重新启动节点，否则 sanku log renew this log is not in force: restart the node if it has the keys of the next one, else `sanku log renew` (operations.md, At night)"
            }
            Unfit::NotOpened => {
                "等待见证节点（上级，省为下级）答复后自动开启 it is opened as soon as a witness was heard: the superior's node, the province's subordinates (operations.md, At night)"
            }
            Unfit::Replaced => "重新启动节点 restart the node: it then judges the file that lies there now",
        }
    }
}

impl fmt::Display for Recovering {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = self.holds;
        match &self.why {
            Unfit::Behind(it) => write!(
                out,
                "数据库落后：日志只有 {holds} 条，{teller} 见过 {size} 条，缺 {missing} 条 the database is behind: it holds {holds} entries of {size}, {missing} are missing",
                teller = it.teller,
                size = it.checkpoint.size,
                missing = self.missing()
            )?,
            Unfit::Beside(it) => write!(
                out,
                "数据库内容不同：其前 {size} 条不是 {teller} 见过的 the database is beside: its first {size} of {holds} entries are not those that were signed",
                teller = it.teller,
                size = it.checkpoint.size
            )?,
            Unfit::Broken(why) => write!(
                out,
                "数据库与其检查点不符 the database is not what its checkpoint says: {why}"
            )?,
            Unfit::OtherLog(number) => {
                write!(out, "数据库中是 {number} 号日志 the database holds log number {number}")?
            }
            Unfit::Closed(size) => write!(
                out,
                "登记公告已在 {size} 条处关闭本日志 the registry closed this log at {size} entries"
            )?,
            Unfit::NotOpened => out.write_str("新日志尚未开启 the new log has not been opened")?,
            Unfit::Replaced => {
                out.write_str("数据库文件在运行中被替换 the database's file was replaced while the node runs")?
            }
        }
        write!(out, "；不签名、不答复 nothing is signed or answered. {}", self.cure())
    }
}

/// What is known of the log, shared by everything that works on one store.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The newest checkpoint that the database was seen to hold; never forgotten, since nothing that contradicts it may be
    /// signed.
    newest: Mutex<Option<Remembered>>,
    /// What others remember and the database was not yet seen to hold.
    claims: Mutex<Vec<Remembered>>,
    /// What is remembered of earlier logs of this node.
    before: Mutex<Vec<Remembered>>,
    state: Mutex<Option<Recovering>>,
    closed: Mutex<Option<u64>>,
    file: Option<File>,
    asking: watch::Sender<bool>,
}

/// A database's file as it was opened.
#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    identity: (u64, u64),
}

fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ground {
    /// For the database behind a URL, which is open.
    pub(crate) fn of(url: &str) -> Self {
        let path = url.strip_prefix("sqlite:").filter(|path| !path.starts_with(':'));
        let file = path.and_then(|path| {
            let path = PathBuf::from(path.split('?').next().unwrap_or(path).trim_start_matches("//"));
            Some(File {
                identity: identity(&path)?,
                path,
            })
        });
        Self::on(file)
    }

    /// For another process on the same database: it remembers nothing yet.
    pub(crate) fn of_another(&self) -> Self {
        Self::on(self.file.clone())
    }

    fn on(file: Option<File>) -> Self {
        Self {
            newest: Mutex::default(),
            claims: Mutex::default(),
            before: Mutex::default(),
            state: Mutex::default(),
            closed: Mutex::default(),
            file,
            asking: watch::Sender::new(false),
        }
    }

    /// Whether a head is the newest that this process knows, and nobody remembers anything else.
    pub(crate) fn is_newest(&self, head: &str) -> bool {
        held(&self.claims).is_empty() && held(&self.newest).as_ref().is_some_and(|newest| newest.note == head)
    }

    /// Everything that the database must hold.
    pub(crate) fn all(&self) -> Vec<Remembered> {
        let newest = held(&self.newest).clone();
        held(&self.claims).iter().cloned().chain(newest).collect()
    }

    /// What is remembered of earlier logs.
    pub(crate) fn before(&self) -> Vec<Remembered> {
        held(&self.before).clone()
    }

    /// The database holds all of these, and this is its head.
    pub(crate) fn holds(&self, all: &[Remembered], checkpoint: &Checkpoint, note: String) {
        held(&self.claims).retain(|claim| !all.contains(claim));
        let mut newest = held(&self.newest);
        if newest
            .as_ref()
            .is_none_or(|newest| newest.checkpoint.size <= checkpoint.size)
        {
            *newest = Some(Remembered {
                checkpoint: checkpoint.clone(),
                note,
                teller: Teller::Process,
            });
        }
    }

    /// What can be said before the database is read.
    ///
    /// # Errors
    /// If its file was replaced, or the registry closed the log.
    pub(crate) fn stands(&self, holds: u64) -> Result<(), StoreError> {
        let replaced = |file: &File| identity(&file.path) != Some(file.identity);
        let why = if self.file.as_ref().is_some_and(replaced) {
            Unfit::Replaced
        } else if let Some(size) = *held(&self.closed) {
            Unfit::Closed(size)
        } else {
            return Ok(());
        };
        Err(StoreError::Recovering(Box::new(Recovering { holds, why })))
    }

    /// Notes what was found; says it once.
    pub(crate) fn found<T>(&self, found: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = held(&self.state);
        match &found {
            Ok(_) => {
                if state.take().is_some() {
                    tracing::warn!("the database holds again what was signed: the log goes on");
                }
            }
            Err(StoreError::Recovering(recovering)) => {
                if state.as_ref() != Some(recovering) {
                    tracing::error!(state = recovering.word(), why = %recovering, "recovering");
                }
                *state = Some(Recovering::clone(recovering));
            }
            // The database does not answer: nothing is known that was not known before.
            Err(_) => {}
        }
        found
    }
}

impl Store {
    /// Somebody remembers a checkpoint of this log. From now on nothing is said that does not extend it. What is not signed by
    /// this log's key is nobody's word. Says whether it is of this log.
    pub fn remember(&self, note: &SignedNote, teller: Teller) -> bool {
        let Ok(checkpoint) = Checkpoint::verify(note, &self.verifier) else {
            return false;
        };
        let known = |remembered: &Remembered| remembered.checkpoint == checkpoint;
        let ground = &self.ground;
        if checkpoint.size > 0 && !ground.all().iter().any(known) {
            held(&ground.claims).push(Remembered {
                checkpoint,
                note: note.to_string(),
                teller,
            });
        }
        true
    }

    /// Somebody remembers a checkpoint of an earlier log of this node, which that log's key signed: whoever closes it, or
    /// opens the next one, must know.
    pub fn remember_earlier(&self, checkpoint: Checkpoint, note: &SignedNote, teller: Teller) {
        let mut before = held(&self.ground.before);
        if checkpoint.size > 0 && before.iter().all(|known| known.checkpoint != checkpoint) {
            before.push(Remembered {
                checkpoint,
                note: note.to_string(),
                teller,
            });
        }
    }

    /// Everything that is remembered of this node's logs: what is known to be missing, the newest here, and earlier ones.
    pub fn remembered(&self) -> Vec<Remembered> {
        let mut all = self.ground.all();
        all.extend(self.ground.before());
        all
    }

    /// The registry closed this log, or did not: whatever a checkpoint says, nothing more is signed in a closed one.
    pub fn close_at(&self, size: Option<u64>) {
        *held(&self.ground.closed) = size;
    }

    /// The state in which nothing is signed and nothing answered, as it was last seen.
    pub fn recovering(&self) -> Option<Recovering> {
        held(&self.ground.state).clone()
    }

    /// The newest checkpoint that the database was seen to hold.
    pub fn newest(&self) -> Option<Remembered> {
        held(&self.ground.newest).clone()
    }

    /// Until neighbours were asked what they have seen, whoever would say something waits.
    pub fn ask_first(&self, asking: bool) {
        self.ground.asking.send_replace(asking);
    }

    /// Ends when neighbours were asked.
    ///
    /// # Errors
    /// `Recovering` in that state, `Clock` while the log is held: nothing may be said.
    pub async fn may_speak(&self) -> Result<(), StoreError> {
        if *self.ground.asking.borrow() {
            // The sender lives as long as this store.
            let _ = self.ground.asking.subscribe().wait_for(|asking| !asking).await;
        }
        if let Some(recovering) = self.recovering() {
            return Err(StoreError::Recovering(Box::new(recovering)));
        }
        if self.is_held() { Err(StoreError::Clock) } else { Ok(()) }
    }

    /// Looks whether the database holds everything that somebody remembers; enters or leaves the recovering state.
    ///
    /// # Errors
    /// `Recovering`, or why it could not be seen.
    pub async fn look(&self) -> Result<(), StoreError> {
        let seen = self.see_ground().await;
        self.ground.found(seen)
    }

    async fn see_ground(&self) -> Result<(), StoreError> {
        // What is remembered later may be newer than the head that is read now.
        let all = self.ground.all();
        let (number, size, text): (i64, i64, String) = on!(&self.database, pool => {
            let head = sqlx::query("SELECT number, size, checkpoint FROM head").fetch_one(pool).await?;
            (head.try_get(0)?, head.try_get(1)?, head.try_get(2)?)
        });
        let holds = size.unsigned_abs();
        self.ground.stands(holds)?;
        let own = i64::from(self.origin.number);
        if (number < own || (own > 1 && holds == 0))
            && let Some(remembered) = all.first()
        {
            // It was opened before: this is the database from before that.
            remembered.judge(0, None)?;
        }
        self.origin.is_of(number, holds)?;
        if self.ground.is_newest(&text) && self.recovering().is_none() {
            return Ok(());
        }
        let checkpoint = self.holds_what_it_signed(&text, holds).await?;
        for remembered in &all {
            let at = remembered.checkpoint.size;
            let root = if at <= holds {
                Some(self.root_at(at).await?)
            } else {
                None
            };
            remembered.judge(holds, root)?;
        }
        self.ground.holds(&all, &checkpoint, text);
        Ok(())
    }
}

impl Remembered {
    /// Whether a log of so many entries, whose root at the remembered size is this, extends it.
    pub(crate) fn judge(&self, holds: u64, root: Option<Hash>) -> Result<(), StoreError> {
        let unfit = |why: fn(Box<Self>) -> Unfit| {
            let why = why(Box::new(self.clone()));
            StoreError::Recovering(Box::new(Recovering { holds, why }))
        };
        match root {
            None => Err(unfit(Unfit::Behind)),
            Some(root) if root == self.checkpoint.root => Ok(()),
            Some(_) => Err(unfit(Unfit::Beside)),
        }
    }
}

/// A log's number beside the one in the database.
pub(crate) trait IsOf {
    fn is_of(&self, number: i64, holds: u64) -> Result<(), StoreError>;
}

impl IsOf for Origin {
    fn is_of(&self, number: i64, holds: u64) -> Result<(), StoreError> {
        let own = i64::from(self.number);
        let (holds, why) = if number > own {
            (holds, Unfit::OtherLog(u32::try_from(number).unwrap_or(0)))
        } else if number < own || (own > 1 && holds == 0) {
            (0, Unfit::NotOpened)
        } else {
            return Ok(());
        };
        Err(StoreError::Recovering(Box::new(Recovering { holds, why })))
    }
}

/// The database does not hold what its own checkpoint says.
pub(crate) fn broken(holds: u64, why: &'static str) -> StoreError {
    StoreError::Recovering(Box::new(Recovering {
        holds,
        why: Unfit::Broken(why),
    }))
}

//! A new log number (换新日志号), the publisher's side: the registry gets the next log, and the one before is closed at the
//! largest checkpoint that anybody presents within a day.

use std::time::Duration;

use sanku_federation_protocol::notes::{Delegate, LogRow, NodeRow, NodeState, Registry};
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use super::add::KEY_LIFE_DAYS;
use super::{DAY, Federation};
use crate::CertsError;
use crate::renumber::{Request, largest};

/// How long after it was closed a larger checkpoint raises a log's final size.
pub const RAISED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What will be, or was, changed in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renumbered {
    /// The node.
    pub code: DivisionCode,
    /// The request's fingerprint; nothing where there was none.
    pub fingerprint: Option<Hash>,
    /// The log that was closed, or goes on until the next is opened.
    pub before: u32,
    /// Its final size now; nothing while it is open.
    pub final_size: Option<u64>,
    /// Until when a larger checkpoint raises it.
    pub raised_until: Option<Time>,
    /// The newest log.
    pub number: u32,
    /// Two of the checkpoints that were presented disagree: the log forked.
    pub forked: bool,
}

impl Federation {
    /// Gives a node the log number that it asks for. `seen` are further checkpoints of the log before. With `dry_run` nothing
    /// changes.
    ///
    /// # Errors
    /// If the request does not hold, its fingerprint is not the one that was compared, or nobody presents a checkpoint.
    pub fn renumber(
        &self,
        request: &[u8],
        fingerprint: Option<Hash>,
        seen: &[String],
        dry_run: bool,
        now: Time,
    ) -> Result<Renumbered, CertsError> {
        let _lock = self.lock()?;
        let mut registry = self.registry()?;
        let active = |code| {
            registry
                .node(code)
                .filter(|row| row.state == NodeState::Active)
                .cloned()
        };
        let (request, note) = Request::read(request, &self.name, active, now)?;
        let held = Request::fingerprint(&note);
        if !dry_run && fingerprint != Some(held) {
            return Err(CertsError::Make(format!(
                "请求的指纹是 {held}：与节点管理员电话核对后用 --fingerprint 给出 the request's fingerprint is {held}: compare it with the node's administrator on the telephone, then give it with --fingerprint"
            )));
        }
        let row = row_of(&mut registry, request.code)?;
        let mut done = Renumbered {
            code: request.code,
            fingerprint: Some(held),
            before: request.before,
            final_size: None,
            raised_until: None,
            number: request.number,
            forked: false,
        };
        let until = now.plus(DAY * KEY_LIFE_DAYS);
        // Clocks that are a little behind must not refuse what was just made.
        let from = now.minus(Duration::from_secs(60));
        row.logs.push(LogRow {
            number: request.number,
            key: request.log,
            from,
            until,
            final_size: None,
        });
        row.witness_keys.push(Delegate {
            key: request.witness,
            from,
            until,
        });
        if !request.planned {
            let all = [request.seen.as_slice(), seen].concat();
            close(row, request.before, &all, now, &mut done)?;
        }
        if !dry_run {
            self.publish_renumbered(registry, request.code, now)?;
        }
        Ok(done)
    }

    /// Closes a log that has a successor at the largest of these checkpoints, or raises its final size within a day.
    ///
    /// # Errors
    /// If the log is the newest, the day is over, or nothing larger is presented.
    pub fn close_log(
        &self,
        code: DivisionCode,
        number: u32,
        seen: &[String],
        dry_run: bool,
        now: Time,
    ) -> Result<Renumbered, CertsError> {
        let _lock = self.lock()?;
        let mut registry = self.registry()?;
        let row = row_of(&mut registry, code)?;
        let newest = row.logs.iter().map(|log| log.number).max().unwrap_or_default();
        if number >= newest {
            return Err(CertsError::Make(format!(
                "{code} 的 {number} 号日志没有后继，先换新日志号 log {number} of {code} has no successor: give the node a new number first (sanku federation renumber)"
            )));
        }
        let mut done = Renumbered {
            code,
            fingerprint: None,
            before: number,
            final_size: None,
            raised_until: None,
            number: newest,
            forked: false,
        };
        close(row, number, seen, now, &mut done)?;
        if !dry_run {
            self.publish_renumbered(registry, code, now)?;
        }
        Ok(done)
    }

    /// The province's own logs change by its root alone: the root signs that registry, too.
    fn publish_renumbered(&self, registry: Registry, code: DivisionCode, now: Time) -> Result<(), CertsError> {
        let root = if code == self.province()? {
            Some(self.root_key()?)
        } else {
            None
        };
        self.publish_signed_by(registry, root.as_ref(), now)
    }
}

fn row_of(registry: &mut Registry, code: DivisionCode) -> Result<&mut NodeRow, CertsError> {
    let mut rows = registry.nodes.iter_mut();
    rows.find(|row| row.code == code && row.state == NodeState::Active)
        .ok_or(CertsError::NotMember(code))
}

/// Closes one log of a node's row, or raises its final size.
fn close(row: &mut NodeRow, number: u32, seen: &[String], now: Time, done: &mut Renumbered) -> Result<(), CertsError> {
    let refuse = |why: String| CertsError::Make(why);
    let log = row.logs.iter_mut().find(|log| log.number == number);
    let log = log.ok_or_else(|| refuse(format!("没有 {number} 号日志 there is no log {number}")))?;
    let (largest, forked) = largest(&log.key, seen)?;
    let presented = largest.map(|checkpoint| checkpoint.size).ok_or_else(|| {
        refuse(
            "没有人出示旧日志的检查点；在见证它的节点上运行 sanku log seen，再用 --seen 给出 nobody presents a checkpoint of that log: run `sanku log seen` on a node that witnessed it, and give the file with --seen".to_owned(),
        )
    })?;
    match log.final_size {
        None => {
            log.until = log.until.min(now);
            // The newest stands last.
            if let Some((_, older)) = row.witness_keys.split_last_mut() {
                for key in older {
                    key.until = key.until.min(now);
                }
            }
        }
        Some(size) if presented <= size => {
            return Err(refuse(format!(
                "已在 {size} 条处关闭，出示的不更大，未作更改 it is closed at {size} entries and nothing larger is presented: nothing was changed"
            )));
        }
        Some(size) if now > log.until.plus(RAISED_FOR) => {
            return Err(refuse(format!(
                "已在 {size} 条处关闭并超过 24 小时，不再更改 it was closed at {size} entries more than 24 hours ago, which is for good"
            )));
        }
        Some(_) => {}
    }
    log.final_size = Some(presented);
    done.final_size = Some(presented);
    done.raised_until = Some(log.until.plus(RAISED_FOR));
    done.forked = forked;
    Ok(())
}

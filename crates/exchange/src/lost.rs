//! What was lost (丢失清单): what others hold of an earlier log of this node above what its database has of it. Each node gives,
//! to that log's node alone and along the tree, what it received from there and what it answered to questions from there.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::{LogKeys, RunError, VerifiedRun};
use sanku_federation_protocol::stream::{Event, Reader, write_run};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::VerifierKey;
use sanku_values::{DivisionCode, Time};
use serde::{Deserialize, Serialize};

use crate::network::{Network, in_time};
use crate::{Exchange, ExchangeError};

/// A page is no larger than this by much.
const PAGE: usize = 4 << 20;
/// Pages of one holder.
const PAGES: usize = 10_000;
/// How much earlier than the newest entry here a lost question may have been asked.
const EARLIER: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// From where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Runs of the log that reach to this index or beyond.
    pub from: u64,
    /// Of those, the ones that begin here or behind it.
    pub at: u64,
    /// Questions of the log behind this id.
    pub after: StatementId,
}

/// A page of what one node holds of a log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// Runs, each with the question that it is about.
    pub held: Vec<HeldRun>,
    /// Where the next page begins; nothing behind the last.
    pub next: Option<Cursor>,
}

/// A run that a node holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldRun {
    /// The asker's log.
    pub asker: Origin,
    /// The question's id.
    pub question: StatementId,
    /// The run, bodies sealed to the node of the log that is asked about, as lines of a stream.
    pub lines: String,
}

/// Something that this node's database does not know, and another node holds.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Who holds it.
    pub holder: DivisionCode,
    /// What it is about.
    pub about: HeldRun,
    /// The same, verified; bodies stay sealed.
    pub run: VerifiedRun,
}

/// What came of asking one node.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The node.
    pub code: DivisionCode,
    /// Why nothing, or not everything, is known of it.
    pub failed: Option<String>,
}

/// Keys by the registry alone, whatever became of their logs: for telling what was said from what was not.
struct Registered<'a>(&'a Trust);

impl LogKeys for Registered<'_> {
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError> {
        let key = self.0.registered_log_key(log).cloned();
        key.ok_or(RunError::NotTrusted("unknown_log"))
    }
}

fn runs_in(lines: &[u8], trust: &Trust) -> Vec<VerifiedRun> {
    let mut reader = Reader::new();
    reader.push(lines);
    let mut runs = Vec::new();
    while let Ok(Some(event)) = reader.next_event() {
        if let Event::Run(run) = event {
            runs.extend(run.verify(&Registered(trust)).ok());
        }
    }
    runs
}

impl<N: Network> Exchange<N> {
    /// A page of what a node holds of a log, for that log's node: this node's own, or another's by way of the neighbour before
    /// it. Nothing if whoever asks is not on the way to the log's node.
    pub fn held_of<'a>(
        &'a self,
        log: &'a Origin,
        holder: DivisionCode,
        cursor: Cursor,
        asks: DivisionCode,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ExchangeError>> {
        // Boxed: on a simulated network it calls itself at the next node.
        Box::pin(async move {
            let trust = self.trust.load_full();
            let Some((_, _, tree)) = trust.registry() else {
                return Ok(None);
            };
            if tree.next_hop(self.here(), log.node) != Some(asks) || trust.registered_log_key(log).is_none() {
                return Ok(None);
            }
            if holder == self.here() {
                let page = serde_json::to_vec(&self.page(log, cursor, &trust).await?);
                return Ok(page.ok().map(Bytes::from));
            }
            let next = tree.next_hop(self.here(), holder).filter(|next| *next != asks);
            let Some(next) = next else { return Ok(None) };
            let fetched = in_time(self.network.held_of(next, log, holder, cursor)).await;
            Ok(fetched.ok().flatten())
        })
    }

    async fn page(&self, log: &Origin, cursor: Cursor, trust: &Trust) -> Result<Page, ExchangeError> {
        let key = trust.sealing_key(log.node, self.clock.now());
        let key = key.ok_or(ExchangeError::NoSealingKey)?;
        let (mut page, mut bytes, mut next) = (Page::default(), 0, cursor);
        let mut add = |asker: &Origin, question, runs: Vec<VerifiedRun>| {
            let mut size = 0;
            for run in runs {
                let sealed = run.statements.iter().map(|statement| statement.sealed_to(&key));
                let statements = sealed.collect::<Result<_, _>>()?;
                let lines = write_run(&VerifiedRun { statements, ..run });
                size += lines.len();
                let asker = asker.clone();
                page.held.push(HeldRun { asker, question, lines });
            }
            Ok::<_, ExchangeError>(size)
        };
        for held in self.store.received_from(log, cursor.from, cursor.at).await? {
            if bytes > PAGE {
                break;
            }
            next.at = held.first + 1;
            bytes += add(&held.origin, held.id, runs_in(&held.lines, trust))?;
        }
        if next == cursor {
            for id in self.store.questions_of(log, cursor.after).await? {
                if bytes > PAGE {
                    break;
                }
                next.after = id;
                bytes += add(log, id, self.store.said(log, id).await?)?;
            }
        }
        page.next = (next != cursor).then_some(next);
        Ok(page)
    }

    /// Asks every node what it holds of a log of this node that the database here does not know. `each` gets what is found.
    pub async fn lost(&self, log: &Origin, mut each: impl FnMut(Lost) + Send) -> Result<Vec<Holder>, ExchangeError> {
        let trust = self.trust.load_full();
        let (_, registry, tree) = trust.registry().ok_or(ExchangeError::NoRegistry)?;
        let (size, time) = self.holds_of(log).await?;
        let cursor = Cursor {
            from: size,
            at: 0,
            after: StatementId::generate(time.minus(EARLIER)),
        };
        let mut holders = Vec::new();
        for code in registry
            .nodes
            .iter()
            .map(|row| row.code)
            .filter(|code| tree.contains(*code))
        {
            let Some(next) = tree.next_hop(self.here(), code) else {
                continue;
            };
            let mut holder = Holder { code, failed: None };
            let mut at = Some(cursor);
            for _ in 0..PAGES {
                let Some(cursor) = at else { break };
                let page = match in_time(self.network.held_of(next, log, code, cursor)).await {
                    Ok(Some(bytes)) => serde_json::from_slice::<Page>(&bytes).ok(),
                    Ok(None) => None,
                    Err(failure) => {
                        holder.failed = Some(failure.why);
                        break;
                    }
                };
                let Some(page) = page else {
                    holder.failed = Some("it gives nothing of this log, or cannot be reached".to_owned());
                    break;
                };
                for about in page.held {
                    for run in runs_in(about.lines.as_bytes(), &trust) {
                        let unknown = if run.origin == *log {
                            run.first + run.statements.len() as u64 > size
                        } else {
                            about.asker == *log && self.store.question(log, about.question).await?.is_none()
                        };
                        if unknown {
                            let about = about.clone();
                            each(Lost {
                                holder: code,
                                about,
                                run,
                            });
                        }
                    }
                }
                at = page.next.filter(|next| *next != cursor);
            }
            holders.push(holder);
        }
        Ok(holders)
    }

    /// How many entries of a log of this node the database has, and the time of the newest.
    async fn holds_of(&self, log: &Origin) -> Result<(u64, Time), ExchangeError> {
        let own = log == self.store.origin();
        let held = if own {
            Some(self.store.clone())
        } else {
            self.store
                .earlier()
                .await?
                .into_iter()
                .find(|held| held.origin() == log)
        };
        let Some(held) = held else {
            return Ok((0, Time::from_millis(0)));
        };
        let size = held.checkpoint().await?.0.size;
        let newest = match size.checked_sub(1) {
            Some(last) => held.entries(last, 1).await?.pop(),
            None => None,
        };
        let entry = newest.and_then(|line| sanku_federation_protocol::entry::Entry::parse(&line).ok());
        Ok((size, entry.map_or(Time::from_millis(0), |entry| entry.time)))
    }
}

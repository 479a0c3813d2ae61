//! The stream of statements (`application/vnd.sanku.statements`): UTF-8 lines, each one letter, a space, its content.
//!
//! [`Reader`] is fed bytes as they come and yields events; it buffers no line beyond its limit. The writers make the lines.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_tlog::{Checkpoint, ForkProof, Hash, SignedNote};

use crate::body::LONGEST_BODY;
use crate::entry::{LONGEST_ENTRY, foreign_version};
use crate::names::Origin;
use crate::problem::Problem;
use crate::seal::SealedBody;
use crate::statement::{BodyPart, LONGEST_RUN, Statement, UnverifiedRun, VerifiedRun};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.sanku.statements";
/// A heartbeat.
pub const HEARTBEAT: &str = "H \n";
/// Most bytes of lines in a run.
const HEAVIEST_RUN: usize = 8 << 20;
const KIB: usize = 1024;

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A line, or a run, over its limit.
    #[error("line {line}: over the limit")]
    TooLong {
        /// The line, from 1.
        line: u64,
    },
    /// A line that is not of its form, or stands where it must not.
    #[error("line {line}: {why}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// A statement of a version that is not read here.
    #[error("line {line}: version {found} of the form of statements, and 1 is read here")]
    Version {
        /// The line, from 1.
        line: u64,
        /// What it names.
        found: u64,
    },
    /// The stream ends within a line or a run.
    #[error("line {line}: cut")]
    Cut {
        /// The line, from 1.
        line: u64,
    },
}

/// What a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole run, not yet verified.
    Run(Box<UnverifiedRun>),
    /// A consistency proof up to the latest checkpoint.
    Consistency(Consistency),
    /// Two checkpoints of one log disagree: the last two (files about forks only).
    Fork(Origin, Box<ForkProof>),
    /// A signed note (evidence files only).
    Note(Vec<u8>),
    /// The merged result (evidence files only).
    Merged(Vec<u8>),
    /// A sign of life.
    Heartbeat,
    /// The stream ends here, failed.
    Problem(Problem),
}

/// The log of a checkpoint begins with the log of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// The later checkpoint.
    pub checkpoint: Arc<SignedNote>,
    /// The log.
    pub origin: Origin,
    /// Size of the earlier one.
    pub old: u64,
    /// The proof.
    pub proof: Vec<Hash>,
}

/// Reads a stream as it comes.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold no LF.
    searched: usize,
    line: u64,
    checkpoint: Option<Arc<SignedNote>>,
    /// The checkpoint before it.
    before: Option<Arc<SignedNote>>,
    entry: Option<Vec<u8>>,
    statements: Vec<Statement>,
    weight: usize,
}

impl Reader {
    /// A reader at the beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The line that is read, from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The next event in what was fed, if there is a whole one.
    pub fn next_event(&mut self) -> Result<Option<Event>, StreamError> {
        loop {
            let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                let limit = self.buffer.first().map_or(0, |letter| limit_of(*letter));
                if self.buffer.len() > limit + 2 {
                    return Err(StreamError::TooLong { line: self.line + 1 });
                }
                return Ok(None);
            };
            let line: Vec<u8> = self.buffer.drain(..self.searched + length + 1).collect();
            self.searched = 0;
            self.line += 1;
            if let Some(event) = self.read_line(&line[..line.len() - 1])? {
                return Ok(Some(event));
            }
        }
    }

    /// Says whether the stream may end here.
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.buffer.is_empty() && self.entry.is_none() && self.statements.is_empty() {
            Ok(())
        } else {
            Err(StreamError::Cut { line: self.line + 1 })
        }
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Option<Event>, StreamError> {
        let [letter, b' ', content @ ..] = line else {
            return Err(self.wrong("no letter and space in front"));
        };
        if content.len() > limit_of(*letter) {
            return Err(StreamError::TooLong { line: self.line });
        }
        let in_run = self.entry.is_some() || !self.statements.is_empty();
        if self.entry.is_some() != matches!(letter, b'B' | b'S') {
            return Err(self.wrong("B or S stands directly after E, and nowhere else"));
        }
        if in_run && !matches!(letter, b'E' | b'B' | b'S' | b'P') {
            return Err(self.wrong("a run is not closed"));
        }
        match letter {
            b'C' => {
                let note =
                    SignedNote::parse(&self.base64(content)?).map_err(|_| self.wrong("not a signed checkpoint"))?;
                self.before = self.checkpoint.replace(Arc::new(note));
                Ok(None)
            }
            b'E' => {
                self.weigh(content)?;
                self.entry = Some(content.to_vec());
                Ok(None)
            }
            b'B' => self.statement(content, BodyPart::Open(content.into())),
            b'S' => {
                let sealed = std::str::from_utf8(content)
                    .ok()
                    .and_then(|text| SealedBody::parse(text).ok());
                let sealed = sealed.ok_or_else(|| self.wrong("not a sealed body"))?;
                self.statement(content, BodyPart::Sealed(sealed))
            }
            b'P' => self.run(content).map(Some),
            b'K' => {
                let (origin, old, proof) = self.numbered(content)?;
                let checkpoint = self.checkpoint.clone();
                let checkpoint = checkpoint.ok_or_else(|| self.wrong("no checkpoint stands before"))?;
                Ok(Some(Event::Consistency(Consistency {
                    checkpoint,
                    origin,
                    old,
                    proof,
                })))
            }
            b'F' => self.fork(content).map(Some),
            b'N' => Ok(Some(Event::Note(self.base64(content)?))),
            b'X' => {
                let problem = serde_json::from_slice(content).map_err(|_| self.wrong("not a problem document"))?;
                Ok(Some(Event::Problem(problem)))
            }
            b'M' => Ok(Some(Event::Merged(content.to_vec()))),
            b'H' if content.is_empty() => Ok(Some(Event::Heartbeat)),
            _ => Err(self.wrong("no such line")),
        }
    }

    fn statement(&mut self, content: &[u8], body: BodyPart) -> Result<Option<Event>, StreamError> {
        self.weigh(content)?;
        let entry = self.entry.take().unwrap_or_default();
        let statement = Statement::parse(&entry, body).map_err(|error| match foreign_version(&entry) {
            Some(found) => StreamError::Version { line: self.line, found },
            None => self.wrong(error.to_string()),
        })?;
        if self.statements.len() == LONGEST_RUN {
            return Err(StreamError::TooLong { line: self.line });
        }
        self.statements.push(statement);
        Ok(None)
    }

    fn run(&mut self, content: &[u8]) -> Result<Event, StreamError> {
        let (origin, first, proof) = self.numbered(content)?;
        if self.statements.is_empty() {
            return Err(self.wrong("an empty run"));
        }
        let checkpoint = self
            .checkpoint
            .clone()
            .ok_or_else(|| self.wrong("no checkpoint stands before"))?;
        self.weight = 0;
        Ok(Event::Run(Box::new(UnverifiedRun {
            checkpoint,
            origin,
            first,
            proof,
            statements: std::mem::take(&mut self.statements),
        })))
    }

    fn fork(&self, content: &[u8]) -> Result<Event, StreamError> {
        let (origin, size, mut hashes) = self.numbered(content)?;
        let (Some(smaller), Some(larger), false) = (&self.before, &self.checkpoint, hashes.is_empty()) else {
            return Err(self.wrong("two checkpoints stand before, and a root comes first"));
        };
        if Checkpoint::parse(smaller.text()).is_ok_and(|checkpoint| checkpoint.size != size) {
            return Err(self.wrong("it names another size than its first checkpoint"));
        }
        let root = hashes.remove(0);
        let (smaller, larger) = (SignedNote::clone(smaller), SignedNote::clone(larger));
        let fork = ForkProof {
            smaller,
            larger,
            root,
            proof: hashes,
        };
        Ok(Event::Fork(origin, Box::new(fork)))
    }

    /// Origin, a number, hashes: separated by single spaces.
    fn numbered(&self, content: &[u8]) -> Result<(Origin, u64, Vec<Hash>), StreamError> {
        let read = || {
            let mut words = std::str::from_utf8(content).ok()?.split(' ');
            let origin = words.next()?.parse().ok()?;
            let number = words.next()?;
            let plain = number == "0" || (!number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit()));
            let number = number.parse().ok().filter(|_| plain)?;
            let hashes = words.map(Hash::from_base64).collect::<Result<_, _>>().ok()?;
            Some((origin, number, hashes))
        };
        read().ok_or_else(|| self.wrong("not origin, number and hashes"))
    }

    fn weigh(&mut self, content: &[u8]) -> Result<(), StreamError> {
        self.weight += content.len() + 3;
        if self.weight > HEAVIEST_RUN {
            Err(StreamError::TooLong { line: self.line })
        } else {
            Ok(())
        }
    }

    fn base64(&self, content: &[u8]) -> Result<Vec<u8>, StreamError> {
        STANDARD.decode(content).map_err(|_| self.wrong("not canonical base64"))
    }

    fn wrong(&self, why: impl Into<String>) -> StreamError {
        StreamError::Line {
            line: self.line,
            why: why.into(),
        }
    }
}

const fn limit_of(letter: u8) -> usize {
    match letter {
        b'C' | b'P' | b'K' | b'F' => 8 * KIB,
        b'E' => LONGEST_ENTRY,
        b'B' => LONGEST_BODY,
        b'S' => 6 << 20,
        b'N' => 8 << 20,
        b'X' => 64 * KIB,
        // The merged result holds what many bodies held.
        b'M' => 1 << 30,
        _ => 0,
    }
}

/// Writes a run: checkpoint, statements, proof. A run over the limits of §5 is cut into several.
pub fn write_run(run: &VerifiedRun) -> String {
    let mut out = format!("C {}\n", STANDARD.encode(run.checkpoint.to_string()));
    for (offset, count) in cuts(run) {
        let part = if count == run.statements.len() {
            None
        } else {
            run.cut(offset, count)
        };
        write_part(part.as_ref().unwrap_or(run), &mut out);
    }
    out
}

fn write_part(run: &VerifiedRun, out: &mut String) {
    for statement in &run.statements {
        let _ = writeln!(out, "E {}", String::from_utf8_lossy(&statement.line));
        let _ = match &statement.body {
            BodyPart::Open(body) => writeln!(out, "B {}", String::from_utf8_lossy(body)),
            BodyPart::Sealed(sealed) => writeln!(out, "S {}", sealed.text()),
        };
    }
    let _ = write!(out, "P {} {}", run.origin, run.first);
    for hash in &run.proof {
        let _ = write!(out, " {}", hash.to_base64());
    }
    out.push('\n');
}

/// Where a run must be cut so that each part keeps the limits as sent.
fn cuts(run: &VerifiedRun) -> Vec<(usize, usize)> {
    let weight = |statement: &Statement| {
        let body = match &statement.body {
            BodyPart::Open(body) => body.len(),
            BodyPart::Sealed(sealed) => sealed.sealed.len().div_ceil(3) * 4 + 17,
        };
        statement.line.len() + body + 6
    };
    let mut parts: Vec<(usize, usize)> = Vec::new();
    let mut heavy = 0;
    for (place, statement) in run.statements.iter().enumerate() {
        let weight = weight(statement);
        match parts.last_mut() {
            Some((_, count)) if heavy + weight <= HEAVIEST_RUN && *count < LONGEST_RUN => {
                *count += 1;
                heavy += weight;
            }
            _ => {
                parts.push((place, 1));
                heavy = weight;
            }
        }
    }
    parts
}

/// Writes a later checkpoint and the proof that its log begins with the earlier one of size `old`.
pub fn write_consistency(checkpoint: &SignedNote, origin: &str, old: u64, proof: &[Hash]) -> String {
    let mut out = format!("C {}\nK {origin} {old}", STANDARD.encode(checkpoint.to_string()));
    for hash in proof {
        let _ = write!(out, " {}", hash.to_base64());
    }
    out.push('\n');
    out
}

/// Writes the proof of a fork: both checkpoints, the root that the larger has at the smaller's size, the way from there.
pub fn write_fork(origin: &Origin, fork: &ForkProof) -> String {
    let size = Checkpoint::parse(fork.smaller.text()).map_or(0, |checkpoint| checkpoint.size);
    let [smaller, larger] = [&fork.smaller, &fork.larger].map(|note| STANDARD.encode(note.to_string()));
    let mut out = format!("C {smaller}\nC {larger}\nF {origin} {size} {}", fork.root.to_base64());
    for hash in &fork.proof {
        let _ = write!(out, " {}", hash.to_base64());
    }
    out.push('\n');
    out
}

/// Writes a note's line.
pub fn write_note(note: &[u8]) -> String {
    format!("N {}\n", STANDARD.encode(note))
}

/// Writes the line that ends a failed stream.
pub fn write_problem(problem: &Problem) -> String {
    format!(
        "X {}\n",
        serde_json::to_string(problem).unwrap_or_else(|_| "{}".to_owned())
    )
}

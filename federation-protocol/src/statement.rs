//! Statements and runs: what a node says and cannot take back, valid only with the proof that it stands in its log.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use sanku_tlog::{Checkpoint, Hash, NoteError, SignedNote, VerifierKey, cut_runs, leaf_hash, root_of_run};
use sanku_values::Time;

use crate::body::{AnswerBody, Body};
use crate::entry::{Draft, Entry};
use crate::json::NotALine;
use crate::names::Origin;
use crate::seal::{SealedBody, SealingKey};

/// Most statements in a run.
pub const LONGEST_RUN: usize = 256;

/// How a body came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// Its line.
    Open(Arc<[u8]>),
    /// Sealed to somebody.
    Sealed(SealedBody),
}

/// An entry with its body, not yet judged.
#[derive(Clone)]
pub struct Statement {
    /// The entry's line, as received.
    pub line: Arc<[u8]>,
    /// The parsed entry.
    pub entry: Entry,
    /// Leaf hash of the line: the statement's name for all who respond to it.
    pub leaf: Hash,
    /// Its body.
    pub body: BodyPart,
    /// An answer's body, once it was parsed: the entry binds it, so all copies share it.
    answer: Arc<OnceLock<Arc<AnswerBody>>>,
}

/// Two are equal if their bytes are.
impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        self.line == other.line && self.body == other.body
    }
}

impl Eq for Statement {}

/// Why a run does not hold (`bad_proof`), or its log is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Proof, checkpoint, digest or order do not hold.
    #[error("bad proof: {0}")]
    BadProof(&'static str),
    /// The log is not one that the federation vouches for.
    #[error("not trusted: {0}")]
    NotTrusted(&'static str),
}

/// Which key a log is signed with: the registry's word.
pub trait LogKeys {
    /// The key of a log that is good now.
    ///
    /// # Errors
    /// `NotTrusted` with a stable word if the log is unknown, its node not active, or its key revoked.
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError>;

    /// The checkpoint, if this key signed it. Whoever sees one checkpoint many times may remember it.
    ///
    /// # Errors
    /// As [`Checkpoint::verify`].
    fn checkpoint(&self, note: &SignedNote, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        Checkpoint::verify(note, key)
    }
}

impl Statement {
    /// A statement from its parts.
    pub fn parse(line: &[u8], body: BodyPart) -> Result<Self, NotALine> {
        Ok(Self {
            line: line.into(),
            entry: Entry::parse(line)?,
            leaf: leaf_hash(line),
            body,
            answer: Arc::default(),
        })
    }

    /// What a draft becomes in this log at this time.
    ///
    /// # Errors
    /// If every reader would refuse its entry.
    pub fn said(draft: &Draft, log: &Origin, time: Time) -> Result<Self, NotALine> {
        let entry = draft.entry_in(log, time);
        let line = entry.checked_line()?;
        Ok(Self {
            leaf: leaf_hash(&line),
            line: line.into(),
            entry,
            body: BodyPart::Open(Arc::clone(&draft.body)),
            answer: Arc::default(),
        })
    }

    /// The body's line, if it is open.
    pub fn open_body(&self) -> Option<&[u8]> {
        match &self.body {
            BodyPart::Open(line) => Some(line),
            BodyPart::Sealed(_) => None,
        }
    }

    /// The open body as its type.
    pub fn body_as<T: Body>(&self) -> Result<T, NotALine> {
        T::parse(
            self.open_body()
                .ok_or_else(|| NotALine::because("the body is sealed"))?,
        )
    }
}

impl Statement {
    /// The open body of an answer; parsed once, however often it is asked for.
    ///
    /// # Errors
    /// As [`Statement::body_as`].
    pub fn answer_body(&self) -> Result<Arc<AnswerBody>, NotALine> {
        if let (Some(known), BodyPart::Open(_)) = (self.answer.get(), &self.body) {
            return Ok(Arc::clone(known));
        }
        let body = Arc::new(self.body_as()?);
        Ok(Arc::clone(self.answer.get_or_init(|| body)))
    }
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "Statement({} {} of {})",
            self.entry.said.kind(),
            self.entry.id,
            self.entry.log
        )
    }
}

/// Something that was verified. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Verified<Statement> {
    /// Opens a sealed body and checks it against the entry's digest. An open one stays as it is.
    pub fn opened(self, key: &SealingKey) -> Result<Self, RunError> {
        let BodyPart::Sealed(sealed) = &self.0.body else {
            return Ok(self);
        };
        let line = key
            .open(sealed, &self.0.line)
            .map_err(|_| RunError::BadProof("the seal does not open"))?;
        if Hash::of(&line) != self.0.entry.body {
            return Err(RunError::BadProof("the sealed body is not the entry's"));
        }
        Ok(Self(Statement {
            body: BodyPart::Open(line.into()),
            ..self.0
        }))
    }

    /// The same with its body sealed to somebody, if it is an answer or a refusal; accounts stay open, they hold no personal data.
    pub fn sealed_to(&self, key: &crate::seal::SealingPublicKey) -> Result<Self, crate::seal::SealError> {
        use crate::entry::Said;
        match (&self.entry.said, &self.body) {
            (Said::Answer(_) | Said::Refusal(_), BodyPart::Open(body)) => Ok(Self(Statement {
                body: BodyPart::Sealed(key.seal(&self.line, body)?),
                ..self.0.clone()
            })),
            _ => Ok(self.clone()),
        }
    }
}

/// A run as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedRun {
    /// The checkpoint it stands under, as it was sent.
    pub checkpoint: Arc<SignedNote>,
    /// The log, by the proof's line.
    pub origin: Origin,
    /// Index of the first entry.
    pub first: u64,
    /// The run's proof.
    pub proof: Vec<Hash>,
    /// Its statements.
    pub statements: Vec<Statement>,
}

/// A run whose proof holds under its sender's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRun {
    /// The checkpoint it stands under.
    pub checkpoint: Arc<SignedNote>,
    /// The checkpoint's size.
    pub size: u64,
    /// The checkpoint's root.
    pub root: Hash,
    /// The log.
    pub origin: Origin,
    /// Index of the first entry.
    pub first: u64,
    /// The run's proof.
    pub proof: Vec<Hash>,
    /// Its statements.
    pub statements: Vec<Verified<Statement>>,
}

impl UnverifiedRun {
    /// Checks everything that makes its statements valid.
    pub fn verify(self, keys: &impl LogKeys) -> Result<VerifiedRun, RunError> {
        let bad = RunError::BadProof;
        if self.statements.is_empty() || self.statements.len() > LONGEST_RUN {
            return Err(bad("a run has 1 to 256 statements"));
        }
        let key = keys.log_key(&self.origin)?;
        let checkpoint = keys
            .checkpoint(&self.checkpoint, &key)
            .map_err(|_| bad("the checkpoint is not this log's"))?;
        if self
            .statements
            .iter()
            .any(|statement| statement.entry.log != self.origin)
        {
            return Err(bad("an entry of another log"));
        }
        if self
            .statements
            .windows(2)
            .any(|pair| pair[0].entry.time > pair[1].entry.time)
        {
            return Err(bad("times decrease"));
        }
        if self.statements.iter().any(|statement| {
            statement
                .open_body()
                .is_some_and(|body| Hash::of(body) != statement.entry.body)
        }) {
            return Err(bad("a body is not its entry's"));
        }
        let leaves: Vec<_> = self.statements.iter().map(|statement| statement.leaf).collect();
        match root_of_run(&leaves, self.first, checkpoint.size, &self.proof) {
            Ok(root) if root == checkpoint.root => {}
            _ => return Err(bad("the proof does not lead to the checkpoint")),
        }
        let Self {
            checkpoint: note,
            origin,
            first,
            proof,
            statements,
        } = self;
        Ok(VerifiedRun {
            checkpoint: note,
            size: checkpoint.size,
            root: checkpoint.root,
            origin,
            first,
            proof,
            statements: statements.into_iter().map(Verified).collect(),
        })
    }
}

impl VerifiedRun {
    /// The run's own proof, as it would be read.
    pub fn to_unverified(&self) -> UnverifiedRun {
        UnverifiedRun {
            checkpoint: Arc::clone(&self.checkpoint),
            origin: self.origin.clone(),
            first: self.first,
            proof: self.proof.clone(),
            statements: self.statements.iter().map(|statement| statement.0.clone()).collect(),
        }
    }

    /// A part of the run, with a proof of its own.
    pub fn cut(&self, offset: usize, count: usize) -> Option<Self> {
        self.cut_into(&[(offset, count)])?.pop()
    }

    /// Parts of the run, by offset and count, each with a proof of its own.
    pub fn cut_into(&self, cuts: &[(usize, usize)]) -> Option<Vec<Self>> {
        if let [(0, count)] = cuts
            && *count == self.statements.len()
        {
            return Some(vec![self.clone()]);
        }
        let leaves: Vec<_> = self.statements.iter().map(|statement| statement.leaf).collect();
        let proofs = cut_runs(&leaves, self.first, self.size, &self.proof, cuts).ok()?;
        let parts = cuts.iter().zip(proofs).map(|((offset, count), proof)| {
            Some(Self {
                checkpoint: Arc::clone(&self.checkpoint),
                size: self.size,
                root: self.root,
                origin: self.origin.clone(),
                first: self.first + *offset as u64,
                proof,
                statements: self.statements.get(*offset..*offset + *count)?.to_vec(),
            })
        });
        parts.collect()
    }

    /// The run cut into what responds to each statement, named by its leaf hash: neighbours that respond to the same one stay
    /// together.
    pub fn by_question(&self) -> Vec<(Option<Hash>, Self)> {
        let mut names = Vec::new();
        let mut cuts: Vec<(usize, usize)> = Vec::new();
        for (place, statement) in self.statements.iter().enumerate() {
            let re = statement.entry.said.re();
            match cuts.last_mut() {
                Some((_, count)) if names.last() == Some(&re) => *count += 1,
                _ => {
                    names.push(re);
                    cuts.push((place, 1));
                }
            }
        }
        // A verified run has every cut of itself.
        let parts = self.cut_into(&cuts).unwrap_or_default();
        names.into_iter().zip(parts).collect()
    }
}

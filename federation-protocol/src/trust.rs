//! Trust: everything that a node knows from the notes it accepted, and what follows from them.
//!
//! Of each name the highest number that verifies under the newest root and delegation is in force. Older numbers stay in
//! the archive if they verify under root and delegation of their own time, so that what was valid then can be judged.
//! Windows of log keys need an instant: [`Trust::at`] judges them, and is what a statement should be verified with.

mod judging;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use judging::people_of;
use sanku_tlog::{Checkpoint, Hash, NoteError, SignedNote, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};

use crate::closed::{self, Names};
use crate::entry::NoteRef;
use crate::names::Origin;
use crate::notes::{
    Delegation, LogRow, NodeRow, NodeState, NoteRefused, RawNote, Registry, Revoked, RevokedRow, RevokedWhat, Root,
    name,
};
use crate::people::People;
use crate::problem::ProblemKind;
use crate::remembered::RememberedCheckpoints;
use crate::seal::SealingPublicKey;
use crate::statement::{LogKeys, RunError};
use crate::tree::Tree;

/// How far ahead of our clock a note's number may lie.
const AHEAD_MS: u64 = 15 * 60 * 1000;

/// A note that was accepted, with its bytes.
#[derive(Clone, Debug)]
pub struct HeldNote {
    /// Number and digest.
    pub reference: NoteRef,
    /// The signed note, as text.
    pub bytes: Arc<str>,
}

/// What acceptance of a note did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in force now.
    New,
    /// It was at hand.
    Known,
    /// It is older than the one in force and was archived.
    Archived,
}

/// All notes that verify, and what they say together. A value: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Trust {
    federation: FederationName,
    fingerprint: Hash,
    /// Every note ever accepted, by name and number.
    held: BTreeMap<String, BTreeMap<u64, HeldNote>>,
    /// The number in force, by name.
    in_force: BTreeMap<String, u64>,
    roots: BTreeMap<u64, Root>,
    delegations: BTreeMap<u64, Delegation>,
    registries: BTreeMap<u64, (NoteRef, Arc<Registry>, Arc<Tree>)>,
    revoked: BTreeMap<(String, u64), Revoked>,
    people: BTreeMap<(DivisionCode, u64), People>,
    /// Lists that forked: obeyed too until a higher number.
    forked: Vec<(String, u64, Revoked)>,
    forks: Vec<String>,
    /// Logs of which two checkpoints disagree: of them only what is witnessed counts.
    forked_logs: BTreeSet<Origin>,
    checkpoints: Arc<RememberedCheckpoints>,
    /// The digest over the list, once somebody asked since it changed.
    digest: OnceLock<Hash>,
}

/// Trust as it judges logs at an instant.
#[derive(Clone, Copy, Debug)]
pub struct TrustAt<'a> {
    trust: &'a Trust,
    at: Time,
    /// The cosignature that counts was made then: what came to be known later does not matter.
    witnessed: bool,
    /// What others name of closed logs.
    names: Option<&'a Names>,
}

impl<'a> TrustAt<'a> {
    /// The same, and what stands above the final size of a closed log counts where these names have it.
    #[must_use]
    pub const fn naming(self, names: &'a Names) -> Self {
        Self {
            names: Some(names),
            ..self
        }
    }
}

impl Trust {
    /// Nothing but the root's fingerprint: SHA-256 of the vkey text of the first root note.
    pub fn new(federation: FederationName, fingerprint: Hash) -> Self {
        Self {
            federation,
            fingerprint,
            held: BTreeMap::new(),
            in_force: BTreeMap::new(),
            roots: BTreeMap::new(),
            delegations: BTreeMap::new(),
            registries: BTreeMap::new(),
            revoked: BTreeMap::new(),
            people: BTreeMap::new(),
            forked: Vec::new(),
            forks: Vec::new(),
            forked_logs: BTreeSet::new(),
            checkpoints: Arc::default(),
            digest: OnceLock::new(),
        }
    }

    /// Trust from notes in any order: what is refused is left out and named.
    pub fn from_notes<'a>(
        federation: FederationName,
        fingerprint: Hash,
        notes: impl IntoIterator<Item = &'a [u8]>,
        now: Time,
    ) -> (Self, Vec<NoteRefused>) {
        let mut trust = Self::new(federation, fingerprint);
        let refused = trust.accept_all(notes, now);
        (trust, refused)
    }

    /// Accepts what verifies, by rank (root, delegation, the rest) and number. Says what was refused.
    pub fn accept_all<'a>(&mut self, notes: impl IntoIterator<Item = &'a [u8]>, now: Time) -> Vec<NoteRefused> {
        let mut refused = Vec::new();
        let mut raw = Vec::new();
        for bytes in notes {
            match RawNote::parse(bytes) {
                Ok(note) => raw.push((note, bytes)),
                Err(error) => refused.push(error),
            }
        }
        raw.sort_by_key(|(note, _)| self.rank(note));
        for (_, bytes) in raw {
            refused.extend(self.accept(bytes, now).err());
        }
        refused
    }

    /// In which order notes that arrive together are judged.
    pub(crate) fn rank(&self, note: &RawNote) -> (bool, bool, u64) {
        (
            note.name != name::root(&self.federation),
            note.name != name::delegation(&self.federation),
            note.number,
        )
    }

    /// Accepts one note if it verifies under what is at hand.
    pub fn accept(&mut self, bytes: &[u8], now: Time) -> Result<Accepted, NoteRefused> {
        let note = RawNote::parse(bytes)?;
        if note.number > now.millis().unsigned_abs() + AHEAD_MS {
            return Err(NoteRefused::Future);
        }
        let reference = note.reference();
        if let Some(known) = self.held.get(&note.name).and_then(|numbers| numbers.get(&note.number)) {
            if known.reference == reference {
                return Ok(Accepted::Known);
            }
            return Err(self.fork(&note));
        }
        let newer = self.in_force.get(&note.name).is_none_or(|number| *number < note.number);
        let judged = if newer {
            self.judge_now(&note)
        } else {
            Err(NoteRefused::Older)
        };
        if judged.is_err() {
            // It may still tell what was valid in its time.
            self.judge_then(&note)
                .map_err(|then| judged.as_ref().err().filter(|_| newer).cloned().unwrap_or(then))?;
        }
        self.digest = OnceLock::new();
        self.keep(&note, reference)?;
        if judged.is_ok() {
            self.put_in_force(&note);
            Ok(Accepted::New)
        } else {
            Ok(Accepted::Archived)
        }
    }

    fn keep(&mut self, note: &RawNote, reference: NoteRef) -> Result<(), NoteRefused> {
        match self.kind(&note.name) {
            Some("root") => drop(self.roots.insert(note.number, note.content()?)),
            Some("delegation") => drop(self.delegations.insert(note.number, note.content()?)),
            Some("registry") => {
                let registry: Registry = note.content()?;
                let tree = Tree::of(&registry).map_err(|error| NoteRefused::Form(error.to_string()))?;
                self.registries
                    .insert(note.number, (reference, Arc::new(registry), Arc::new(tree)));
            }
            kind => match kind.and_then(people_of) {
                Some(code) => drop(self.people.insert((code, note.number), note.content()?)),
                None => drop(self.revoked.insert((note.name.clone(), note.number), note.content()?)),
            },
        }
        let held = HeldNote {
            reference,
            bytes: note.signed.to_string().into(),
        };
        self.held
            .entry(note.name.clone())
            .or_default()
            .insert(note.number, held);
        Ok(())
    }

    fn put_in_force(&mut self, note: &RawNote) {
        self.in_force.insert(note.name.clone(), note.number);
        self.forked
            .retain(|(name, number, _)| *name != note.name || *number >= note.number);
        if matches!(self.kind(&note.name), Some("root" | "delegation")) {
            self.judge_again();
        }
    }

    /// When root or delegation change, all notes are judged again: of each name the highest number that still verifies is in
    /// force, or none.
    fn judge_again(&mut self) {
        let root = name::root(&self.federation);
        let delegation = name::delegation(&self.federation);
        let rest = self
            .held
            .keys()
            .filter(|name| **name != root && **name != delegation)
            .cloned();
        let names: Vec<_> = std::iter::once(delegation.clone()).chain(rest).collect();
        for name in names {
            self.in_force.remove(&name);
            let held = self.held.get(&name).into_iter().flatten().rev();
            let holds = |bytes: &str| RawNote::parse(bytes.as_bytes()).is_ok_and(|note| self.judge_now(&note).is_ok());
            let highest = held
                .filter(|(_, held)| holds(&held.bytes))
                .map(|(number, _)| *number)
                .next();
            if let Some(number) = highest {
                self.in_force.insert(name, number);
            }
        }
    }

    /// Same name and number, other text: kept as evidence; of two lists of revocations both are obeyed.
    fn fork(&mut self, note: &RawNote) -> NoteRefused {
        if let Err(error) = self.judge_now(note).or_else(|_| self.judge_then(note)) {
            return error;
        }
        let text = note.signed.to_string();
        if self.forks.contains(&text) {
            return NoteRefused::Fork;
        }
        let in_force = self.in_force.get(&note.name) == Some(&note.number);
        if in_force
            && note.name.contains("/revoked/")
            && let Ok(list) = note.content()
        {
            self.forked.push((note.name.clone(), note.number, list));
        }
        self.forks.push(text);
        NoteRefused::Fork
    }

    fn newest(&self, name: &str) -> Option<&HeldNote> {
        self.held.get(name)?.get(self.in_force.get(name)?)
    }

    /// The federation.
    pub const fn federation(&self) -> &FederationName {
        &self.federation
    }

    /// The root's fingerprint.
    pub const fn fingerprint(&self) -> Hash {
        self.fingerprint
    }

    /// The note in force of each name.
    pub fn list(&self) -> impl Iterator<Item = (&str, &HeldNote)> {
        self.in_force
            .keys()
            .filter_map(|name| Some((name.as_str(), self.newest(name)?)))
    }

    /// Every note at hand, archived ones too.
    pub fn all(&self) -> impl Iterator<Item = (&str, &HeldNote)> {
        self.held
            .iter()
            .flat_map(|(name, numbers)| numbers.values().map(move |held| (name.as_str(), held)))
    }

    /// A note by name, the one in force or an older one.
    pub fn note(&self, name: &str, number: Option<u64>) -> Option<&HeldNote> {
        match number {
            None => self.newest(name),
            Some(number) => self.held.get(name)?.get(&number),
        }
    }

    /// Whether this very note is at hand.
    pub fn holds(&self, name: &str, reference: NoteRef) -> bool {
        self.note(name, Some(reference.number))
            .is_some_and(|held| held.reference == reference)
    }

    /// Digest over the list of (name, number, hash): `sanku-notes`.
    pub fn digest(&self) -> Hash {
        *self.digest.get_or_init(|| {
            let lines: String = self
                .list()
                .map(|(name, held)| format!("{name} {} {}\n", held.reference.number, held.reference.digest))
                .collect();
            Hash::of(lines.as_bytes())
        })
    }

    /// Notes that forked, as evidence.
    pub fn forks(&self) -> &[String] {
        &self.forks
    }

    /// The root, once known.
    pub fn root(&self) -> Option<&Root> {
        self.roots.get(self.in_force.get(&name::root(&self.federation))?)
    }

    /// The delegation in force.
    pub fn delegation(&self) -> Option<&Delegation> {
        self.delegations
            .get(self.in_force.get(&name::delegation(&self.federation))?)
    }

    /// Who may act at a centre now.
    pub fn people(&self, code: DivisionCode) -> Option<&People> {
        let number = self.in_force.get(&name::people(&self.federation, code))?;
        self.people.get(&(code, *number))
    }

    /// The registry in force.
    pub fn registry(&self) -> Option<(NoteRef, &Arc<Registry>, &Arc<Tree>)> {
        let number = self.in_force.get(&name::registry(&self.federation))?;
        let (reference, registry, tree) = self.registries.get(number)?;
        Some((*reference, registry, tree))
    }

    /// A registry that a question names.
    pub fn registry_by(&self, reference: NoteRef) -> Option<(&Arc<Registry>, &Arc<Tree>)> {
        let (held, registry, tree) = self.registries.get(&reference.number)?;
        (*held == reference).then_some((registry, tree))
    }

    /// The registry that was the newest at an instant.
    pub fn registry_at(&self, at: Time) -> Option<(&Arc<Registry>, &Arc<Tree>)> {
        let (_, (_, registry, tree)) = self.registries.range(..=at.millis().unsigned_abs()).next_back()?;
        Some((registry, tree))
    }

    /// When a registry was replaced: the number of the next one.
    pub fn replaced_at(&self, reference: NoteRef) -> Option<Time> {
        let next = self.registries.range(reference.number + 1..).next()?;
        Some(Time::from_millis(i64::try_from(*next.0).ok()?))
    }

    fn row(&self, code: DivisionCode) -> Option<&NodeRow> {
        self.registry()?.1.node(code)
    }

    fn revoked_rows(&self) -> impl Iterator<Item = &RevokedRow> {
        let listed = self
            .in_force
            .iter()
            .filter_map(|(name, number)| self.revoked.get(&(name.clone(), *number)));
        listed
            .chain(self.forked.iter().map(|(_, _, list)| list))
            .flat_map(|list| &list.rows)
    }

    /// Whether a node is one we speak with now: it is active, and nothing on its path is revoked or suspended.
    ///
    /// # Errors
    /// The problem's kind: `not_member`, `revoked` or `suspended`.
    pub fn judge_member(&self, code: DivisionCode) -> Result<(), ProblemKind> {
        if self.row(code).is_none_or(|row| row.state != NodeState::Active) {
            return Err(ProblemKind::NotMember);
        }
        let on_path: BTreeSet<_> = std::iter::once(code).chain(code.ancestors()).collect();
        let said = |what| {
            self.revoked_rows()
                .any(|row| row.what == what && on_path.contains(&row.code))
        };
        if said(RevokedWhat::Node) {
            return Err(ProblemKind::Revoked);
        }
        if said(RevokedWhat::Suspended) {
            Err(ProblemKind::Suspended)
        } else {
            Ok(())
        }
    }

    /// Those of these targets that the notes in force suspend or revoke.
    pub fn suspended(&self, targets: &BTreeSet<DivisionCode>) -> BTreeSet<DivisionCode> {
        let out = |code: &&DivisionCode| {
            matches!(
                self.judge_member(**code),
                Err(ProblemKind::Suspended | ProblemKind::Revoked)
            )
        };
        targets.iter().filter(out).copied().collect()
    }

    /// Whether any list at hand, in force or archived, suspends or revokes this node or what stands above it.
    pub fn was_suspended(&self, code: DivisionCode) -> bool {
        let on_path: BTreeSet<_> = std::iter::once(code).chain(code.ancestors()).collect();
        let rows = self
            .revoked
            .values()
            .chain(self.forked.iter().map(|(_, _, list)| list))
            .flat_map(|list| &list.rows);
        rows.into_iter()
            .any(|row| matches!(row.what, RevokedWhat::Node | RevokedWhat::Suspended) && on_path.contains(&row.code))
    }

    /// Whether a certificate's serial (lower-case hex) is revoked.
    pub fn is_revoked_serial(&self, code: DivisionCode, serial: &str) -> bool {
        self.revoked_rows().any(|row| {
            row.what == RevokedWhat::Certificate && row.code == code && row.object.as_deref() == Some(serial)
        })
    }

    /// Whether a log, witness or sealing key, as the registry writes it, is revoked.
    pub fn is_revoked_key(&self, code: DivisionCode, key: &str) -> bool {
        self.revoked_rows()
            .any(|row| row.what == RevokedWhat::Key && row.code == code && row.object.as_deref() == Some(key))
    }

    /// Whether a key was revoked by an instant.
    pub fn was_revoked_key(&self, code: DivisionCode, key: &str, at: Time) -> bool {
        self.revoked_rows().any(|row| {
            row.what == RevokedWhat::Key && row.code == code && row.object.as_deref() == Some(key) && row.since <= at
        })
    }

    /// The newest sealing key of a node that is good now.
    pub fn sealing_key(&self, code: DivisionCode, now: Time) -> Option<SealingPublicKey> {
        let keys = self
            .row(code)?
            .sealing_keys
            .iter()
            .filter(|row| row.from <= now && now <= row.until);
        keys.filter(|row| !self.is_revoked_key(code, &row.key.to_string()))
            .max_by_key(|row| row.from)
            .map(|row| row.key)
    }

    /// Trust as it judges logs at an instant.
    pub const fn at(&self, at: Time) -> TrustAt<'_> {
        TrustAt {
            trust: self,
            at,
            witnessed: false,
            names: None,
        }
    }

    /// Trust as it judges what the cosignature that counts covers, made at this instant: the log's key was good then.
    pub const fn when_witnessed(&self, at: Time) -> TrustAt<'_> {
        TrustAt {
            trust: self,
            at,
            witnessed: true,
            names: None,
        }
    }

    /// From now on nothing of this log counts but what is witnessed: two of its checkpoints disagree.
    pub fn distrust(&mut self, log: Origin) {
        self.forked_logs.insert(log);
    }

    /// Logs of which two checkpoints disagree.
    pub const fn forked_logs(&self) -> &BTreeSet<Origin> {
        &self.forked_logs
    }

    /// The key that the registry in force has for a log, whatever became of it: for judging who signed a checkpoint.
    pub fn registered_log_key(&self, log: &Origin) -> Option<&VerifierKey> {
        let row = self.registered_log(log)?;
        (row.key.name() == log.to_string()).then_some(&row.key)
    }

    /// The row of a log, whatever became of it.
    pub fn registered_log(&self, log: &Origin) -> Option<&LogRow> {
        let rows = &self.row(log.node).filter(|_| log.federation == self.federation)?.logs;
        rows.iter().find(|row| row.number == log.number)
    }

    /// Those of a log's entries that stand above its final size, and the log's row.
    fn above<'a>(&self, log: &Origin, first: u64, leaves: &'a [Hash]) -> Option<(&LogRow, &'a [Hash])> {
        let row = self.registered_log(log)?;
        let above = closed::above(row, first, leaves);
        (!above.is_empty()).then_some((row, above))
    }

    /// The row of a log whose key is not revoked, open or closed.
    fn log_row(&self, log: &Origin, witnessed: Option<Time>) -> Result<(&NodeRow, &LogRow), RunError> {
        let unknown = RunError::NotTrusted("unknown_log");
        if log.federation != self.federation {
            return Err(unknown);
        }
        let row = self.row(log.node).ok_or_else(|| unknown.clone())?;
        let found = row.logs.iter().find(|row| row.number == log.number).ok_or(unknown)?;
        if found.key.name() != log.to_string() {
            return Err(RunError::NotTrusted("key_name"));
        }
        let key = found.key.to_string();
        let revoked = match witnessed {
            Some(at) => self.was_revoked_key(log.node, &key, at),
            None => self.is_revoked_key(log.node, &key) || self.judge_member(log.node) == Err(ProblemKind::Revoked),
        };
        if revoked {
            return Err(RunError::NotTrusted("revoked"));
        }
        if witnessed.is_none() && self.forked_logs.contains(log) {
            return Err(RunError::NotTrusted("forked"));
        }
        Ok((row, found))
    }
}

/// Without an instant: the log is registered for its node, which did not leave, and its key is not revoked.
impl LogKeys for Trust {
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError> {
        let (row, found) = self.log_row(log, None)?;
        if row.state == NodeState::Left {
            return Err(RunError::NotTrusted("left"));
        }
        Ok(found.key.clone())
    }

    fn checkpoint(&self, note: &SignedNote, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        self.checkpoints.verify(note, key)
    }

    fn counts(&self, log: &Origin, first: u64, leaves: &[Hash]) -> bool {
        self.above(log, first, leaves).is_none()
    }
}

/// At an instant: the key's window holds it, or the registry fixed how far the log goes; and the node had not left by then.
impl LogKeys for TrustAt<'_> {
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError> {
        let (row, found) = self.trust.log_row(log, self.witnessed.then_some(self.at))?;
        if self.at < found.from || (self.at > found.until && found.final_size.is_none()) {
            return Err(RunError::NotTrusted("not_in_force"));
        }
        let since = self.trust.registry().map_or(0, |(reference, _, _)| reference.number);
        if row.state == NodeState::Left && self.at.millis().unsigned_abs() >= since {
            return Err(RunError::NotTrusted("left"));
        }
        Ok(found.key.clone())
    }

    fn checkpoint(&self, note: &SignedNote, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        self.trust.checkpoints.verify(note, key)
    }

    fn counts(&self, log: &Origin, first: u64, leaves: &[Hash]) -> bool {
        let Some((row, above)) = self.trust.above(log, first, leaves) else {
            return true;
        };
        let named = |leaf| self.names.is_some_and(|names| names.name(leaf, log.node, row.until));
        (self.witnessed && self.at <= row.until) || above.iter().all(named)
    }
}

#[cfg(test)]
mod tests;

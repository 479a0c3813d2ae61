//! Trust: everything that a node knows from the notes it accepted, and what follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sanku_tlog::{Hash, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};

use crate::entry::NoteRef;
use crate::names::Origin;
use crate::notes::{Delegation, NodeRow, NodeState, NoteRefused, RawNote, Registry, Revoked, RevokedWhat, Root, name};
use crate::problem::ProblemKind;
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
    /// It is the newest of its name now.
    New,
    /// It was at hand.
    Known,
    /// It is older than the newest and was archived.
    Archived,
}

/// All notes that verify, and what they say together. A value: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Trust {
    federation: FederationName,
    fingerprint: Hash,
    /// Every note ever accepted, by name and number. The last of each name counts.
    held: BTreeMap<String, BTreeMap<u64, HeldNote>>,
    root: Option<Root>,
    delegation: Option<Delegation>,
    registries: BTreeMap<u64, (NoteRef, Arc<Registry>, Arc<Tree>)>,
    revoked: BTreeMap<String, Revoked>,
    /// Lists that forked: obeyed too until a higher number.
    forked: Vec<(String, u64, Revoked)>,
    forks: Vec<String>,
}

impl Trust {
    /// Nothing but the root's fingerprint: SHA-256 of the vkey text of the first root note.
    pub const fn new(federation: FederationName, fingerprint: Hash) -> Self {
        Self {
            federation,
            fingerprint,
            held: BTreeMap::new(),
            root: None,
            delegation: None,
            registries: BTreeMap::new(),
            revoked: BTreeMap::new(),
            forked: Vec::new(),
            forks: Vec::new(),
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
        let root = name::root(&self.federation);
        let delegation = name::delegation(&self.federation);
        raw.sort_by_key(|(note, _)| (note.name != root, note.name != delegation, note.number));
        for (_, bytes) in raw {
            refused.extend(self.accept(bytes, now).err());
        }
        refused
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
        self.judge(&note)?;
        let newest = self
            .newest(&note.name)
            .is_none_or(|held| held.reference.number < note.number);
        let held = HeldNote {
            reference,
            bytes: note.signed.to_string().into(),
        };
        self.held
            .entry(note.name.clone())
            .or_default()
            .insert(note.number, held);
        self.take(&note, reference, newest)?;
        Ok(if newest { Accepted::New } else { Accepted::Archived })
    }

    /// Whether it is signed by the key it needs.
    fn judge(&self, note: &RawNote) -> Result<(), NoteRefused> {
        let Some(kind) = note
            .name
            .strip_prefix(self.federation.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return Err(NoteRefused::Form("a note of another federation".to_owned()));
        };
        match kind {
            "root" => {
                let content: Root = note.content()?;
                note.signed_by(&content.key)?;
                match &self.root {
                    None if Hash::of(content.key.to_string().as_bytes()) == self.fingerprint => Ok(()),
                    None => Err(NoteRefused::Signer),
                    Some(old) => note.signed_by(&old.key),
                }
            }
            "delegation" => note.signed_by(&self.root.as_ref().ok_or(NoteRefused::Missing("root"))?.key),
            "registry" => {
                let publisher = &self
                    .delegation
                    .as_ref()
                    .ok_or(NoteRefused::Missing("delegation"))?
                    .publisher;
                let number = note.number;
                if number < publisher.from.millis().unsigned_abs() || number > publisher.until.millis().unsigned_abs() {
                    return Err(NoteRefused::Signer);
                }
                note.signed_by(&publisher.key)?;
                note.content::<Registry>()?.judge()
            }
            _ => {
                let code: DivisionCode = kind
                    .strip_prefix("revoked/")
                    .and_then(|code| code.parse().ok())
                    .ok_or_else(|| NoteRefused::Form("no such name".to_owned()))?;
                let list: Revoked = note.content()?;
                let delegation = self.delegation.as_ref().ok_or(NoteRefused::Missing("delegation"))?;
                let root = &self.root.as_ref().ok_or(NoteRefused::Missing("root"))?.key;
                // An authority above may add and re-date, never remove.
                let adds_only = || {
                    self.revoked
                        .get(&note.name)
                        .is_none_or(|old| old.rows.iter().all(|row| list.rows.contains(row)))
                };
                let own = delegation
                    .authorities
                    .iter()
                    .any(|authority| authority.code == code && note.signed_by(&authority.key).is_ok());
                let above = delegation
                    .authorities
                    .iter()
                    .any(|authority| code.is_below(authority.code) && note.signed_by(&authority.key).is_ok());
                let by_root = note.signed_by(root).is_ok();
                if !(own || by_root || (above && adds_only())) {
                    return Err(NoteRefused::Signer);
                }
                // It acts only on what lies below its signer; on the province's own code the root acts.
                if !by_root && list.rows.iter().any(|row| !row.code.is_below(code)) {
                    return Err(NoteRefused::Signer);
                }
                Ok(())
            }
        }
    }

    /// Lets a judged note count.
    fn take(&mut self, note: &RawNote, reference: NoteRef, newest: bool) -> Result<(), NoteRefused> {
        let kind = note
            .name
            .rsplit_once(self.federation.as_str())
            .map_or("", |(_, rest)| rest);
        match kind {
            "/root" if newest => {
                self.root = Some(note.content()?);
                self.judge_again();
            }
            "/delegation" if newest => {
                self.delegation = Some(note.content()?);
                self.judge_again();
            }
            "/registry" => {
                let registry: Registry = note.content()?;
                let tree = Tree::of(&registry).map_err(|error| NoteRefused::Form(error.to_string()))?;
                self.registries
                    .insert(note.number, (reference, Arc::new(registry), Arc::new(tree)));
            }
            kind if newest && kind.starts_with("/revoked/") => {
                self.forked
                    .retain(|(name, number, _)| *name != note.name || *number >= note.number);
                self.revoked.insert(note.name.clone(), note.content()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// When root or delegation change, what hangs on them is judged again; what no longer verifies stops counting.
    fn judge_again(&mut self) {
        let dependent: Vec<_> = self
            .held
            .iter()
            .filter(|(name, _)| name.ends_with("/registry") || name.contains("/revoked/"))
            .flat_map(|(name, numbers)| {
                numbers
                    .iter()
                    .map(move |(number, held)| (name.clone(), *number, Arc::clone(&held.bytes)))
            })
            .collect();
        for (name, number, bytes) in dependent {
            let holds = RawNote::parse(bytes.as_bytes()).is_ok_and(|note| self.judge(&note).is_ok());
            if !holds {
                if let Some(numbers) = self.held.get_mut(&name) {
                    numbers.remove(&number);
                }
                self.registries.remove(&number);
            }
        }
    }

    /// Same name and number, other text: kept as evidence; of two lists of revocations both are obeyed.
    fn fork(&mut self, note: &RawNote) -> NoteRefused {
        if let Err(error) = self.judge(note) {
            return error;
        }
        if note.name.contains("/revoked/")
            && let Ok(list) = note.content()
        {
            self.forked.push((note.name.clone(), note.number, list));
        }
        self.forks.push(note.signed.to_string());
        NoteRefused::Fork
    }

    fn newest(&self, name: &str) -> Option<&HeldNote> {
        self.held.get(name)?.values().next_back()
    }

    /// The federation.
    pub const fn federation(&self) -> &FederationName {
        &self.federation
    }

    /// The root's fingerprint.
    pub const fn fingerprint(&self) -> Hash {
        self.fingerprint
    }

    /// The newest note of each name.
    pub fn list(&self) -> impl Iterator<Item = (&str, &HeldNote)> {
        self.held
            .iter()
            .filter_map(|(name, numbers)| Some((name.as_str(), numbers.values().next_back()?)))
    }

    /// Every note at hand, archived ones too.
    pub fn all(&self) -> impl Iterator<Item = (&str, &HeldNote)> {
        self.held
            .iter()
            .flat_map(|(name, numbers)| numbers.values().map(move |held| (name.as_str(), held)))
    }

    /// A note by name, the newest or an older one.
    pub fn note(&self, name: &str, number: Option<u64>) -> Option<&HeldNote> {
        match number {
            None => self.newest(name),
            Some(number) => self.held.get(name)?.get(&number),
        }
    }

    /// Digest over the list of (name, number, hash): `sanku-notes`.
    pub fn digest(&self) -> Hash {
        let lines: String = self
            .list()
            .map(|(name, held)| format!("{name} {} {}\n", held.reference.number, held.reference.digest))
            .collect();
        Hash::of(lines.as_bytes())
    }

    /// Notes that forked, as evidence.
    pub fn forks(&self) -> &[String] {
        &self.forks
    }

    /// The root, once known.
    pub const fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// The delegation, once known.
    pub const fn delegation(&self) -> Option<&Delegation> {
        self.delegation.as_ref()
    }

    /// The newest registry.
    pub fn registry(&self) -> Option<(NoteRef, &Arc<Registry>, &Arc<Tree>)> {
        self.registries
            .values()
            .next_back()
            .map(|(reference, registry, tree)| (*reference, registry, tree))
    }

    /// A registry that a question names.
    pub fn registry_by(&self, reference: NoteRef) -> Option<(&Arc<Registry>, &Arc<Tree>)> {
        let (held, registry, tree) = self.registries.get(&reference.number)?;
        (*held == reference).then_some((registry, tree))
    }

    /// When a registry was replaced: the number of the next one.
    pub fn replaced_at(&self, reference: NoteRef) -> Option<Time> {
        let next = self.registries.range(reference.number + 1..).next()?;
        Some(Time::from_millis(i64::try_from(*next.0).ok()?))
    }

    fn row(&self, code: DivisionCode) -> Option<&NodeRow> {
        self.registry()?.1.node(code)
    }

    fn revoked_rows(&self) -> impl Iterator<Item = &crate::notes::RevokedRow> {
        self.revoked
            .values()
            .chain(self.forked.iter().map(|(_, _, list)| list))
            .flat_map(|list| &list.rows)
    }

    /// Whether a node is one we speak with now.
    ///
    /// # Errors
    /// The problem's kind: `not_member`, `revoked` or `suspended`.
    pub fn judge_member(&self, code: DivisionCode) -> Result<(), ProblemKind> {
        if self.row(code).is_none_or(|row| row.state != NodeState::Active) {
            return Err(ProblemKind::NotMember);
        }
        for row in self.revoked_rows().filter(|row| row.code == code) {
            match row.what {
                RevokedWhat::Node => return Err(ProblemKind::Revoked),
                RevokedWhat::Suspended => return Err(ProblemKind::Suspended),
                RevokedWhat::Certificate | RevokedWhat::Key => {}
            }
        }
        Ok(())
    }

    /// Whether a certificate's serial (lower-case hex) is revoked.
    pub fn is_revoked_serial(&self, code: DivisionCode, serial: &str) -> bool {
        self.revoked_rows().any(|row| {
            row.what == RevokedWhat::Certificate && row.code == code && row.object.as_deref() == Some(serial)
        })
    }

    fn is_revoked_key(&self, code: DivisionCode, key: &str) -> bool {
        self.revoked_rows()
            .any(|row| row.what == RevokedWhat::Key && row.code == code && row.object.as_deref() == Some(key))
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
}

impl LogKeys for Trust {
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError> {
        let unknown = RunError::NotTrusted("unknown_log");
        if log.federation != self.federation {
            return Err(unknown);
        }
        let row = self.row(log.node).ok_or(unknown.clone())?;
        let found = row.logs.iter().find(|row| row.number == log.number).ok_or(unknown)?;
        if found.key.name() != log.to_string() {
            return Err(RunError::NotTrusted("key_name"));
        }
        if self.is_revoked_key(log.node, &found.key.to_string())
            || self.judge_member(log.node) == Err(ProblemKind::Revoked)
        {
            return Err(RunError::NotTrusted("revoked"));
        }
        Ok(found.key.clone())
    }
}

//! Who may have signed a note: now, or in its time.

use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use super::Trust;
use crate::notes::{Delegation, NoteRefused, RawNote, Registry, Revoked, RevokedRow, Root, name};
use crate::people::People;

impl Trust {
    /// What a name says behind the federation's; nothing for a note of another federation.
    pub(super) fn kind<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(self.federation.as_str())?.strip_prefix('/')
    }

    /// Whether it verifies under root and delegation in force.
    pub(super) fn judge_now(&self, note: &RawNote) -> Result<(), NoteRefused> {
        self.judge(note, self.root(), self.delegation())?;
        self.keeps_rows(note)
    }

    /// Whether it verifies under root and delegation of its own time.
    pub(super) fn judge_then(&self, note: &RawNote) -> Result<(), NoteRefused> {
        let root = self
            .roots
            .range(..=note.number)
            .next_back()
            .or_else(|| self.roots.iter().next());
        let delegation = self
            .delegations
            .range(..=note.number)
            .next_back()
            .or_else(|| self.delegations.iter().next());
        self.judge(
            note,
            root.map(|(_, root)| root),
            delegation.map(|(_, delegation)| delegation),
        )
    }

    fn judge(&self, note: &RawNote, root: Option<&Root>, delegation: Option<&Delegation>) -> Result<(), NoteRefused> {
        let root_key = || root.map(|root| &root.key).ok_or(NoteRefused::Missing("root"));
        match self.kind(&note.name) {
            None => Err(NoteRefused::Form("a note of another federation".to_owned())),
            Some("root") => self.judge_root(note),
            Some("delegation") => {
                note.signed_by(root_key()?)?;
                note.content::<Delegation>().map(drop)
            }
            Some("registry") => {
                let publisher = &delegation.ok_or(NoteRefused::Missing("delegation"))?.publisher;
                if !during(note, publisher.from, publisher.until) {
                    return Err(NoteRefused::Signer);
                }
                note.signed_by(&publisher.key)?;
                note.content::<Registry>()?.judge()
            }
            Some(kind) if people_of(kind).is_some() => self.judge_people(note),
            Some(kind) => {
                let code = kind.strip_prefix("revoked/").and_then(|code| code.parse().ok());
                let code: DivisionCode = code.ok_or_else(|| NoteRefused::Form("no such name".to_owned()))?;
                let delegation = delegation.ok_or(NoteRefused::Missing("delegation"))?;
                let reach = reach(note, code, root_key()?, delegation).ok_or(NoteRefused::Signer)?;
                let list: Revoked = note.content()?;
                // It acts only on what lies below its signer; on the province's own code the root acts.
                let within = |row: &RevokedRow| match reach {
                    Reach::Own => row.code.is_below(code),
                    Reach::Above => row.code == code || row.code.is_below(code),
                };
                if list.rows.iter().all(within) {
                    Ok(())
                } else {
                    Err(NoteRefused::Signer)
                }
            }
        }
    }

    /// The first root has the known fingerprint; each later one is signed by the one before as well as by itself.
    fn judge_root(&self, note: &RawNote) -> Result<(), NoteRefused> {
        let content: Root = note.content()?;
        note.signed_by(&content.key)?;
        match self.roots.range(..note.number).next_back() {
            Some((_, before)) => note.signed_by(&before.key),
            None if !self.roots.is_empty() => Err(NoteRefused::Older),
            None if Hash::of(content.key.to_string().as_bytes()) == self.fingerprint => Ok(()),
            None => Err(NoteRefused::Signer),
        }
    }

    /// The first is signed by the root of its time, each later one by two persons of the one before. So no key on a server
    /// makes a person, and what was good stays good when the root changes.
    fn judge_people(&self, note: &RawNote) -> Result<(), NoteRefused> {
        let code = self.kind(&note.name).and_then(people_of);
        let code = code.ok_or_else(|| NoteRefused::Form("no such name".to_owned()))?;
        let content: People = note.content()?;
        content.judge(&self.federation, code)?;
        let mut of_centre = self.people.range((code, 0)..=(code, u64::MAX)).peekable();
        let first = of_centre.peek().map(|((_, number), _)| *number);
        match self.people.range((code, 0)..(code, note.number)).next_back() {
            Some((_, before)) => {
                let at = i64::try_from(note.number).map(Time::from_millis);
                let at = at.map_err(|_| NoteRefused::Form("no number".to_owned()))?;
                if before.two_signed(&note.signed, at) {
                    Ok(())
                } else {
                    Err(NoteRefused::Signer)
                }
            }
            // Nothing comes before what is at hand already.
            None if first.is_some_and(|first| first > note.number) => Err(NoteRefused::Older),
            None => {
                let root = self
                    .roots
                    .range(..=note.number)
                    .next_back()
                    .or_else(|| self.roots.iter().next());
                note.signed_by(&root.ok_or(NoteRefused::Missing("root"))?.1.key)
            }
        }
    }

    /// An authority above may add and re-date, never remove.
    fn keeps_rows(&self, note: &RawNote) -> Result<(), NoteRefused> {
        let own = |code: DivisionCode| {
            let delegation = self.delegation();
            let mut own = delegation.into_iter().flat_map(|delegation| &delegation.authorities);
            own.any(|authority| authority.code == code && note.signed_by(&authority.key).is_ok())
        };
        let code = self
            .kind(&note.name)
            .and_then(|kind| kind.strip_prefix("revoked/")?.parse().ok());
        let Some(code) = code.filter(|code| !own(*code)) else {
            return Ok(());
        };
        let number = self.in_force.get(&name::revoked(&self.federation, code));
        let Some(held) = number.and_then(|number| self.revoked.get(&(note.name.clone(), *number))) else {
            return Ok(());
        };
        let list: Revoked = note.content()?;
        let same = |a: &RevokedRow, b: &RevokedRow| a.what == b.what && a.code == b.code && a.object == b.object;
        let kept = held.rows.iter().all(|row| list.rows.iter().any(|now| same(now, row)));
        if kept { Ok(()) } else { Err(NoteRefused::Signer) }
    }
}

/// The centre of a people note, by what stands behind the federation's name.
pub(super) fn people_of(kind: &str) -> Option<DivisionCode> {
    kind.strip_prefix("people/")?.parse().ok()
}

/// How far a list's signer reaches.
enum Reach {
    /// The authority itself: below its own code.
    Own,
    /// One above it, or the root: the authority's own code too.
    Above,
}

fn reach(note: &RawNote, code: DivisionCode, root: &sanku_tlog::VerifierKey, delegation: &Delegation) -> Option<Reach> {
    let signers = delegation
        .authorities
        .iter()
        .filter(|authority| during(note, authority.from, authority.until) && note.signed_by(&authority.key).is_ok());
    let signers: Vec<_> = signers.map(|authority| authority.code).collect();
    if note.signed_by(root).is_ok() || signers.iter().any(|signer| code.is_below(*signer)) {
        return Some(Reach::Above);
    }
    signers.contains(&code).then_some(Reach::Own)
}

fn during(note: &RawNote, from: Time, until: Time) -> bool {
    (from.millis().unsigned_abs()..=until.millis().unsigned_abs()).contains(&note.number)
}

//! Keeping a federation: notes with fresh dates, renewed certificates, nodes suspended, resumed and revoked.

use sanku_federation_protocol::notes::{NodeState, RawNote, Registry, Revoked, RevokedRow, RevokedWhat, name, sign};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::{SignedNote, SigningKey};
use sanku_values::{DivisionCode, Time};

use super::{DAY, Federation, LEAF_DAYS, hosts_of, keep_note, notes_of};
use crate::keys::{KeyFiles, KeyStore, write_whole};
use crate::node_keys::{TLS, TLS_NEXT};
use crate::{CertsError, profile};

/// After this a new registry is due; nodes work on and warn until the grace ends.
const REGISTRY_DAYS: u32 = 60;
const GRACE_DAYS: u32 = 90;
/// When the next list of revocations is due.
const REVOKED_DAYS: u32 = 1;

impl Federation {
    /// Publishes registry and revocations again, with fresh dates and nothing else changed.
    pub fn reissue(&self, now: Time) -> Result<(), CertsError> {
        let _lock = self.lock()?;
        self.publish_locked(self.registry()?, now)?;
        self.revise_locked(|_| {}, now)
    }

    /// Gives a node a new TLS key and certificate. A node that runs takes it up by itself; whenever this is interrupted, key
    /// and certificate in its folder belong together. The old certificate stays good until it expires.
    pub fn renew(&self, code: DivisionCode, now: Time) -> Result<(), CertsError> {
        let _lock = self.lock()?;
        let registry = self.registry()?;
        let row = registry
            .node(code)
            .filter(|row| row.state == NodeState::Active)
            .ok_or(CertsError::NotMember(code))?;
        let folder = self.directory.join(code.to_string());
        let keys = KeyFiles::open(&folder.join("keys"), &folder.join("key-file"))?;
        if keys.holds(TLS_NEXT) {
            // An earlier renewal stopped here: its certificate may be in place already.
            keys.replace(TLS, &keys.load(TLS_NEXT)?)?;
        }
        let hosts = hosts_of(&row.endpoints)?;
        let key = profile::node_key()?;
        let issued = profile::node(&self.name, code, &hosts, &key, &self.authority()?, (now, LEAF_DAYS))?;
        keys.replace(TLS_NEXT, &key)?;
        self.keep_chain(&folder, &issued)?;
        keys.replace(TLS, &key)?;
        keys.remove(TLS_NEXT)
    }

    /// Suspends a node: nobody speaks with it until it is resumed.
    pub fn suspend(&self, code: DivisionCode, reason: &str, now: Time) -> Result<(), CertsError> {
        self.name_in_list((RevokedWhat::Suspended, code, None), reason, now)
    }

    /// Resumes a suspended node.
    pub fn resume(&self, code: DivisionCode, now: Time) -> Result<(), CertsError> {
        let other = |row: &RevokedRow| row.what != RevokedWhat::Suspended || row.code != code;
        self.revise_revoked(|list| list.rows.retain(other), now)
    }

    /// Revokes a node for good.
    pub fn revoke(&self, code: DivisionCode, reason: &str, now: Time) -> Result<(), CertsError> {
        self.name_in_list((RevokedWhat::Node, code, None), reason, now)
    }

    /// Revokes one certificate by its serial (lower-case hex).
    pub fn revoke_certificate(
        &self,
        code: DivisionCode,
        serial: &str,
        reason: &str,
        now: Time,
    ) -> Result<(), CertsError> {
        self::serial(serial)?;
        self.name_in_list((RevokedWhat::Certificate, code, Some(serial.to_owned())), reason, now)
    }

    /// Publishes a registry and hands all notes to every node's folder.
    pub fn publish(&self, registry: Registry, now: Time) -> Result<(), CertsError> {
        let _lock = self.lock()?;
        self.publish_locked(registry, now)
    }

    pub(super) fn publish_locked(&self, registry: Registry, now: Time) -> Result<(), CertsError> {
        self.publish_signed_by(registry, None, now)
    }

    /// The root's key for notes.
    pub(super) fn root_key(&self) -> Result<SigningKey, CertsError> {
        self.note_key("root-note", &name::root(&self.name))
    }

    /// The same; another key may sign beside the publisher's.
    pub(super) fn publish_signed_by(
        &self,
        mut registry: Registry,
        beside: Option<&SigningKey>,
        now: Time,
    ) -> Result<(), CertsError> {
        registry.nodes.sort_by_key(|row| row.code);
        registry.not_after = now.plus(DAY * REGISTRY_DAYS);
        registry.grace_until = now.plus(DAY * GRACE_DAYS);
        let name = name::registry(&self.name);
        let publisher = self.note_key("publisher", &name)?;
        let number = self.next_number("registry", now)?;
        let mut note = sign(&name, number, &registry, &publisher)?;
        if let Some(key) = beside {
            let signature = key.sign(note.text());
            note.add(signature);
        }
        self.hand_in("registry", &note, now)
    }

    /// Changes the province's list of revocations and hands it out.
    pub fn revise_revoked(&self, change: impl FnOnce(&mut Revoked), now: Time) -> Result<(), CertsError> {
        let _lock = self.lock()?;
        self.revise_locked(change, now)
    }

    fn revise_locked(&self, change: impl FnOnce(&mut Revoked), now: Time) -> Result<(), CertsError> {
        let province = self.province()?;
        let file = format!("revoked-{province}");
        let path = self.directory.join(format!("authority/notes/{file}.note"));
        let bytes = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
        let mut list: Revoked = RawNote::parse(&bytes)?.content()?;
        change(&mut list);
        list.next = now.plus(DAY * REVOKED_DAYS);
        let name = name::revoked(&self.name, province);
        let number = self.next_number(&file, now)?;
        let mut note = sign(&name, number, &list, &self.note_key("authority-note", &name)?)?;
        if list.rows.iter().any(|row| row.code == province) {
            // On the province's own code the root acts.
            let signature = self.root_key()?.sign(note.text());
            note.add(signature);
        }
        self.hand_in(&file, &note, now)
    }

    pub(super) fn name_in_list(
        &self,
        (what, code, object): (RevokedWhat, DivisionCode, Option<String>),
        reason: &str,
        now: Time,
    ) -> Result<(), CertsError> {
        if self.registry()?.node(code).is_none() {
            return Err(CertsError::NotMember(code));
        }
        let row = RevokedRow {
            what,
            code,
            object,
            since: now,
            reason: reason.to_owned(),
        };
        let same = |held: &RevokedRow| held.what == row.what && held.code == row.code && held.object == row.object;
        self.revise_revoked(
            |list| {
                if !list.rows.iter().any(same) {
                    list.rows.push(row.clone());
                }
            },
            now,
        )
    }

    /// Numbers never go back, nor does a clock that does make a fork.
    fn next_number(&self, file: &str, now: Time) -> Result<Time, CertsError> {
        let path = self.directory.join(format!("authority/notes/{file}.note"));
        if !path.exists() {
            return Ok(now);
        }
        let bytes = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
        let before = RawNote::parse(&bytes)?.number.cast_signed();
        Ok(Time::from_millis(now.millis().max(before + 1)))
    }

    /// Keeps a note that every reader will accept, and copies all notes into every node's folder.
    pub(super) fn hand_in(&self, file: &str, note: &SignedNote, now: Time) -> Result<(), CertsError> {
        let notes = self.directory.join("authority/notes");
        let held = notes_of(&notes)?;
        let held = held.iter().map(Vec::as_slice);
        let (mut trust, _) = Trust::from_notes(self.name.clone(), self.fingerprint, held, now);
        trust.accept(note.to_string().as_bytes(), now)?;
        keep_note(&notes, file, note)?;
        self.hand_out_all(&self.registry()?)
    }

    pub(super) fn hand_out_all(&self, registry: &Registry) -> Result<(), CertsError> {
        registry.nodes.iter().try_for_each(|row| self.hand_out(row.code))
    }

    /// Copies every note into a node's folder, where there is one on this machine.
    fn hand_out(&self, code: DivisionCode) -> Result<(), CertsError> {
        let notes = self.directory.join("authority/notes");
        let folder = self.directory.join(code.to_string());
        if !folder.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&notes).map_err(|error| CertsError::file(&notes, &error))? {
            let path = entry.map_err(|error| CertsError::file(&notes, &error))?.path();
            let is_note = path.extension().is_some_and(|extension| extension == "note");
            if let Some(file) = path.file_name().filter(|_| is_note) {
                let bytes = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
                let copy = folder.join("notes").join(file);
                if std::fs::read(&copy).is_ok_and(|there| there == bytes) {
                    continue;
                }
                write_whole(&copy, &bytes, 0o644)?;
            }
        }
        Ok(())
    }
}

/// A certificate's serial, as lists of revocations write it.
pub(super) fn serial(text: &str) -> Result<(), CertsError> {
    let hex = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
    if text.len() == 32 && text.bytes().all(hex) {
        Ok(())
    } else {
        let why = format!("{text} 不是序列号 is no serial: 32 hex digits in lower case");
        Err(CertsError::Make(why))
    }
}

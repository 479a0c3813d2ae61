//! A file that proves a fork to anybody who knows the root's fingerprint: `N` lines of notes, then two `C` lines and an `F` line
//! for a log. For a note, two of the `N` lines bear one name and number and say different things.

use sanku_tlog::{Checkpoint, Hash};
use sanku_values::{FederationName, Time};

use crate::names::Origin;
use crate::notes::{NoteRefused, RawNote};
use crate::stream::{Event, Reader};
use crate::trust::Trust;

/// What a file about a fork proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forked {
    /// Two checkpoints of one log, neither the beginning of the other.
    Log(Origin, Checkpoint, Checkpoint),
    /// Two notes under one name and number.
    Note(String, u64),
}

/// Checks a file about a fork.
///
/// # Errors
/// Why it proves nothing.
pub fn verify(file: &[u8], fingerprint: Hash, now: Time) -> Result<Forked, String> {
    let (mut notes, mut fork) = (Vec::new(), None);
    let mut reader = Reader::new();
    reader.push(file);
    while let Some(event) = reader.next_event().map_err(|error| error.to_string())? {
        match event {
            Event::Note(bytes) => notes.push(bytes),
            Event::Fork(origin, proof) if fork.is_none() => fork = Some((origin, proof)),
            _ => return Err("a line that belongs in no file about a fork".to_owned()),
        }
    }
    reader.finish().map_err(|error| error.to_string())?;
    let federation: Option<FederationName> = notes.iter().find_map(|note| {
        let note = RawNote::parse(note).ok()?;
        note.name.strip_suffix("/root")?.parse().ok()
    });
    let federation = federation.ok_or("no root note stands in the file")?;
    let bytes = notes.iter().map(Vec::as_slice);
    let (trust, refused) = Trust::from_notes(federation, fingerprint, bytes, now);
    if trust.root().is_none() {
        return Err("no root note of the fingerprint that was given".to_owned());
    }
    if let Some(error) = refused.iter().find(|error| !matches!(error, NoteRefused::Fork)) {
        return Err(format!("a note does not hold: {error}"));
    }
    if let Some((origin, proof)) = fork {
        let key = trust
            .registered_log_key(&origin)
            .ok_or("the registry does not know the log")?;
        let both = proof.verify(key);
        let (smaller, larger) = both.map_err(|_| "the checkpoints are not shown to disagree")?;
        return Ok(Forked::Log(origin, smaller, larger));
    }
    let note = trust
        .forks()
        .iter()
        .find_map(|note| RawNote::parse(note.as_bytes()).ok());
    let note = note.ok_or("nothing in the file disagrees")?;
    Ok(Forked::Note(note.name, note.number))
}

//! Plain operator's commands on a directory of files: found a federation, add nodes to it (`add`), keep notes and
//! certificates fresh, suspend and revoke (`operate`). The life of certificates by orders of two persons takes their place
//! later; the notes and certificates that they make are the same.
//!
//! `DIR/authority/` holds the authority's keys and all notes; `DIR/CODE/` is a node's own folder.

mod add;
mod execute;
mod operate;
mod renumber;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_catalogue::CategoryId;
use sanku_federation_protocol::acts;
use sanku_federation_protocol::notes::{Authority, Delegate, Delegation, RawNote, Registry, Revoked, Root, name, sign};
use sanku_tlog::{Hash, KeyType, SigningKey};
use sanku_values::{DivisionCode, FederationName, Time};
use zeroize::Zeroizing;

use crate::CertsError;
use crate::keys::{KeyFiles, KeyStore, write_whole};
pub use crate::node_keys::{notes_in, notes_of};
use crate::profile::{self, Issued};
pub use execute::Change;
pub use renumber::{RAISED_FOR, Renumbered};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Life of a node's certificate.
const LEAF_DAYS: u32 = 30;

/// A node that is to be added.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its code.
    pub code: DivisionCode,
    /// The centre's name.
    pub name: String,
    /// Where it is reached, each `HOST:PORT`; the first is where its program listens.
    pub endpoints: Vec<String>,
    /// Categories it holds; all of the catalogue if empty.
    pub categories: Vec<CategoryId>,
}

/// A federation's directory: `authority/` with its keys, and a folder for each node.
#[derive(Debug)]
pub struct Federation {
    directory: PathBuf,
    keys: KeyFiles,
    /// Its name.
    pub name: FederationName,
    /// The root's fingerprint.
    pub fingerprint: Hash,
}

impl Federation {
    /// Founds a federation and its province's node.
    pub fn init(
        directory: &Path,
        federation: &FederationName,
        province: NewNode,
        now: Time,
    ) -> Result<Self, CertsError> {
        if province.code.level() != sanku_values::Level::Province {
            return Err(CertsError::Make(format!(
                "{} 不是省级代码 is no province; found the federation with the province's code",
                province.code
            )));
        }
        hosts_of(&province.endpoints)?;
        let whole = directory.join("authority");
        if whole.exists() {
            return Err(CertsError::Exists(whole));
        }
        // Made beside its place and moved there whole: what an interruption leaves behind was never used by anybody.
        let place = directory.join(".authority-unfinished");
        if place.exists() {
            std::fs::remove_dir_all(&place).map_err(|error| CertsError::file(&place, &error))?;
        }
        let keys = KeyFiles::create(&place.join("keys"), &place.join("key-file"))?;
        let note_key = |name: String, kind| {
            let key = SigningKey::generate(&name, kind).map_err(|error| CertsError::Make(error.to_string()))?;
            Ok::<_, CertsError>(key)
        };
        let root_key = note_key(name::root(federation), KeyType::Ed25519)?;
        let witness = note_key(format!("{federation}/witness/root"), KeyType::CosignatureV1)?;
        let publisher = note_key(name::registry(federation), KeyType::Ed25519)?;
        let authority_key = note_key(name::revoked(federation, province.code), KeyType::Ed25519)?;
        let root = profile::root(federation, now)?;
        let authority = profile::authority(federation, province.code, &root, now)?;
        for (name, key) in [
            ("root-note", &root_key),
            ("root-witness", &witness),
            ("publisher", &publisher),
            ("authority-note", &authority_key),
        ] {
            keys.keep(name, key.seed())?;
        }
        keys.keep("root", &root.key)?;
        keys.keep("authority", &authority.key)?;
        let until = |days: u32| now.plus(DAY * days);
        // Clocks may differ by 15 minutes: what begins now has begun for whoever's clock lags.
        let earlier = now.minus(Duration::from_secs(15 * 60));
        let root_note = Root {
            key: root_key.verifier().clone(),
            certificates: vec![STANDARD.encode(&root.certificate)],
            witness: witness.verifier().clone(),
        };
        let delegation = Delegation {
            publisher: Delegate {
                key: publisher.verifier().clone(),
                from: earlier,
                until: until(365),
            },
            authorities: vec![Authority {
                code: province.code,
                key: authority_key.verifier().clone(),
                certificate: STANDARD.encode(&authority.certificate),
                from: earlier,
                until: until(730),
            }],
        };
        let notes = place.join("notes");
        keep_note(
            &notes,
            "root",
            &sign(&name::root(federation), now, &root_note, &root_key)?,
        )?;
        keep_note(
            &notes,
            "delegation",
            &sign(&name::delegation(federation), now, &delegation, &root_key)?,
        )?;
        let revoked = Revoked {
            next: until(1),
            rows: Vec::new(),
        };
        keep_note(
            &notes,
            &format!("revoked-{}", province.code),
            &sign(&name::revoked(federation, province.code), now, &revoked, &authority_key)?,
        )?;
        let fingerprint = Hash::of(root_key.verifier().to_string().as_bytes());
        write_whole(
            &place.join("federation"),
            format!("{federation}\n{}\n{fingerprint}\n", province.code).as_bytes(),
            0o644,
        )?;
        std::fs::rename(&place, &whole).map_err(|error| CertsError::file(&whole, &error))?;
        std::fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| CertsError::file(directory, &error))?;
        let this = Self::open(directory)?;
        this.add(province, now)?;
        Ok(this)
    }

    /// Opens a federation's directory.
    pub fn open(directory: &Path) -> Result<Self, CertsError> {
        let place = directory.join("authority");
        let file = place.join("federation");
        let text = std::fs::read_to_string(&file).map_err(|_| CertsError::NoFederation(directory.to_owned()))?;
        let mut lines = text.lines();
        let bad = || CertsError::NoFederation(directory.to_owned());
        let name = lines.next().and_then(|name| name.parse().ok()).ok_or_else(bad)?;
        let fingerprint = lines.nth(1).and_then(|hash| hash.parse().ok()).ok_or_else(bad)?;
        Ok(Self {
            directory: directory.to_owned(),
            keys: KeyFiles::open(&place.join("keys"), &place.join("key-file"))?,
            name,
            fingerprint,
        })
    }

    /// The nodes so far.
    pub fn registry(&self) -> Result<Registry, CertsError> {
        let path = self.directory.join("authority/notes/registry.note");
        if !path.exists() {
            return Ok(Registry {
                nodes: Vec::new(),
                not_after: Time::from_millis(0),
                grace_until: Time::from_millis(0),
            });
        }
        let bytes = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
        Ok(RawNote::parse(&bytes)?.content()?)
    }

    /// One command at a time changes the authority's files; another one waits. Released when dropped.
    fn lock(&self) -> Result<std::fs::File, CertsError> {
        let path = self.directory.join("authority/lock");
        let wrong = |error: std::io::Error| CertsError::file(&path, &error);
        let file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(wrong)?;
        file.lock().map_err(wrong)?;
        Ok(file)
    }

    /// The province whose authority it is.
    pub fn province(&self) -> Result<DivisionCode, CertsError> {
        let file = self.directory.join("authority/federation");
        let text = std::fs::read_to_string(&file).map_err(|error| CertsError::file(&file, &error))?;
        text.lines()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| CertsError::NoFederation(self.directory.clone()))
    }

    pub(crate) fn note_key(&self, file: &str, name: &str) -> Result<SigningKey, CertsError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            self.keys
                .load(file)?
                .as_slice()
                .try_into()
                .map_err(|_| CertsError::Key(file.into()))?,
        );
        SigningKey::from_seed(name, KeyType::Ed25519, *seed).map_err(|error| CertsError::Make(error.to_string()))
    }

    pub(crate) fn authority(&self) -> Result<Issued, CertsError> {
        let path = self.directory.join("authority/notes/delegation.note");
        let bytes = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
        let delegation: Delegation = RawNote::parse(&bytes)?.content()?;
        let certificate = delegation
            .authorities
            .first()
            .and_then(|authority| STANDARD.decode(&authority.certificate).ok())
            .ok_or_else(|| CertsError::NoFederation(self.directory.clone()))?;
        Ok(Issued {
            key: self.keys.load("authority")?,
            certificate,
        })
    }

    fn keep_chain(&self, folder: &Path, issued: &Issued) -> Result<(), CertsError> {
        let chain = [
            pem("CERTIFICATE", &issued.certificate),
            pem("CERTIFICATE", &self.authority()?.certificate),
        ]
        .concat();
        write_whole(&folder.join("certs/chain.pem"), chain.as_bytes(), 0o644)
    }
}

/// The hosts of addresses, each once.
fn hosts_of(endpoints: &[String]) -> Result<Vec<String>, CertsError> {
    if endpoints.is_empty() {
        return Err(CertsError::Make(
            "没有地址 no address: give at least one HOST:PORT".to_owned(),
        ));
    }
    let hosts = endpoints
        .iter()
        .map(|endpoint| Ok(split_endpoint(endpoint)?.0.to_owned()));
    let hosts: std::collections::BTreeSet<_> = hosts.collect::<Result<_, CertsError>>()?;
    Ok(hosts.into_iter().collect())
}

/// Host and port of an endpoint.
fn split_endpoint(endpoint: &str) -> Result<(&str, u16), CertsError> {
    acts::split_endpoint(endpoint).ok_or_else(|| CertsError::Endpoint(endpoint.to_owned()))
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn keep_note(directory: &Path, file: &str, note: &sanku_tlog::SignedNote) -> Result<(), CertsError> {
    write_whole(
        &directory.join(format!("{file}.note")),
        note.to_string().as_bytes(),
        0o644,
    )
}

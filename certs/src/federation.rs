//! Plain operator's commands: found a federation in a directory, add nodes to it. The life of certificates by orders of two
//! persons takes their place later; the notes and certificates that they make are the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sanku_catalogue::CategoryId;
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::notes::{
    Authority, Delegate, Delegation, LogRow, NodeRow, NodeState, RawNote, Registry, Revoked, Root, SealingRow, name,
    sign,
};
use sanku_federation_protocol::seal::SealingKey;
use sanku_tlog::{Hash, KeyType, SigningKey};
use sanku_values::{DivisionCode, FederationName, Time};
use zeroize::Zeroizing;

use crate::keys::{KeyFiles, KeyStore, random, write_whole};
use crate::profile::{self, Issued};
use crate::{CertsError, NodeKeys};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A node that is to be added.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its code.
    pub code: DivisionCode,
    /// The centre's name.
    pub name: String,
    /// Where it listens: `HOST:PORT`.
    pub endpoint: String,
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
        let place = directory.join("authority");
        if place.exists() {
            return Err(CertsError::Exists(place));
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
        let earlier = now.minus(Duration::from_secs(60));
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
        let this = Self {
            directory: directory.to_owned(),
            keys,
            name: federation.clone(),
            fingerprint,
        };
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

    /// Adds a node: its keys and certificate, its row in the registry; every node's folder gets the new notes.
    pub fn add(&self, new: NewNode, now: Time) -> Result<PathBuf, CertsError> {
        let mut registry = self.registry()?;
        if registry.node(new.code).is_some() {
            return Err(CertsError::Make(format!(
                "{} 已在联邦中 is in the federation already",
                new.code
            )));
        }
        let (host, _) = new
            .endpoint
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            .ok_or_else(|| CertsError::Make(format!("{} 不是 地址:端口 is not HOST:PORT", new.endpoint)))?;
        let folder = self.directory.join(new.code.to_string());
        let keys = KeyFiles::create(&folder.join("keys"), &folder.join("key-file"))?;
        let origin = Origin {
            federation: self.name.clone(),
            node: new.code,
            number: 1,
        };
        let make = |error: sanku_tlog::NoteError| CertsError::Make(error.to_string());
        let log = SigningKey::generate(&origin.to_string(), KeyType::Ed25519).map_err(make)?;
        let witness = SigningKey::generate(&format!("{}/witness/{}", self.name, new.code), KeyType::CosignatureV1)
            .map_err(make)?;
        let sealing = random::<32>()?;
        let public = SealingKey::new(*sealing)
            .public()
            .map_err(|error| CertsError::Make(error.to_string()))?;
        let issued = profile::node(&self.name, new.code, &[host.to_owned()], &self.authority()?, now, 30)?;
        for (name, bytes) in [
            ("log", log.seed().as_slice()),
            ("witness", witness.seed()),
            ("sealing", sealing.as_slice()),
            ("tls", &issued.key),
            ("storage", random::<32>()?.as_slice()),
            ("index", random::<32>()?.as_slice()),
        ] {
            keys.keep(name, bytes)?;
        }
        self.keep_chain(&folder, &issued)?;

        let until = now.plus(DAY * 365);
        let earlier = now.minus(Duration::from_secs(60));
        let mut categories = new.categories;
        if categories.is_empty() {
            categories = sanku_catalogue::Catalogue::current()
                .categories()
                .iter()
                .map(|category| category.id.clone())
                .collect();
        }
        categories.sort();
        categories.dedup();
        registry.nodes.push(NodeRow {
            code: new.code,
            name: new.name,
            state: NodeState::Active,
            endpoints: vec![new.endpoint],
            logs: vec![LogRow {
                number: 1,
                key: log.verifier().clone(),
                from: earlier,
                until,
                final_size: None,
            }],
            witness_keys: vec![Delegate {
                key: witness.verifier().clone(),
                from: earlier,
                until,
            }],
            sealing_keys: vec![SealingRow {
                key: public,
                from: earlier,
                until,
            }],
            categories,
            formats: vec![1],
            order: None,
        });
        self.publish(registry, now)?;
        Ok(folder)
    }

    /// Publishes a registry and hands all notes to every node's folder.
    pub fn publish(&self, mut registry: Registry, now: Time) -> Result<(), CertsError> {
        registry.nodes.sort_by_key(|row| row.code);
        registry.not_after = now.plus(DAY * 60);
        registry.grace_until = now.plus(DAY * 90);
        let publisher = self.note_key("publisher", &name::registry(&self.name))?;
        let notes = self.directory.join("authority/notes");
        let before = std::fs::read(notes.join("registry.note"))
            .ok()
            .and_then(|bytes| RawNote::parse(&bytes).ok())
            .map_or(0, |note| note.number);
        let number = Time::from_millis(now.millis().max(before.cast_signed() + 1));
        keep_note(
            &notes,
            "registry",
            &sign(&name::registry(&self.name), number, &registry, &publisher)?,
        )?;
        for row in &registry.nodes {
            self.hand_out(row.code)?;
        }
        Ok(())
    }

    /// Copies every note into a node's folder.
    fn hand_out(&self, code: DivisionCode) -> Result<(), CertsError> {
        let notes = self.directory.join("authority/notes");
        let folder = self.directory.join(code.to_string());
        if !folder.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&notes).map_err(|error| CertsError::file(&notes, &error))? {
            let path = entry.map_err(|error| CertsError::file(&notes, &error))?.path();
            if let Some(file) = path
                .file_name()
                .filter(|_| path.extension().is_some_and(|extension| extension == "note"))
            {
                let bytes = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
                write_whole(&folder.join("notes").join(file), &bytes, 0o644)?;
            }
        }
        Ok(())
    }

    /// Changes an authority's list of revocations and hands it out.
    pub fn revise_revoked(&self, change: impl FnOnce(&mut Revoked), now: Time) -> Result<(), CertsError> {
        let province = self.province()?;
        let notes = self.directory.join("authority/notes");
        let file = format!("revoked-{province}");
        let path = notes.join(format!("{file}.note"));
        let before = RawNote::parse(&std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?)?;
        let mut list: Revoked = before.content()?;
        change(&mut list);
        list.next = now.plus(DAY);
        let key = self.note_key("authority-note", &name::revoked(&self.name, province))?;
        let number = Time::from_millis(now.millis().max(before.number.cast_signed() + 1));
        keep_note(
            &notes,
            &file,
            &sign(&name::revoked(&self.name, province), number, &list, &key)?,
        )?;
        for row in self.registry()?.nodes {
            self.hand_out(row.code)?;
        }
        Ok(())
    }

    fn province(&self) -> Result<DivisionCode, CertsError> {
        let file = self.directory.join("authority/federation");
        let text = std::fs::read_to_string(&file).map_err(|error| CertsError::file(&file, &error))?;
        text.lines()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| CertsError::NoFederation(self.directory.clone()))
    }

    fn note_key(&self, file: &str, name: &str) -> Result<SigningKey, CertsError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            self.keys
                .load(file)?
                .as_slice()
                .try_into()
                .map_err(|_| CertsError::Key(file.into()))?,
        );
        SigningKey::from_seed(name, KeyType::Ed25519, *seed).map_err(|error| CertsError::Make(error.to_string()))
    }

    fn authority(&self) -> Result<Issued, CertsError> {
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

fn pem(label: &str, der: &[u8]) -> String {
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

impl NodeKeys {
    /// Loads a node's keys and chain from its folder.
    pub fn load(
        folder: &Path,
        federation: &FederationName,
        code: DivisionCode,
        log_number: u32,
    ) -> Result<Self, CertsError> {
        let keys = KeyFiles::open(&folder.join("keys"), &folder.join("key-file"))?;
        let fixed = |name: &str| -> Result<Zeroizing<[u8; 32]>, CertsError> {
            Ok(Zeroizing::new(
                keys.load(name)?
                    .as_slice()
                    .try_into()
                    .map_err(|_| CertsError::Key(name.into()))?,
            ))
        };
        let origin = Origin {
            federation: federation.clone(),
            node: code,
            number: log_number,
        };
        let log = SigningKey::from_seed(&origin.to_string(), KeyType::Ed25519, *fixed("log")?)
            .map_err(|error| CertsError::Make(error.to_string()))?;
        let path = folder.join("certs/chain.pem");
        let text = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|_| CertsError::Key(path.clone()))?;
        if chain.is_empty() {
            return Err(CertsError::Key(path));
        }
        let tls = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.load("tls")?.to_vec()));
        let provider = rustls::crypto::ring::default_provider();
        let signing = provider
            .key_provider
            .load_private_key(tls.clone_key())
            .map_err(|_| CertsError::Key(folder.join("keys/tls.key")))?;
        let certified = rustls::sign::CertifiedKey::new(chain.clone(), signing);
        certified.keys_match().map_err(|_| CertsError::Pair(path))?;
        Ok(Self {
            origin,
            log,
            sealing: SealingKey::new(*fixed("sealing")?),
            storage: fixed("storage")?,
            index: fixed("index")?,
            tls,
            chain,
        })
    }
}

/// Every note in a node's folder.
pub fn notes_in(folder: &Path) -> Result<Vec<Vec<u8>>, CertsError> {
    let directory = folder.join("notes");
    let mut notes = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(|error| CertsError::file(&directory, &error))? {
        let path = entry.map_err(|error| CertsError::file(&directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "note") {
            notes.push(std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?);
        }
    }
    Ok(notes)
}

//! A node's keys and certificates, from its folder.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::seal::SealingKey;
use sanku_tlog::{KeyType, SigningKey};
use sanku_values::{DivisionCode, FederationName};
use zeroize::Zeroizing;

use crate::CertsError;
use crate::keys::{KeyFiles, KeyStore};

/// Where a node's TLS key stands.
pub(crate) const TLS: &str = "tls";
/// Where a renewed one stands until its certificate has taken the old one's place.
pub(crate) const TLS_NEXT: &str = "tls-next";

/// A node's keys, by purpose, never shared. `Debug` shows nothing.
pub struct NodeKeys {
    /// The log that the log's key signs.
    pub origin: Origin,
    /// Signs the log.
    pub log: SigningKey,
    /// Signs others' checkpoints.
    pub witness: SigningKey,
    /// Opens what is sealed to this node.
    pub sealing: SealingKey,
    /// Wraps data keys.
    pub storage: Zeroizing<[u8; 32]>,
    /// Makes the blind index and pseudonyms.
    pub index: Zeroizing<[u8; 32]>,
    /// Signs TLS handshakes.
    pub tls: PrivateKeyDer<'static>,
    /// Certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "NodeKeys({})", self.origin)
    }
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
        let witness_name = format!("{federation}/witness/{code}");
        let witness = SigningKey::from_seed(&witness_name, KeyType::CosignatureV1, *fixed("witness")?)
            .map_err(|error| CertsError::Make(error.to_string()))?;
        let path = folder.join("certs/chain.pem");
        let text = std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|_| CertsError::Key(path.clone()))?;
        if chain.is_empty() {
            return Err(CertsError::Key(path));
        }
        let tls = tls_key(&keys, &chain, &path)?;
        Ok(Self {
            origin,
            log,
            witness,
            sealing: SealingKey::new(*fixed("sealing")?),
            storage: fixed("storage")?,
            index: fixed("index")?,
            tls,
            chain,
        })
    }
}

/// The TLS key that the chain's leaf belongs to: the one in use, or the one that a renewal was about to put in its place.
fn tls_key(
    keys: &KeyFiles,
    chain: &[CertificateDer<'static>],
    path: &Path,
) -> Result<PrivateKeyDer<'static>, CertsError> {
    for name in [TLS, TLS_NEXT] {
        if name == TLS_NEXT && !keys.holds(name) {
            continue;
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.load(name)?.to_vec()));
        let signing = rustls::crypto::ring::default_provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| CertsError::Key(name.into()))?;
        let certified = rustls::sign::CertifiedKey::new(chain.to_vec(), signing);
        if certified.keys_match().is_ok() {
            return Ok(key);
        }
    }
    Err(CertsError::Pair(path.to_owned()))
}

/// Every note in a node's folder.
pub fn notes_in(folder: &Path) -> Result<Vec<Vec<u8>>, CertsError> {
    notes_of(&folder.join("notes"))
}

/// Every note in a directory.
pub fn notes_of(directory: &Path) -> Result<Vec<Vec<u8>>, CertsError> {
    let mut notes = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| CertsError::file(directory, &error))? {
        let path = entry.map_err(|error| CertsError::file(directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "note") {
            notes.push(std::fs::read(&path).map_err(|error| CertsError::file(&path, &error))?);
        }
    }
    Ok(notes)
}

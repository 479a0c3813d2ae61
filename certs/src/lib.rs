//! Node certificates and keys (节点证书与密钥): profiles, authorities, the strict verifier, keys at rest. No HTTP, no SQL.
//!
//! Follows RFC 5280 and the federation's notes. Orders of two persons, enrolment, renewal and issuance proofs find their
//! place here.

pub mod federation;
pub mod keys;
pub mod profile;
pub mod verify;

use std::path::{Path, PathBuf};

pub use federation::{Federation, NewNode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::notes::NoteRefused;
use sanku_federation_protocol::seal::SealingKey;
use sanku_tlog::SigningKey;
pub use verify::{PeerIdentity, Refused, verify_chain};
use zeroize::Zeroizing;

/// Why keys or certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file cannot be read or written.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    File(PathBuf, String),
    /// A file with a secret may be read by others.
    #[error("{path} 权限过宽，其他用户可读 can be read by others; run: chmod 600 {path}", path = .0.display())]
    Permissions(PathBuf),
    /// Not a key of ours, or sealed under another key file.
    #[error("{path} 不是可用的密钥 is no key that opens with this key file; restore it from the backup", path = .0.display())]
    Key(PathBuf),
    /// Certificate and key do not belong together.
    #[error("{path} 与私钥不配对 does not belong to the private key keys/tls.key", path = .0.display())]
    Pair(PathBuf),
    /// It is there already; nothing was overwritten.
    #[error("{path} 已存在，未覆盖 exists already; nothing was overwritten", path = .0.display())]
    Exists(PathBuf),
    /// The directory holds no federation.
    #[error("{path} 中没有联邦 holds no federation; found one: sanku federation init {path}", path = .0.display())]
    NoFederation(PathBuf),
    /// A certificate or note cannot be made.
    #[error("{0}")]
    Make(String),
    /// A note does not hold.
    #[error(transparent)]
    Note(#[from] NoteRefused),
    /// The system gives no random bits.
    #[error("no random bits")]
    Random,
}

impl CertsError {
    fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File(path.to_owned(), error.to_string())
    }
}

/// A node's keys, by purpose, never shared. `Debug` shows nothing.
pub struct NodeKeys {
    /// The log that the log's key signs.
    pub origin: Origin,
    /// Signs the log.
    pub log: SigningKey,
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

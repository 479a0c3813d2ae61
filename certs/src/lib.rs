//! Node certificates and keys (节点证书与密钥): profiles, authorities, the strict verifier, keys at rest. No HTTP, no SQL.
//!
//! Follows RFC 5280 and the federation's notes. Who may (`life`), whose keys (`person_key`, `custodians`, `node_keys`), how a
//! machine comes in (`invitation`), what it is granted (`requests`), what is issued (`issuer`, `issuance`, `profile`), what is
//! accepted (`verify`).

pub mod check;
pub mod custodians;
pub mod federation;
#[cfg(test)]
mod fixture;
pub mod invitation;
pub mod issuance;
pub mod issuer;
pub mod keys;
pub mod life;
mod node_keys;
pub mod orders;
pub mod passphrase;
pub mod person_key;
mod profile;
pub mod requests;
pub mod verify;

use std::path::{Path, PathBuf};

pub use federation::{Federation, NewNode};
pub use node_keys::NodeKeys;
use sanku_federation_protocol::notes::NoteRefused;
use sanku_values::DivisionCode;
pub use verify::{PeerIdentity, Reason, Refused, Role, judge_chain, verify_chain};

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
    /// Not a file of the kind that it should be.
    #[error("{path} 不是{what}，或已损坏 is not {what}, or damaged; restore it from the backup", path = .0.display(), what = .1)]
    NotAFile(PathBuf, &'static str),
    /// The passphrase does not open it.
    #[error("{path} 口令不对，或文件被改动 does not open with this passphrase, or was changed; try again, or restore it from the backup", path = .0.display())]
    Passphrase(PathBuf),
    /// A passphrase that is too short.
    #[error("口令不足 {0} 个字符 a passphrase has at least {0} characters; choose a longer one, such as a sentence")]
    ShortPassphrase(usize),
    /// Not the custodians of the root's key, or not different people.
    #[error(
        "根密钥由三名不同保管人持有，须其中两名各以自己的口令打开 the root's key is held by three different custodians with three different passphrases, and opened by two of them"
    )]
    Custodians,
    /// Certificate and key do not belong together.
    #[error("{path} 与私钥不配对 does not belong to the private key keys/tls.key", path = .0.display())]
    Pair(PathBuf),
    /// It is there already; nothing was overwritten.
    #[error("{path} 已存在，未覆盖 exists already; nothing was overwritten", path = .0.display())]
    Exists(PathBuf),
    /// The directory holds no federation.
    #[error("{path} 中没有联邦 holds no federation; found one: sanku federation init {path}", path = .0.display())]
    NoFederation(PathBuf),
    /// The node is in the federation already.
    #[error("{0} 已在联邦中，未作更改 is in the federation already; nothing was changed")]
    AlreadyMember(DivisionCode),
    /// The node is not in the federation, or left it.
    #[error("{0} 不在联邦中 is not in the federation; add it first: sanku federation add {0}")]
    NotMember(DivisionCode),
    /// The code does not belong to the federation's province.
    #[error("{0} 不属于 {1} does not lie below the federation's province {1}")]
    OutsideProvince(DivisionCode, DivisionCode),
    /// Not an address.
    #[error("{0} 不是 地址:端口 is not HOST:PORT, as in 127.0.0.1:7443 or [::1]:7443")]
    Endpoint(String),
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

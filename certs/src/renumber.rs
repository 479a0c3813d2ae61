//! A new log number (换新日志号), the node's side: keys for the next log and a new witness key beside the old ones, which stay;
//! and the request for the registry's publisher, a note with public parts alone, signed by the log before and by the next one.

use std::path::Path;
use std::time::Duration;

use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::notes::{NodeRow, RawNote, sign};
use sanku_tlog::{Checkpoint, Hash, KeyType, SignedNote, SigningKey, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::CertsError;
use crate::keys::{KeyFiles, random};
use crate::node_keys::{LOG, WITNESS, file_of, seed_in};

/// How old a request may be: whoever waited longer asks anew, since more may be known of the log before.
const GOOD_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clocks may differ by this much.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// What a node asks of the registry's publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The node.
    pub code: DivisionCode,
    /// The log before goes on until the next is opened; else it is closed at once.
    pub planned: bool,
    /// The number of the log before.
    pub before: u32,
    /// How many entries of it the node's database holds.
    pub holds: u64,
    /// Checkpoints of it that anybody was heard to remember, as they were signed.
    pub seen: Vec<String>,
    /// The next log's number.
    pub number: u32,
    /// Its key.
    pub log: VerifierKey,
    /// The new witness key.
    pub witness: VerifierKey,
}

/// Keys for the next log.
#[derive(Debug)]
pub struct NextKeys {
    /// Signs the log.
    pub log: SigningKey,
    /// Signs others' checkpoints.
    pub witness: SigningKey,
}

/// A log's origin.
pub(crate) fn origin(federation: &FederationName, node: DivisionCode, number: u32) -> Origin {
    Origin {
        federation: federation.clone(),
        node,
        number,
    }
}

/// The name of a request.
pub(crate) fn name(federation: &FederationName, code: DivisionCode) -> String {
    format!("{federation}/renumber/{code}")
}

impl NextKeys {
    /// Makes the keys for a log number; those that are there already are used again. No older key is touched.
    pub fn make(
        folder: &Path,
        federation: &FederationName,
        code: DivisionCode,
        number: u32,
    ) -> Result<Self, CertsError> {
        let keys = KeyFiles::open(&folder.join("keys"), &folder.join("key-file"))?;
        for purpose in [LOG, WITNESS] {
            let fresh = || Ok(Zeroizing::new(random::<32>()?.to_vec()));
            keys.load_or_make(&file_of(purpose, number), fresh)?;
        }
        let key = |name: &str, kind, purpose| {
            let seed = seed_in(&keys, &file_of(purpose, number))?;
            SigningKey::from_seed(name, kind, *seed).map_err(|error| CertsError::Make(error.to_string()))
        };
        Ok(Self {
            log: key(&origin(federation, code, number).to_string(), KeyType::Ed25519, LOG)?,
            witness: key(&format!("{federation}/witness/{code}"), KeyType::CosignatureV1, WITNESS)?,
        })
    }
}

impl Request {
    /// Signs it with the key of the log before and the next one's.
    pub fn sign(
        &self,
        federation: &FederationName,
        before: &SigningKey,
        next: &SigningKey,
        now: Time,
    ) -> Result<SignedNote, CertsError> {
        let mut note = sign(&name(federation, self.code), now, self, before)?;
        let second = next.sign(note.text());
        note.add(second);
        Ok(note)
    }

    /// What both sides compare: the hash of a request's text.
    pub fn fingerprint(note: &SignedNote) -> Hash {
        Hash::of(note.text().as_bytes())
    }

    /// Reads a request and judges it by the node's row in the registry.
    ///
    /// # Errors
    /// If it is not signed by both logs' keys, is for another number than the next, or is older than seven days.
    pub fn read(
        bytes: &[u8],
        federation: &FederationName,
        row: impl Fn(DivisionCode) -> Option<NodeRow>,
        now: Time,
    ) -> Result<(Self, SignedNote), CertsError> {
        let refuse = |why: &str| CertsError::Make(format!("请求不成立 the request does not hold: {why}"));
        let raw = RawNote::parse(bytes)?;
        let this: Self = raw.content()?;
        if raw.name != name(federation, this.code) {
            return Err(refuse("另一联邦的 it is of another federation"));
        }
        let row = row(this.code).ok_or(CertsError::NotMember(this.code))?;
        let before = row.logs.iter().max_by_key(|log| log.number);
        let before = before.ok_or_else(|| refuse("登记中没有日志 the registry has no log of this node"))?;
        if row.logs.iter().any(|log| log.key == this.log) {
            return Err(refuse("此日志号已登记 this log stands in the registry already"));
        }
        if this.before != before.number || this.number != before.number + 1 {
            return Err(refuse(&format!(
                "下一个日志号是 {next}；在节点上重新运行 sanku log renew the next number is {next}: run `sanku log renew` on the node again",
                next = before.number + 1
            )));
        }
        let names = this.log.name() == origin(federation, this.code, this.number).to_string()
            && this.witness.name() == format!("{federation}/witness/{}", this.code);
        if !names || raw.signed_by(&before.key).is_err() || raw.signed_by(&this.log).is_err() {
            return Err(refuse(
                "没有旧、新两把日志密钥的签名 it does not bear the signatures of both logs' keys",
            ));
        }
        let made = Time::from_millis(i64::try_from(raw.number).unwrap_or(i64::MAX));
        if made > now.plus(SKEW) || now > made.plus(GOOD_FOR) {
            return Err(refuse(
                "超过 7 天或时钟不对；重新运行 sanku log renew it is older than 7 days, or a clock is wrong: run `sanku log renew` again",
            ));
        }
        Ok((this, raw.signed))
    }
}

/// The largest of these checkpoints, all of which this log's key signed; and whether two of them disagree at one size.
///
/// # Errors
/// If one is no checkpoint of this log.
pub fn largest(key: &VerifierKey, notes: &[String]) -> Result<(Option<Checkpoint>, bool), CertsError> {
    let mut all = Vec::new();
    for note in notes {
        let checkpoint = SignedNote::parse(note.as_bytes()).and_then(|note| Checkpoint::verify(&note, key));
        all.push(checkpoint.map_err(|_| {
            CertsError::Make(format!(
                "不是 {log} 签署的检查点 no checkpoint that {log} signed",
                log = key.name()
            ))
        })?);
    }
    let apart = |one: &Checkpoint| all.iter().any(|other| other.size == one.size && other.root != one.root);
    let apart = all.iter().any(apart);
    Ok((all.into_iter().max_by_key(|checkpoint| checkpoint.size), apart))
}

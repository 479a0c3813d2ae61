//! Proof of issuance (签发证明): before it signs a certificate an authority says so in its log and waits for the cosignature
//! that counts. The certificate carries the entry's line, its run proof and the cosigned checkpoint in a private extension,
//! so that a certificate that was made in secret shows it to everybody whom it meets.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_federation_protocol::acts::{CertificateIssue, Public};
use sanku_federation_protocol::entry::{Entry, LONGEST_ENTRY, Said};
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::statement::{LogKeys, VerifiedRun};
use sanku_federation_protocol::trust::Trust;
use sanku_federation_protocol::witness::cosigned;
use sanku_tlog::{Checkpoint, Hash, SignedNote, leaf_hash, root_of_run};
use sanku_values::{DivisionCode, Time};
use x509_parser::prelude::X509Certificate;

use crate::verify::{Reason, Refused};

/// The extension. It stands below the number that RFC 5612 keeps for examples, until there is one of the project's own;
/// nobody outside of a federation reads it.
pub(crate) const EXTENSION: &[u64] = &[1, 3, 6, 1, 4, 1, 32473, 3, 1];
/// Most octets of the text in it: an entry is short, and a checkpoint bears a cosignature of each city at most.
const LONGEST: usize = 32 << 10;
/// Deepest tree of a log: 2^63 entries.
const MOST_HASHES: usize = 63;

/// Whether a certificate must carry its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One that is there must hold; none is demanded, for not every node has such a certificate yet.
    IfThere,
    /// None without.
    Always,
}

/// An entry of an authority's log with its proof; not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuanceProof {
    line: Vec<u8>,
    checkpoint: Arc<SignedNote>,
    origin: Origin,
    index: u64,
    hashes: Vec<Hash>,
}

/// What a proof that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuance {
    /// What was issued.
    pub issue: CertificateIssue,
    /// Leaf hash of the entry.
    pub leaf: Hash,
    /// When the cosignature that counts was made.
    pub witnessed: Time,
}

fn wrong(why: &str) -> Refused {
    Refused::because(Reason::IssuanceProof, why)
}

impl IssuanceProof {
    /// The proof of one statement of a run; nothing if the run has none at this place. Whether it holds is judged by
    /// [`IssuanceProof::judge`].
    pub fn of(run: &VerifiedRun, place: usize) -> Option<Self> {
        let one = run.cut(place, 1)?;
        Some(Self {
            line: one.statements.first()?.line.to_vec(),
            checkpoint: one.checkpoint,
            origin: one.origin,
            index: one.first,
            hashes: one.proof,
        })
    }

    /// The same entry's proof with a checkpoint that bears more cosignatures.
    #[must_use]
    pub fn under(mut self, checkpoint: SignedNote) -> Self {
        self.checkpoint = Arc::new(checkpoint);
        self
    }

    /// The text in the extension: checkpoint, entry and run proof, each as a stream's line (PROTOCOL.md §4).
    pub fn text(&self) -> String {
        let mut text = format!(
            "C {}\nE {}\nP {} {}",
            STANDARD.encode(self.checkpoint.to_string()),
            String::from_utf8_lossy(&self.line),
            self.origin,
            self.index
        );
        for hash in &self.hashes {
            text.push(' ');
            text.push_str(&hash.to_base64());
        }
        text.push('\n');
        text
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (checkpoint, entry, proof) = (lines.next()?, lines.next()?, lines.next()?);
        if lines.next().is_some() {
            return None;
        }
        let checkpoint = STANDARD.decode(checkpoint.strip_prefix("C ")?).ok()?;
        let line = entry.strip_prefix("E ")?.as_bytes().to_vec();
        let mut parts = proof.strip_prefix("P ")?.split(' ');
        let origin = parts.next()?.parse().ok()?;
        let index = parts.next()?.parse().ok()?;
        let hashes: Vec<_> = parts.map(|hash| Hash::from_base64(hash).ok()).collect::<Option<_>>()?;
        let this = Self {
            line,
            checkpoint: Arc::new(SignedNote::parse(&checkpoint).ok()?),
            origin,
            index,
            hashes,
        };
        (this.line.len() <= LONGEST_ENTRY && this.hashes.len() <= MOST_HASHES && this.text() == text).then_some(this)
    }

    /// The extension for a certificate: a UTF8String with the text.
    pub(crate) fn extension(&self) -> rcgen::CustomExtension {
        let text = self.text().into_bytes();
        let mut content = vec![0x0c];
        content.extend(der_length(text.len()));
        content.extend(text);
        rcgen::CustomExtension::from_oid_content(EXTENSION, content)
    }

    /// The proof that a certificate carries; nothing if it carries none.
    ///
    /// # Errors
    /// If the extension is critical or not of its form.
    pub(crate) fn carried(certificate: &X509Certificate<'_>) -> Result<Option<Self>, Refused> {
        let found = certificate.extensions().iter().find(|extension| {
            extension
                .oid
                .iter()
                .is_some_and(|arcs| arcs.eq(EXTENSION.iter().copied()))
        });
        let Some(extension) = found else { return Ok(None) };
        if extension.critical {
            return Err(wrong("a critical proof of issuance"));
        }
        let text = utf8_string(extension.value).and_then(Self::parse);
        text.map(Some).ok_or_else(|| wrong("it cannot be read"))
    }

    /// Judges the proof: an act `certificate.issue` in the log of this authority's node, under a checkpoint that bears the
    /// cosignature that counts, signed with a key that was good when that was made.
    ///
    /// # Errors
    /// [`Reason::IssuanceProof`] with what does not hold.
    pub fn judge(&self, authority: DivisionCode, trust: &Trust) -> Result<Issuance, Refused> {
        let entry = Entry::parse(&self.line).map_err(|_| wrong("its entry is none"))?;
        if entry.log != self.origin || entry.log.node != authority || entry.log.federation != *trust.federation() {
            return Err(wrong("it stands in another log than the authority's"));
        }
        let issue = match &entry.said {
            Said::Act(act) => match act.public.as_deref() {
                Some(Public::Issue(issue)) => issue.clone(),
                _ => return Err(wrong("its entry issues nothing")),
            },
            _ => return Err(wrong("its entry is no act")),
        };
        let witnessed = cosigned(trust, authority, &self.checkpoint)
            .ok_or_else(|| wrong("its checkpoint lacks the cosignature that counts"))?;
        let key = trust.when_witnessed(witnessed).log_key(&self.origin);
        let key = key.map_err(|error| wrong(&error.to_string()))?;
        let checkpoint = Checkpoint::verify(&self.checkpoint, &key);
        let checkpoint = checkpoint.map_err(|_| wrong("its checkpoint is not of the authority's log"))?;
        let leaf = leaf_hash(&self.line);
        match root_of_run(&[leaf], self.index, checkpoint.size, &self.hashes) {
            Ok(root) if root == checkpoint.root => Ok(Issuance { issue, leaf, witnessed }),
            _ => Err(wrong("it does not lead to its checkpoint")),
        }
    }
}

/// Judges what a certificate carries, by its issuer: it holds, and says what the certificate says.
pub(crate) fn judge_carried(
    certificate: &X509Certificate<'_>,
    (code, authority): (DivisionCode, DivisionCode),
    trust: &Trust,
    demand: Demand,
) -> Result<(), Refused> {
    let Some(proof) = IssuanceProof::carried(certificate)? else {
        return match demand {
            Demand::IfThere => Ok(()),
            Demand::Always => Err(Refused::new(Reason::NoIssuanceProof)),
        };
    };
    let issue = proof.judge(authority, trust)?.issue;
    let validity = certificate.validity();
    let seconds = |time: Time| time.millis() / 1000;
    let differs = [
        (issue.code != code, "code"),
        (issue.key != Hash::of(certificate.public_key().raw), "key"),
        (issue.serial.octets() != certificate.raw_serial(), "serial"),
        (
            seconds(issue.not_before) != validity.not_before.timestamp(),
            "first second",
        ),
        (
            seconds(issue.not_after) != validity.not_after.timestamp(),
            "last second",
        ),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(Refused::because(Reason::IssuanceDiffers, what)),
        None => Ok(()),
    }
}

/// A length in DER.
fn der_length(length: usize) -> Vec<u8> {
    let octets = length.to_be_bytes();
    let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    match (length, u8::try_from(significant.len())) {
        (..0x80, _) | (_, Err(_)) => vec![significant.first().copied().unwrap_or_default()],
        (_, Ok(count)) => [&[0x80 | count], significant].concat(),
    }
}

/// What stands in a UTF8String, and nothing behind it.
fn utf8_string(der: &[u8]) -> Option<&str> {
    let rest = der.strip_prefix(&[0x0c])?;
    for head in 1..=4.min(rest.len()) {
        let (length, content) = rest.split_at(head);
        if length == der_length(content.len()) {
            return std::str::from_utf8(content).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests;

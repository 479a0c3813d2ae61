//! `sanku certs check`: judges one document with a chain, as the peer port would (profile `node`) or by RFC 5280 alone
//! (profile `path`). `certs/FORMATS.md` fixes the document and the reasons.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use sanku_federation_protocol::notes::{RawNote, Root};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::verify::lists::Lists;
use crate::verify::path::{self, Chain};
use crate::verify::{Reason, Refused, Role, verify_chain};

/// A document that cannot be judged: an error, and never an acceptance.
#[derive(Debug, thiserror::Error)]
#[error("文档无法判定 the document cannot be judged: {0}")]
pub struct NotADocument(String);

/// The verdict on a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the peer would be accepted.
    pub accepted: bool,
    /// A code of [`Reason`], or `ok`.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    roots: Vec<String>,
    #[serde(default)]
    intermediates: Vec<String>,
    leaf: String,
    #[serde(default)]
    crls: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    time: String,
    role: Role,
    #[serde(default)]
    expect: Option<String>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    #[default]
    Node,
    Path,
}

/// A document, taken apart: what is not of its form is refused here, before anything is judged.
struct Question {
    roots: Vec<CertificateDer<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    leaf: CertificateDer<'static>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    notes: Vec<Vec<u8>>,
    now: Time,
    role: Role,
    expect: Expect,
}

enum Expect {
    Node(Option<DivisionCode>),
    Path(Option<ServerName<'static>>),
}

/// Judges a document.
///
/// # Errors
/// If it is not of the form.
pub fn check(document: &[u8]) -> Result<Verdict, NotADocument> {
    let document: Document = serde_json::from_slice(document).map_err(|error| NotADocument(form(&error)))?;
    let question = document.question()?;
    let judged = match &question.expect {
        Expect::Node(expected) => question.as_node(*expected),
        Expect::Path(expected) => question.as_path(expected.as_ref()),
    };
    Ok(match judged {
        Ok(detail) => Verdict {
            accepted: true,
            reason: "ok",
            detail,
        },
        Err(refused) => Verdict {
            accepted: false,
            reason: refused.reason.code(),
            detail: refused.detail,
        },
    })
}

/// serde quotes what it met; a document holds nothing secret, but a whole certificate is no message.
fn form(error: &serde_json::Error) -> String {
    error.to_string().chars().take(200).collect()
}

impl Document {
    fn question(&self) -> Result<Question, NotADocument> {
        let wrong = |what: &str| NotADocument(what.to_owned());
        let time = OffsetDateTime::parse(&self.time, &Rfc3339)
            .map_err(|_| wrong("time 须为 RFC 3339 is no time of RFC 3339, as in 2026-03-01T00:00:00Z"))?;
        let millis = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000));
        let now = millis.ok().filter(|millis| *millis >= 0).map(Time::from_millis);
        let certificate = |text: &String| one(text, SectionKind::Certificate, "CERTIFICATE").map(CertificateDer::from);
        let list = |text: &String| one(text, SectionKind::Crl, "X509 CRL").map(CertificateRevocationListDer::from);
        let note = |text: &String| {
            STANDARD
                .decode(text)
                .map_err(|_| wrong("notes 须为 base64 are base64 of notes"))
        };
        if self.roots.is_empty() {
            return Err(wrong("roots 为空 is empty: name the roots that you trust"));
        }
        Ok(Question {
            roots: self.roots.iter().map(certificate).collect::<Result<_, _>>()?,
            intermediates: self.intermediates.iter().map(certificate).collect::<Result<_, _>>()?,
            leaf: certificate(&self.leaf)?,
            crls: self.crls.iter().map(list).collect::<Result<_, _>>()?,
            notes: self.notes.iter().map(note).collect::<Result<_, _>>()?,
            now: now.ok_or_else(|| wrong("time 早于 1970 年 lies before 1970"))?,
            role: self.role,
            expect: self.expected()?,
        })
    }

    fn expected(&self) -> Result<Expect, NotADocument> {
        let expect = self.expect.as_deref();
        match self.profile {
            Profile::Node => expect.map(str::parse).transpose().map(Expect::Node).map_err(|_| {
                NotADocument("expect 须为区划代码或 null is a division code or null under profile node".to_owned())
            }),
            Profile::Path => {
                let name = |text: &str| match text.parse::<IpAddr>() {
                    Ok(address) => Ok(ServerName::IpAddress(address.into())),
                    Err(_) => ServerName::try_from(text.to_owned()),
                };
                expect.map(name).transpose().map(Expect::Path).map_err(|_| {
                    NotADocument("expect 须为域名、IP 地址或 null is a DNS name, an address or null".to_owned())
                })
            }
        }
    }
}

/// The one PEM section of a text, of this kind.
fn one(text: &str, kind: SectionKind, label: &str) -> Result<Vec<u8>, NotADocument> {
    let wrong = || {
        NotADocument(format!(
            "每个 PEM 文本须恰含一个 {label} a text holds exactly one PEM section {label}"
        ))
    };
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    match (sections.next(), sections.next()) {
        (Some(Ok((found, der))), None) if found == kind => Ok(der),
        _ => Err(wrong()),
    }
}

impl Question {
    fn as_path(&self, expected: Option<&ServerName<'_>>) -> Result<String, Refused> {
        let lists = Lists::read(&self.crls)?;
        let chain = Chain {
            leaf: &self.leaf,
            intermediates: &self.intermediates,
            roots: &self.roots,
            lists: &lists,
            role: self.role,
            now: self.now,
        };
        let length = path::judge(&chain, |path| Ok(path.certificates.len()))?;
        if let Some(name) = expected {
            path::named(&self.leaf, name)?;
        }
        Ok(format!("{length} 级证书链成立 a path of {length} certificates holds"))
    }

    fn as_node(&self, expected: Option<DivisionCode>) -> Result<String, Refused> {
        let trust = self.trust()?;
        if !self.crls.is_empty() {
            // The notes decide; lists that are given beside them are obeyed as well.
            self.as_path(None)?;
        }
        let sent: Vec<_> = std::iter::once(self.leaf.clone())
            .chain(self.intermediates.iter().cloned())
            .collect();
        let identity = verify_chain(&sent, self.role, &trust, self.now)?;
        match expected {
            Some(expected) if expected != identity.code => Err(Refused::because(
                Reason::WrongNode,
                &format!("{} 而非 and not {expected}", identity.code),
            )),
            _ => Ok(format!("节点 node {}", identity.code)),
        }
    }

    /// What the notes say. They stand on the first root note among them, and its certificates are roots of the document:
    /// so whoever writes the document says whom they trust.
    fn trust(&self) -> Result<Trust, Refused> {
        let nothing = || Refused::new(Reason::NoNotes);
        let raw = self.notes.iter().filter_map(|bytes| RawNote::parse(bytes).ok());
        let first = raw
            .filter(|note| note.name.ends_with("/root"))
            .min_by_key(|note| note.number)
            .ok_or_else(nothing)?;
        let federation: FederationName = first
            .name
            .strip_suffix("/root")
            .and_then(|name| name.parse().ok())
            .ok_or_else(nothing)?;
        let root: Root = first.content().map_err(|_| nothing())?;
        let fingerprint = Hash::of(root.key.to_string().as_bytes());
        let notes = self.notes.iter().map(Vec::as_slice);
        let (trust, refused) = Trust::from_notes(federation, fingerprint, notes, self.now);
        if let Some(why) = refused.first() {
            return Err(Refused::because(
                Reason::NoNotes,
                &format!("公告不成立 a note does not hold: {why}"),
            ));
        }
        let (Some(root), Some(_), Some(_)) = (trust.root(), trust.delegation(), trust.registry()) else {
            return Err(nothing());
        };
        let given: Vec<_> = self.roots.iter().map(|root| STANDARD.encode(root)).collect();
        if root.certificates.iter().any(|certificate| !given.contains(certificate)) {
            let detail = "根公告中的证书不在 roots 中 the root note names a certificate that is not among roots";
            return Err(Refused::because(Reason::BadRoot, detail));
        }
        Ok(trust)
    }
}

#[cfg(test)]
mod tests;

//! The strict verifier, on top of webpki: the same code at the peer port in both directions.
//!
//! webpki accepts expired roots, leaves without the right key usage, and builds its own path through whatever was sent; a
//! closed federation needs its own rules (`rules`) on each certificate and on each link of the chain as it was sent.
//! Issuance proofs will be judged beside the delegation, once authorities make them.

mod rules;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore};
use sanku_federation_protocol::notes::{Authority, Root};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::trust::Trust;
use sanku_values::{DivisionCode, Time};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who is on the other end, by a certificate that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node.
    pub code: DivisionCode,
    /// The certificate's serial, lower-case hex.
    pub serial: String,
    /// When it expires.
    pub not_after: Time,
}

impl PeerIdentity {
    /// Judges the peer again, at each request: its certificate's life and the notes as they are now.
    ///
    /// # Errors
    /// `peer_cert_expired`, `revoked`, `suspended` or `not_member`.
    pub fn judge(&self, trust: &Trust, now: Time) -> Result<(), ProblemKind> {
        if self.not_after < now {
            return Err(ProblemKind::PeerCertExpired);
        }
        if trust.is_revoked_serial(self.code, &self.serial) {
            return Err(ProblemKind::Revoked);
        }
        trust.judge_member(self.code)
    }
}

/// Why a chain is refused: a stable code and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refused {
    /// Stable.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl Refused {
    /// What a node says of a peer that it refuses for this reason.
    pub fn problem(&self) -> ProblemKind {
        match self.code {
            "expired" => ProblemKind::PeerCertExpired,
            "revoked" => ProblemKind::Revoked,
            "suspended" => ProblemKind::Suspended,
            _ => ProblemKind::NotMember,
        }
    }
}

fn refuse(code: &'static str, detail: impl Into<String>) -> Refused {
    Refused {
        code,
        detail: detail.into(),
    }
}

/// Judges a chain, leaf first, as the peer port does. The root is not part of it: it comes from the root note.
///
/// # Errors
/// The first rule that does not hold.
pub fn verify_chain(chain: &[CertificateDer<'_>], trust: &Trust, now: Time) -> Result<PeerIdentity, Refused> {
    let root = trust
        .root()
        .ok_or_else(|| refuse("no_notes", "没有根公告 no root note is at hand"))?;
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or_else(|| refuse("no_certificate", "没有证书 no certificate"))?;
    if chain.len() > 3 {
        return Err(refuse("too_deep", "证书链超过三级 the chain is deeper than three"));
    }
    let roots = roots(root, now)?;
    by_webpki(leaf, intermediates, &roots, now)?;
    let certificates = chain.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
    linked(&certificates, &roots)?;
    let identity = rules::leaf(&certificates[0], trust.federation())?;
    let authorities = delegated(intermediates, trust, now)?;
    for (authority, certificate) in authorities.iter().zip(&certificates[1..]) {
        rules::authority(certificate, authority.code)?;
    }
    within_subtrees(identity.code, &authorities)?;
    identity.judge(trust, now).map_err(|kind| match kind {
        ProblemKind::PeerCertExpired => refuse("expired", "证书已过期 the certificate has expired"),
        kind => refuse(kind.as_str(), kind.title()),
    })?;
    Ok(identity)
}

/// The root's certificates that are good now: webpki does not look at the life of what it trusts.
fn roots(root: &Root, now: Time) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let bad = || {
        refuse(
            "bad_root",
            "根公告中的证书不成立 the root note holds no certificate of a root",
        )
    };
    let (mut good, mut later) = (Vec::new(), false);
    for text in &root.certificates {
        let der = CertificateDer::from(STANDARD.decode(text).map_err(|_| bad())?);
        let certificate = read(&der).map_err(|_| bad())?;
        rules::root(&certificate)?;
        if rules::within(&certificate, now) {
            good.push(der);
        } else {
            later |= certificate.validity().not_before.timestamp() > now.millis() / 1000;
        }
    }
    if good.is_empty() && later {
        Err(refuse(
            "not_valid_yet",
            "根证书尚未生效 the root's certificate is not valid yet",
        ))
    } else if good.is_empty() {
        Err(refuse(
            "root_expired",
            "根证书已过期 the root's certificate has expired",
        ))
    } else {
        Ok(good)
    }
}

fn by_webpki(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &[CertificateDer<'static>],
    now: Time,
) -> Result<(), Refused> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root.clone())
            .map_err(|error| refuse("bad_root", error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // No list of revocations: revocation is the notes', which are never absent and have dates.
    let webpki = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| refuse("bad_root", error.to_string()))?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.millis().unsigned_abs()));
    let said = |error| match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            refuse("expired", "证书已过期 a certificate has expired")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => refuse("not_valid_yet", "证书尚未生效 a certificate is not valid yet"),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            refuse("unknown_issuer", "不是本联邦签发 not issued by this federation")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::BadSignature | CertificateError::UnsupportedSignatureAlgorithmContext { .. },
        ) => refuse("bad_signature", "签名不成立 a signature does not hold"),
        other => refuse("bad_chain", other.to_string()),
    };
    webpki
        .verify_client_cert(leaf, intermediates, time)
        .map(drop)
        .map_err(said)
}

fn read<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refused> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(refuse("malformed", "bytes are left over behind a certificate")),
        Err(_) => Err(refuse("malformed", "证书无法读取 a certificate cannot be read")),
    }
}

/// Each certificate was issued by the next one as sent, the last by a root. webpki would also find a path through
/// intermediates in another order, and the subtree rule would then judge an authority that did not issue the leaf.
fn linked(chain: &[X509Certificate<'_>], roots: &[CertificateDer<'_>]) -> Result<(), Refused> {
    let not = || {
        refuse(
            "unknown_issuer",
            "证书链不相连 a certificate was not issued by the next in the chain",
        )
    };
    for pair in chain.windows(2) {
        if !rules::issued_by(&pair[0], &pair[1]) {
            return Err(not());
        }
    }
    let last = chain.last().ok_or_else(not)?;
    for root in roots {
        if rules::issued_by(last, &read(root)?) {
            return Ok(());
        }
    }
    Err(not())
}

/// The delegation's row of every authority in the chain, each in force.
fn delegated<'a>(
    intermediates: &[CertificateDer<'_>],
    trust: &'a Trust,
    now: Time,
) -> Result<Vec<&'a Authority>, Refused> {
    let delegation = trust
        .delegation()
        .ok_or_else(|| refuse("no_notes", "没有授权公告 no delegation is at hand"))?;
    let mut found = Vec::new();
    for certificate in intermediates {
        let encoded = STANDARD.encode(certificate);
        let mut rows = delegation.authorities.iter();
        let authority = rows.find(|row| row.certificate == encoded).ok_or_else(|| {
            let detail = "发证机构不在授权公告中 the delegation does not name this authority";
            refuse("unknown_issuer", detail)
        })?;
        if now < authority.from || now > authority.until {
            let detail = "发证机构的授权不在有效期内 the authority's delegation is not in force";
            return Err(refuse("authority_expired", detail));
        }
        found.push(authority);
    }
    Ok(found)
}

/// An authority issues for codes below its own and for its own node; an authority above it stands above its code.
fn within_subtrees(code: DivisionCode, authorities: &[&Authority]) -> Result<(), Refused> {
    let outside = || {
        refuse(
            "outside_subtree",
            "发证机构越权 an authority issued outside its subtree",
        )
    };
    let issuer = authorities
        .first()
        .ok_or_else(|| refuse("unknown_issuer", "没有发证机构的证书 no authority's certificate"))?;
    if code != issuer.code && !code.is_below(issuer.code) {
        return Err(outside());
    }
    let nested = |pair: &[&Authority]| pair[0].code.is_below(pair[1].code);
    if authorities.windows(2).all(nested) {
        Ok(())
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests;

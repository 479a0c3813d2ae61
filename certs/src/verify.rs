//! The strict verifier, on top of webpki: the same code at the peer port in both directions.
//!
//! webpki accepts expired roots, leaves without the right key usage, and more; a closed federation needs its own profile.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::trust::Trust;
use sanku_values::{DivisionCode, Time};
use x509_parser::prelude::*;

/// Longest life of a node's certificate, with the five minutes that it begins earlier.
const LONGEST_LIFE_SECONDS: i64 = 31 * 24 * 3600;

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

/// Why a chain is refused: a stable code and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refused {
    /// Stable.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

fn refuse(code: &'static str, detail: impl Into<String>) -> Refused {
    Refused {
        code,
        detail: detail.into(),
    }
}

/// Judges a chain, leaf first, as the peer port does.
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
    let mut roots = RootCertStore::empty();
    for text in &root.certificates {
        let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)
            .map_err(|_| refuse("bad_root", "the root note holds no certificate"))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| refuse("bad_root", "the root note holds no certificate"))?;
        // webpki does not look at the validity of what it trusts.
        if within(&certificate, now) {
            roots
                .add(CertificateDer::from(der))
                .map_err(|_| refuse("bad_root", "the root note holds no certificate"))?;
        }
    }
    if roots.is_empty() {
        return Err(refuse(
            "root_expired",
            "根证书已过期 the root's certificate has expired",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let webpki = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refuse("bad_root", error.to_string()))?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.millis().unsigned_abs()));
    webpki
        .verify_client_cert(leaf, intermediates, time)
        .map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                refuse("expired", "证书已过期 a certificate has expired")
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => refuse("not_valid_yet", "证书尚未生效 a certificate is not valid yet"),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                refuse("unknown_issuer", "不是本联邦签发 not issued by this federation")
            }
            other => refuse("bad_chain", other.to_string()),
        })?;
    let identity = leaf_profile(leaf, trust)?;
    issued_by_authority(identity.code, intermediates, trust, now)?;
    trust
        .judge_member(identity.code)
        .map_err(|kind| refuse(kind.as_str(), kind.title()))?;
    if trust.is_revoked_serial(identity.code, &identity.serial) {
        return Err(refuse(ProblemKind::Revoked.as_str(), ProblemKind::Revoked.title()));
    }
    Ok(identity)
}

fn within(certificate: &X509Certificate<'_>, now: Time) -> bool {
    let seconds = now.millis() / 1000;
    certificate.validity().not_before.timestamp() <= seconds && seconds <= certificate.validity().not_after.timestamp()
}

/// The leaf's own profile.
fn leaf_profile(der: &CertificateDer<'_>, trust: &Trust) -> Result<PeerIdentity, Refused> {
    let profile = |detail: &str| refuse("profile", detail);
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| profile("it cannot be read"))?;
    if !rest.is_empty() {
        return Err(profile("bytes are left over"));
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| profile("SANs that cannot be read"))?
        .ok_or_else(|| profile("no SAN"))?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(profile("not exactly one URI SAN"));
    };
    let code = uri
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.strip_prefix(trust.federation().as_str()))
        .and_then(|rest| rest.strip_prefix("/node/"))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| profile("the URI SAN names no node of this federation"))?;
    let usage = certificate
        .key_usage()
        .map_err(|_| profile("key usage"))?
        .ok_or_else(|| profile("no key usage"))?;
    if !usage.critical || usage.value.flags != 1 {
        return Err(profile("key usage is not digitalSignature alone, critical"));
    }
    let extended = certificate
        .extended_key_usage()
        .map_err(|_| profile("extended key usage"))?
        .ok_or_else(|| profile("no extended key usage"))?
        .value;
    let exact = extended.server_auth
        && extended.client_auth
        && !extended.any
        && !extended.code_signing
        && !extended.email_protection
        && !extended.time_stamping
        && !extended.ocsp_signing
        && extended.other.is_empty();
    if !exact {
        return Err(profile("extended key usage is not serverAuth and clientAuth"));
    }
    if certificate.is_ca() {
        return Err(profile("a leaf that is an authority"));
    }
    let validity = certificate.validity();
    if validity.not_after.timestamp() - validity.not_before.timestamp() > LONGEST_LIFE_SECONDS {
        return Err(profile("it lives longer than 31 days"));
    }
    let serial = certificate.raw_serial();
    if serial.len() != 16 {
        return Err(profile("the serial is not of 16 octets"));
    }
    let has = |wanted: &dyn Fn(&ParsedExtension<'_>) -> bool| {
        certificate
            .extensions()
            .iter()
            .any(|extension| wanted(extension.parsed_extension()))
    };
    if !has(&|extension| matches!(extension, ParsedExtension::AuthorityKeyIdentifier(_)))
        || !has(&|extension| matches!(extension, ParsedExtension::SubjectKeyIdentifier(_)))
    {
        return Err(profile("no authority or subject key identifier"));
    }
    Ok(PeerIdentity {
        code,
        serial: hex::encode(serial),
        not_after: Time::from_millis(validity.not_after.timestamp() * 1000),
    })
}

/// An authority of the delegation issued it, for a code below its own or its own node.
fn issued_by_authority(
    code: DivisionCode,
    intermediates: &[CertificateDer<'_>],
    trust: &Trust,
    now: Time,
) -> Result<(), Refused> {
    let delegation = trust
        .delegation()
        .ok_or_else(|| refuse("no_notes", "没有授权公告 no delegation is at hand"))?;
    let issuer = intermediates
        .first()
        .ok_or_else(|| refuse("unknown_issuer", "no authority's certificate"))?;
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, issuer);
    let authority = delegation
        .authorities
        .iter()
        .find(|authority| authority.certificate == encoded);
    let authority = authority.ok_or_else(|| {
        refuse(
            "unknown_issuer",
            "发证机构不在授权公告中 the delegation does not name this authority",
        )
    })?;
    if now < authority.from || now > authority.until {
        return Err(refuse(
            "authority_expired",
            "the authority's delegation is not in force",
        ));
    }
    if code != authority.code && !code.is_below(authority.code) {
        return Err(refuse(
            "outside_subtree",
            "发证机构越权 the authority issued outside its subtree",
        ));
    }
    Ok(())
}

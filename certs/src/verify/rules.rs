//! What each certificate must say, by RFC 5280 and the profiles of [`crate::profile`].

use sanku_values::{DivisionCode, FederationName, Level, Time};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ED25519};
use x509_parser::prelude::{X509Certificate, X509Version};

use super::{PeerIdentity, Refused, refuse};

/// Longest life of a node's certificate.
const LONGEST_LIFE_SECONDS: i64 = 31 * 24 * 3600;

fn profile(detail: &str) -> Refused {
    refuse("profile", detail)
}

/// Whether an instant lies in a certificate's life.
pub(super) fn within(certificate: &X509Certificate<'_>, now: Time) -> bool {
    let seconds = now.millis() / 1000;
    certificate.validity().not_before.timestamp() <= seconds && seconds <= certificate.validity().not_after.timestamp()
}

/// Whether this issuer issued it: names, key identifiers and signature.
pub(super) fn issued_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && authority_key(certificate).is_some_and(|key| Some(key) == subject_key(issuer))
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

fn subject_key<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        })
}

fn authority_key<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref().map(|key| key.0),
            _ => None,
        })
}

/// What holds for every certificate.
fn every(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    if certificate.version() != X509Version::V3 {
        return Err(profile("not version 3"));
    }
    // The map refuses an extension that stands twice.
    certificate
        .extensions_map()
        .map_err(|_| profile("an extension stands twice"))?;
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let known = algorithm.algorithm == OID_SIG_ED25519
        || algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
    if !known {
        return Err(refuse(
            "key_type",
            "密钥类型不允许 the key is not of P-256, P-384 or Ed25519",
        ));
    }
    let serial = certificate.raw_serial();
    let positive = serial.first().is_some_and(|first| first & 0x80 == 0) && serial.iter().any(|octet| *octet != 0);
    if !positive || serial.len() > 20 {
        return Err(profile("the serial is not a positive number of at most 20 octets"));
    }
    if subject_key(certificate).is_none() {
        return Err(profile("no subject key identifier"));
    }
    Ok(())
}

/// An issuer of certificates, and the length of path below it.
fn issuer(certificate: &X509Certificate<'_>) -> Result<Option<u32>, Refused> {
    every(certificate)?;
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| profile("basic constraints that cannot be read"))?
        .filter(|constraints| constraints.critical && constraints.value.ca)
        .ok_or_else(|| profile("an issuer without critical basic constraints"))?;
    certificate
        .key_usage()
        .map_err(|_| profile("key usage that cannot be read"))?
        .filter(|usage| usage.critical && usage.value.key_cert_sign())
        .ok_or_else(|| profile("an issuer whose key usage is not to sign certificates, critical"))?;
    Ok(constraints.value.path_len_constraint)
}

/// A root's certificate: an issuer that signed itself.
pub(super) fn root(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    let bad = |why: &str| refuse("bad_root", why);
    issuer(certificate).map_err(|refused| bad(&refused.detail))?;
    let own = certificate.issuer().as_raw() == certificate.subject().as_raw();
    if own && certificate.verify_signature(None).is_ok() {
        Ok(())
    } else {
        Err(bad("the root did not sign itself"))
    }
}

/// An issuing authority's certificate: at most one authority below a province's, none below a city's.
pub(super) fn authority(certificate: &X509Certificate<'_>, code: DivisionCode) -> Result<(), Refused> {
    let most = u32::from(code.level() == Level::Province);
    if issuer(certificate)?.is_none_or(|length| length > most) {
        return Err(profile("an authority whose path length is not limited by its level"));
    }
    Ok(())
}

/// A node's certificate, and the node that it names.
pub(super) fn leaf(certificate: &X509Certificate<'_>, federation: &FederationName) -> Result<PeerIdentity, Refused> {
    every(certificate)?;
    let code = named(certificate, federation)?;
    usages(certificate)?;
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| profile("basic constraints that cannot be read"))?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
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
    Ok(PeerIdentity {
        code,
        serial: hex::encode(serial),
        not_after: Time::from_millis(validity.not_after.timestamp() * 1000),
    })
}

/// Exactly one URI SAN, which names a node of this federation; beside it only names and addresses of endpoints.
fn named(certificate: &X509Certificate<'_>, federation: &FederationName) -> Result<DivisionCode, Refused> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| profile("SANs that cannot be read"))?
        .ok_or_else(|| profile("no SAN"))?;
    let mut code = None;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) if code.is_none() => {
                let named = uri
                    .strip_prefix("spiffe://")
                    .and_then(|rest| rest.strip_prefix(federation.as_str()))
                    .and_then(|rest| rest.strip_prefix("/node/"))
                    .and_then(|code| code.parse().ok())
                    .ok_or_else(|| profile("the URI SAN names no node of this federation"))?;
                code = Some(named);
            }
            GeneralName::URI(_) => return Err(profile("more than one URI SAN")),
            GeneralName::DNSName(_) | GeneralName::IPAddress(_) => {}
            _ => return Err(profile("a SAN that is no URI, name or address")),
        }
    }
    code.ok_or_else(|| profile("no URI SAN"))
}

/// Key usage digitalSignature alone, critical; extended key usage exactly serverAuth and clientAuth.
fn usages(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    let usage = certificate
        .key_usage()
        .map_err(|_| profile("key usage that cannot be read"))?
        .ok_or_else(|| profile("no key usage"))?;
    if !usage.critical || usage.value.flags != 1 {
        return Err(profile("key usage is not digitalSignature alone, critical"));
    }
    let extended = certificate
        .extended_key_usage()
        .map_err(|_| profile("extended key usage that cannot be read"))?
        .ok_or_else(|| profile("no extended key usage"))?
        .value;
    let more = extended.any
        || extended.code_signing
        || extended.email_protection
        || extended.time_stamping
        || extended.ocsp_signing
        || !extended.other.is_empty();
    if more || !extended.server_auth || !extended.client_auth {
        return Err(profile("extended key usage is not serverAuth and clientAuth"));
    }
    Ok(())
}

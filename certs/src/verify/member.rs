//! Profile `node`: what a node's and an authority's certificate must say beyond RFC 5280, and the notes' word on them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_federation_protocol::notes::Authority;
use sanku_federation_protocol::trust::Trust;
use sanku_values::{DivisionCode, FederationName, Level, Time};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::{PeerIdentity, Reason, Refused, fields};

/// Longest life of a node's certificate.
const LONGEST_LIFE_SECONDS: i64 = 31 * 24 * 3600;

fn profile(detail: &str) -> Refused {
    Refused::because(Reason::Profile, detail)
}

/// Keys of P-256, P-384 or Ed25519, and an identifier of its key, on every certificate of ours.
fn every(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    if !fields::ours(certificate) {
        return Err(Refused::because(Reason::KeyType, "not of P-256, P-384 or Ed25519"));
    }
    if fields::subject_key(certificate).is_none() {
        return Err(profile("no subject key identifier"));
    }
    Ok(())
}

/// An issuer's key usage stands there and is critical.
fn issuer(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    every(certificate)?;
    match certificate.key_usage() {
        Ok(Some(usage)) if usage.critical && usage.value.key_cert_sign() => Ok(()),
        _ => Err(profile(
            "an issuer whose key usage is not to sign certificates, critical",
        )),
    }
}

/// The federation's root signed itself, and nobody else did.
pub(super) fn root(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    issuer(certificate)?;
    if fields::self_issued(certificate) {
        Ok(())
    } else {
        Err(Refused::because(Reason::BadRoot, "it did not sign itself"))
    }
}

/// An issuing authority's certificate: at most one authority below a province's, none below a city's.
pub(super) fn authority(certificate: &X509Certificate<'_>, code: DivisionCode) -> Result<(), Refused> {
    issuer(certificate)?;
    let most = u32::from(code.level() == Level::Province);
    if fields::issuer(certificate)?.is_none_or(|length| length > most) {
        return Err(profile("an authority whose path length is not limited by its level"));
    }
    Ok(())
}

/// A node's certificate, and the node that it names.
pub(super) fn leaf(certificate: &X509Certificate<'_>, federation: &FederationName) -> Result<PeerIdentity, Refused> {
    every(certificate)?;
    let code = named(certificate, federation)?;
    usages(certificate)?;
    let validity = certificate.validity();
    if validity.not_after.timestamp() - validity.not_before.timestamp() > LONGEST_LIFE_SECONDS {
        return Err(Refused::because(Reason::Life, "more than 31 days"));
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
    match certificate.key_usage() {
        Ok(Some(usage)) if usage.critical && usage.value.flags == 1 => {}
        _ => return Err(profile("key usage is not digitalSignature alone, critical")),
    }
    let Ok(Some(extended)) = certificate.extended_key_usage() else {
        return Err(profile("no extended key usage"));
    };
    let extended = extended.value;
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

/// The delegation's row of an authority's certificate, in force.
pub(super) fn delegated<'a>(der: &[u8], trust: &'a Trust, now: Time) -> Result<&'a Authority, Refused> {
    let delegation = trust.delegation().ok_or_else(|| Refused::new(Reason::NoNotes))?;
    let encoded = STANDARD.encode(der);
    let mut rows = delegation.authorities.iter();
    let authority = rows
        .find(|row| row.certificate == encoded)
        .ok_or_else(|| Refused::new(Reason::NotDelegated))?;
    if now < authority.from || now > authority.until {
        return Err(Refused::new(Reason::AuthorityExpired));
    }
    Ok(authority)
}

/// An authority issues for codes below its own and for its own node; an authority above it stands above its code.
/// Whose authority issued.
pub(super) fn within_subtrees(code: DivisionCode, authorities: &[&Authority]) -> Result<DivisionCode, Refused> {
    let outside = || Refused::new(Reason::OutsideSubtree);
    let issuer = authorities
        .first()
        .ok_or_else(|| Refused::because(Reason::NotDelegated, "no authority between node and root"))?;
    if code != issuer.code && !code.is_below(issuer.code) {
        return Err(outside());
    }
    let nested = |pair: &[&Authority]| pair[0].code.is_below(pair[1].code);
    if authorities.windows(2).all(nested) {
        Ok(issuer.code)
    } else {
        Err(outside())
    }
}

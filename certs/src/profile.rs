//! What is issued: root, authority and node certificates (RFC 5280), by their profiles and not by anybody's wishes.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SerialNumber,
};
use sanku_values::{DivisionCode, FederationName, Time};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::CertsError;
use crate::keys::random;

const DAY: i64 = 24 * 3600 * 1000;
/// Clocks may differ by this much: a certificate holds from the start for whoever's clock lags.
const SKEW: i64 = 15 * 60 * 1000;

/// A key and its certificate.
pub struct Issued {
    /// PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
    /// DER.
    pub certificate: Vec<u8>,
}

fn at(time: Time) -> Result<OffsetDateTime, CertsError> {
    OffsetDateTime::from_unix_timestamp(time.millis() / 1000)
        .map_err(|_| CertsError::Make("a time out of range".to_owned()))
}

fn params(name: &str, from: Time, days: i64) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(Time::from_millis(from.millis() - SKEW))?;
    params.not_after = at(Time::from_millis(from.millis() + days * DAY))?;
    let mut serial = *random::<16>()?;
    // Sixteen octets whose number is positive and does not begin with nought.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn made(error: &rcgen::Error) -> CertsError {
    CertsError::Make(error.to_string())
}

/// The root: P-384, ten years, for authorities alone.
pub fn root(federation: &FederationName, now: Time) -> Result<Issued, CertsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(|error| made(&error))?;
    let mut params = params(&format!("{federation} root"), now, 3652)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(|error| made(&error))?;
    Ok(Issued {
        key: Zeroizing::new(key.serialize_der()),
        certificate: certificate.der().to_vec(),
    })
}

/// An issuing authority: P-256, two years; its path length is one at a province and nought at a city.
pub fn authority(
    federation: &FederationName,
    code: DivisionCode,
    root: &Issued,
    now: Time,
) -> Result<Issued, CertsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| made(&error))?;
    let mut params = params(&format!("{federation} authority {code}"), now, 730)?;
    let below = u8::from(code.level() == sanku_values::Level::Province);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer(root)?).map_err(|error| made(&error))?;
    Ok(Issued {
        key: Zeroizing::new(key.serialize_der()),
        certificate: certificate.der().to_vec(),
    })
}

/// A fresh key for TLS: P-256, PKCS #8.
pub fn node_key() -> Result<Zeroizing<Vec<u8>>, CertsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| made(&error))?;
    Ok(Zeroizing::new(key.serialize_der()))
}

/// A node's certificate over its key (PKCS #8): `life_days` long, one URI SAN with its code, its endpoints as DNS or IP
/// SANs.
pub fn node(
    federation: &FederationName,
    code: DivisionCode,
    hosts: &[String],
    key: &[u8],
    authority: &Issued,
    (now, life_days): (Time, i64),
) -> Result<Issued, CertsError> {
    issue(&node_params(federation, code, hosts, (now, life_days))?, key, authority)
}

/// What a node's certificate says.
pub(crate) fn node_params(
    federation: &FederationName,
    code: DivisionCode,
    hosts: &[String],
    (now, life_days): (Time, i64),
) -> Result<CertificateParams, CertsError> {
    let mut params = params(&format!("{federation} node {code}"), now, life_days)?;
    let text = |text: &str| {
        text.try_into()
            .map_err(|_| CertsError::Make(format!("{text}: 名称须为 ASCII a name that is not ASCII")))
    };
    params.subject_alt_names = vec![SanType::URI(text(&format!("spiffe://{federation}/node/{code}"))?)];
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(text(host)?),
        });
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Issues what was decided, over a key.
pub(crate) fn issue(params: &CertificateParams, key: &[u8], authority: &Issued) -> Result<Issued, CertsError> {
    let pair = KeyPair::try_from(key).map_err(|error| made(&error))?;
    let certificate = params
        .signed_by(&pair, &issuer(authority)?)
        .map_err(|error| made(&error))?;
    Ok(Issued {
        key: Zeroizing::new(key.to_vec()),
        certificate: certificate.der().to_vec(),
    })
}

fn issuer(issued: &Issued) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let key = KeyPair::try_from(issued.key.as_slice()).map_err(|error| made(&error))?;
    Issuer::from_ca_cert_der(&issued.certificate.clone().into(), key).map_err(|error| made(&error))
}

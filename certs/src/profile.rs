//! What is issued: root, authority and node certificates (RFC 5280), by their profiles and not by anybody's wishes.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SerialNumber,
};
use sanku_federation_protocol::acts::Serial;
use sanku_values::{DivisionCode, FederationName, Level, Time};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::CertsError;
use crate::keys::random;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks may differ by this much, and whoever's lags must not refuse what was just made.
const EARLIER: Duration = Duration::from_secs(15 * 60);
/// Life of the root's certificate, and of authorities' by their level.
const ROOT_DAYS: u32 = 3652;
const PROVINCE_DAYS: u32 = 730;
const CITY_DAYS: u32 = 365;
/// RFC 5280, upper bounds of a common name and of an organisation's name.
const LONGEST_NAME: usize = 64;

/// A key and its certificate.
pub(crate) struct Issued {
    /// PKCS #8.
    pub(crate) key: Zeroizing<Vec<u8>>,
    /// DER.
    pub(crate) certificate: Vec<u8>,
}

/// First and last second of a certificate, whole seconds.
pub(crate) type Life = (Time, Time);

/// A life that begins a little earlier than now.
pub(crate) fn life(now: Time, long: Duration) -> Life {
    let whole = |time: Time| Time::from_millis(time.millis().div_euclid(1000) * 1000);
    (whole(now.minus(EARLIER)), whole(now.plus(long)))
}

pub(crate) fn at(time: Time) -> Result<OffsetDateTime, CertsError> {
    OffsetDateTime::from_unix_timestamp(time.millis().div_euclid(1000))
        .map_err(|_| CertsError::Make("a time out of range".to_owned()))
}

/// A serial of sixteen octets.
pub(crate) fn serial() -> Result<Serial, CertsError> {
    Ok(Serial::from_random(*random::<16>()?))
}

fn params(
    federation: &FederationName,
    name: &str,
    serial: Serial,
    (first, last): Life,
) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // The federation's whole name stands in the SAN and in the notes; this one is for people.
    let organisation: String = federation.as_str().chars().take(LONGEST_NAME).collect();
    params.distinguished_name.push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(first)?;
    params.not_after = at(last)?;
    params.serial_number = Some(SerialNumber::from_slice(serial.octets()));
    Ok(params)
}

pub(crate) fn made(error: &rcgen::Error) -> CertsError {
    CertsError::Make(error.to_string())
}

/// What the root's certificate says: for authorities alone, two of them on a path at most.
pub(crate) fn root_params(federation: &FederationName, now: Time) -> Result<CertificateParams, CertsError> {
    let mut params = params(federation, "root", serial()?, life(now, DAY * ROOT_DAYS))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What an issuing authority's certificate says; its path length is one at a province and nought at a city.
pub(crate) fn authority_params(
    federation: &FederationName,
    code: DivisionCode,
    now: Time,
) -> Result<CertificateParams, CertsError> {
    let (below, days) = match code.level() {
        Level::Province => (1, PROVINCE_DAYS),
        _ => (0, CITY_DAYS),
    };
    let mut params = params(
        federation,
        &format!("authority {code}"),
        serial()?,
        life(now, DAY * days),
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// What a node's certificate says: one URI SAN with its code, its endpoints as DNS or IP SANs.
pub(crate) fn leaf_params(
    federation: &FederationName,
    code: DivisionCode,
    hosts: &[String],
    serial: Serial,
    life: Life,
) -> Result<CertificateParams, CertsError> {
    let mut params = params(federation, &format!("node {code}"), serial, life)?;
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

/// A root's certificate over its key (PKCS #8).
pub(crate) fn root_over(federation: &FederationName, key: &[u8], now: Time) -> Result<Vec<u8>, CertsError> {
    let pair = KeyPair::try_from(key).map_err(|error| made(&error))?;
    let certificate = root_params(federation, now)?.self_signed(&pair);
    Ok(certificate.map_err(|error| made(&error))?.der().to_vec())
}

/// A root: P-384, ten years.
pub(crate) fn root(federation: &FederationName, now: Time) -> Result<Issued, CertsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(|error| made(&error))?;
    let key = Zeroizing::new(key.serialize_der());
    Ok(Issued {
        certificate: root_over(federation, &key, now)?,
        key,
    })
}

/// An issuing authority: P-256, two years for a province and one for a city.
pub(crate) fn authority(
    federation: &FederationName,
    code: DivisionCode,
    root: &Issued,
    now: Time,
) -> Result<Issued, CertsError> {
    issue(&authority_params(federation, code, now)?, &node_key()?, root)
}

/// A fresh key of P-256, PKCS #8.
pub(crate) fn node_key() -> Result<Zeroizing<Vec<u8>>, CertsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| made(&error))?;
    Ok(Zeroizing::new(key.serialize_der()))
}

/// A node's certificate over its key (PKCS #8), `life_days` long.
pub(crate) fn node(
    federation: &FederationName,
    code: DivisionCode,
    hosts: &[String],
    key: &[u8],
    authority: &Issued,
    (now, life_days): (Time, u32),
) -> Result<Issued, CertsError> {
    issue(&node_params(federation, code, hosts, (now, life_days))?, key, authority)
}

/// What a node's certificate says that lives for some days.
pub(crate) fn node_params(
    federation: &FederationName,
    code: DivisionCode,
    hosts: &[String],
    (now, life_days): (Time, u32),
) -> Result<CertificateParams, CertsError> {
    leaf_params(federation, code, hosts, serial()?, life(now, DAY * life_days))
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

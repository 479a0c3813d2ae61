//! What RFC 5280 says of every certificate, of an issuer's and of a leaf: webpki looks at little of it.

use sanku_values::Time;
use x509_parser::extensions::{AuthorityKeyIdentifier, GeneralName, NameConstraints, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Extension, X509Version};
use x509_parser::public_key::PublicKey;

use super::names;
use super::{Reason, Refused};

/// Reads one certificate and nothing behind it.
pub(crate) fn read(der: &[u8]) -> Result<X509Certificate<'_>, Refused> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Refused::because(Reason::Malformed, "bytes are left over behind it")),
        Err(_) => Err(Refused::new(Reason::Malformed)),
    }
}

/// Whether an instant lies in a certificate's life; the last second belongs to it.
pub(super) fn within(certificate: &X509Certificate<'_>, now: Time) -> Result<(), Reason> {
    let seconds = now.millis().div_euclid(1000);
    if seconds < certificate.validity().not_before.timestamp() {
        Err(Reason::NotValidYet)
    } else if seconds > certificate.validity().not_after.timestamp() {
        Err(Reason::Expired)
    } else {
        Ok(())
    }
}

pub(crate) fn subject_key<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        })
}

pub(super) fn authority_key<'a, 'b>(extensions: &'b [X509Extension<'a>]) -> Option<&'b AuthorityKeyIdentifier<'a>> {
    extensions
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => Some(key),
            _ => None,
        })
}

/// Whether it names itself as its issuer.
pub(super) fn self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

fn because(reason: Reason, more: &str) -> Refused {
    Refused::because(reason, more)
}

/// What holds for every certificate.
fn every(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    if certificate.version() != X509Version::V3 {
        return Err(Refused::new(Reason::Version));
    }
    if certificate.issuer_uid.is_some() || certificate.subject_uid.is_some() {
        return Err(because(Reason::Names, "unique identifiers stand in it"));
    }
    if certificate.issuer().iter().next().is_none() {
        return Err(because(Reason::Names, "its issuer has no name"));
    }
    let serial = certificate.raw_serial();
    let positive = serial.first().is_some_and(|first| first & 0x80 == 0) && serial.iter().any(|octet| *octet != 0);
    if !positive || serial.len() > 20 {
        return Err(Refused::new(Reason::Serial));
    }
    if certificate.signature_algorithm != certificate.signature {
        return Err(because(Reason::Signature, "its two algorithms differ"));
    }
    written(certificate)?;
    key(certificate)?;
    // The map refuses an extension that stands twice.
    certificate
        .extensions_map()
        .map_err(|_| because(Reason::Extension, "one stands twice"))?;
    certificate
        .extensions()
        .iter()
        .try_for_each(|extension| judge_extension(certificate, extension))
}

/// Dates until 2049 in UTCTime, later ones in GeneralizedTime; the first is not after the last.
fn written(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    let validity = certificate.validity();
    for time in [validity.not_before, validity.not_after] {
        if time.is_utctime() != (1950..2050).contains(&time.to_datetime().year()) {
            return Err(because(Reason::Validity, "a date is written in the other form"));
        }
    }
    if validity.not_before > validity.not_after {
        return Err(because(Reason::Validity, "it ends before it begins"));
    }
    Ok(())
}

/// P-256, P-384 and Ed25519, and RSA of 2,048 to 8,192 bits in whole octets: what a signature can be checked with here.
fn key(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    let good = if ours(certificate) {
        true
    } else if certificate.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => {
                let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
                let whole = modulus.first().is_some_and(|first| first & 0x80 != 0);
                whole && (256..=1024).contains(&modulus.len()) && key.try_exponent().is_ok_and(|exponent| exponent > 2)
            }
            _ => false,
        }
    } else {
        false
    };
    if good {
        Ok(())
    } else {
        Err(Refused::new(Reason::KeyType))
    }
}

/// Whether a key is of the kinds that our own profile allows.
pub(super) fn ours(certificate: &X509Certificate<'_>) -> bool {
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    algorithm.algorithm == OID_SIG_ED25519
        || algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384)
}

/// Whether an extension can be read, is critical only where it may be, and holds what has its form.
fn judge_extension(certificate: &X509Certificate<'_>, extension: &X509Extension<'_>) -> Result<(), Refused> {
    let critical = extension.critical;
    let must_not = |why| {
        if critical {
            Err(because(Reason::Extension, why))
        } else {
            Ok(())
        }
    };
    let must = |why| {
        if critical {
            Ok(())
        } else {
            Err(because(Reason::Extension, why))
        }
    };
    match extension.parsed_extension() {
        ParsedExtension::ParseError { .. } => {
            Err(because(Reason::Extension, &format!("{} cannot be read", extension.oid)))
        }
        ParsedExtension::SubjectKeyIdentifier(key) if key.0.is_empty() => Err(Refused::new(Reason::KeyIdentifiers)),
        ParsedExtension::SubjectKeyIdentifier(_) => must_not("a critical subject key identifier"),
        ParsedExtension::AuthorityKeyIdentifier(key) => {
            must_not("a critical authority key identifier")?;
            // RFC 5280 §4.2.1.1: the key's identifier always; issuer and serial both or neither.
            if key.key_identifier.is_none()
                || key.authority_cert_issuer.is_some() != key.authority_cert_serial.is_some()
            {
                return Err(because(Reason::KeyIdentifiers, "the authority's is not whole"));
            }
            Ok(())
        }
        ParsedExtension::AuthorityInfoAccess(access) => {
            must_not("critical access to information about the authority")?;
            let named = access
                .accessdescs
                .iter()
                .all(|one| names::is_name(&one.access_location));
            if named {
                Ok(())
            } else {
                Err(because(Reason::Extension, "an address in it has no form"))
            }
        }
        ParsedExtension::SubjectInfoAccess(_) => must_not("critical access to information about the subject"),
        ParsedExtension::PolicyConstraints(_) => must("policy constraints that are not critical"),
        ParsedExtension::InhibitAnyPolicy(_) => must("inhibition of any policy that is not critical"),
        ParsedExtension::SubjectAlternativeName(found) => {
            let nameless = certificate.subject().iter().next().is_none();
            if nameless != critical {
                return Err(because(
                    Reason::Names,
                    "SANs are critical exactly where there is no subject",
                ));
            }
            if found.general_names.is_empty() || !found.general_names.iter().all(names::is_name) {
                return Err(because(Reason::Names, "a SAN has no form"));
            }
            Ok(())
        }
        ParsedExtension::NameConstraints(found) => {
            must("name constraints that are not critical")?;
            constraints(found)
        }
        ParsedExtension::UnsupportedExtension { .. } if critical => {
            Err(because(Reason::CriticalExtension, &extension.oid.to_string()))
        }
        ParsedExtension::KeyUsage(usage) if usage.flags == 0 => Err(because(Reason::KeyUsage, "it allows nothing")),
        _ => Ok(()),
    }
}

fn constraints(found: &NameConstraints<'_>) -> Result<(), Refused> {
    let bases: Vec<&GeneralName<'_>> = [&found.permitted_subtrees, &found.excluded_subtrees]
        .into_iter()
        .flatten()
        .flatten()
        .map(|subtree| &subtree.base)
        .collect();
    if bases.is_empty() || !bases.into_iter().all(names::is_constraint) {
        return Err(because(Reason::NameConstraints, "a constraint is empty or has no form"));
    }
    Ok(())
}

/// An issuer of certificates, and the length of path below it.
pub(super) fn issuer(certificate: &X509Certificate<'_>) -> Result<Option<u32>, Refused> {
    every(certificate)?;
    if certificate.subject().iter().next().is_none() {
        return Err(because(Reason::Names, "an issuer without a name"));
    }
    if subject_key(certificate).is_none() {
        return Err(because(
            Reason::KeyIdentifiers,
            "an issuer without a subject key identifier",
        ));
    }
    let constraints = certificate
        .basic_constraints()
        .ok()
        .flatten()
        .filter(|constraints| constraints.critical && constraints.value.ca)
        .ok_or_else(|| because(Reason::BasicConstraints, "an issuer without critical ones that say so"))?;
    if let Ok(Some(usage)) = certificate.key_usage()
        && !usage.value.key_cert_sign()
    {
        return Err(because(Reason::KeyUsage, "an issuer that may not sign certificates"));
    }
    Ok(constraints.value.path_len_constraint)
}

/// A root's certificate: an issuer in its life. Where it names itself as its issuer it has signed itself; where another
/// authority signed it too, it names that one's key.
pub(super) fn root(certificate: &X509Certificate<'_>, now: Time) -> Result<Option<u32>, Refused> {
    let length = issuer(certificate)?;
    let named = authority_key(certificate.extensions());
    if self_issued(certificate) {
        let wrong_key =
            |key: &AuthorityKeyIdentifier<'_>| key.key_identifier.as_ref().map(|key| key.0) != subject_key(certificate);
        if named.is_some_and(wrong_key) {
            return Err(because(
                Reason::KeyIdentifiers,
                "a root that names another key as its own authority's",
            ));
        }
        if certificate.verify_signature(None).is_err() {
            return Err(because(Reason::BadRoot, "it did not sign itself"));
        }
    } else if named.is_none() {
        return Err(because(Reason::KeyIdentifiers, "no authority key identifier"));
    }
    within(certificate, now).map_err(|reason| match reason {
        Reason::Expired => Refused::new(Reason::RootExpired),
        reason => because(reason, "根证书 the root's"),
    })?;
    Ok(length)
}

/// The certificate of whoever speaks: no issuer, and its key signs handshakes.
pub(super) fn leaf(certificate: &X509Certificate<'_>) -> Result<(), Refused> {
    every(certificate)?;
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| because(Reason::BasicConstraints, "they cannot be read"))?;
    if constraints.is_some_and(|constraints| constraints.value.ca || constraints.value.path_len_constraint.is_some()) {
        return Err(because(Reason::BasicConstraints, "a leaf that is an authority"));
    }
    if let Ok(Some(usage)) = certificate.key_usage()
        && (!usage.value.digital_signature() || usage.value.key_cert_sign() || usage.value.crl_sign())
    {
        return Err(because(
            Reason::KeyUsage,
            "a leaf signs handshakes, and neither certificates nor lists",
        ));
    }
    if matches!(certificate.name_constraints(), Ok(Some(_)) | Err(_)) {
        return Err(because(Reason::NameConstraints, "they stand in a leaf"));
    }
    Ok(())
}

/// Whether key identifiers lead from a certificate to its issuer.
pub(super) fn identified(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), Refused> {
    let Some(named) = authority_key(certificate.extensions()) else {
        return Err(because(Reason::KeyIdentifiers, "no authority key identifier"));
    };
    let serial_fits = named
        .authority_cert_serial
        .is_none_or(|serial| serial == issuer.raw_serial());
    if named.key_identifier.as_ref().map(|key| key.0) != subject_key(issuer) || !serial_fits {
        return Err(because(Reason::KeyIdentifiers, "the authority's is not its issuer's"));
    }
    Ok(())
}

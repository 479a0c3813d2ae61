//! The path from a leaf to a root: built by webpki, and every certificate on it held against RFC 5280 (`fields`) and
//! against the lists of revocations that were given. webpki searches on where a path is refused.

use std::cell::RefCell;

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use sanku_values::Time;
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::prelude::X509Certificate;

use super::lists::Lists;
use super::{Reason, Refused, fields};

/// In which role the leaf's owner speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It calls.
    Client,
    /// It is called.
    Server,
}

/// A chain, and what it is judged by.
pub(crate) struct Chain<'a> {
    pub(crate) leaf: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) roots: &'a [CertificateDer<'a>],
    pub(crate) lists: &'a Lists<'a>,
    pub(crate) role: Role,
    pub(crate) now: Time,
}

/// A path that holds: the leaf, its issuers, the root.
pub(crate) struct Path<'a> {
    pub(crate) certificates: Vec<X509Certificate<'a>>,
}

struct GoodRoot<'a> {
    certificate: X509Certificate<'a>,
    length: Option<u32>,
    anchor: TrustAnchor<'a>,
}

/// Judges a chain; `further` is asked about each path that holds so far.
pub(crate) fn judge<T>(chain: &Chain<'_>, further: impl Fn(&Path<'_>) -> Result<T, Refused>) -> Result<T, Refused> {
    let (roots, refused_root) = roots(chain)?;
    fields::leaf(&fields::read(chain.leaf)?)?;
    let end = EndEntityCert::try_from(chain.leaf).map_err(|error| said(&error))?;
    let anchors: Vec<_> = roots.iter().map(|root| root.anchor.clone()).collect();
    let provider = rustls::crypto::ring::default_provider();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(chain.now.millis().unsigned_abs()));
    let usage = match chain.role {
        Role::Client => KeyUsage::client_auth(),
        Role::Server => KeyUsage::server_auth(),
    };
    // The first refusal of a path that webpki had built, and what a path that holds says.
    let (first, found) = (RefCell::new(None), RefCell::new(None));
    let verify = |path: &VerifiedPath<'_>| -> Result<(), Error> {
        let held = on(path, chain, &roots).and_then(|path| further(&path));
        match held {
            Ok(value) => {
                *found.borrow_mut() = Some(value);
                Ok(())
            }
            Err(refused) => {
                first.borrow_mut().get_or_insert(refused);
                Err(Error::UnknownIssuer)
            }
        }
    };
    let built = end.verify_for_usage(
        provider.signature_verification_algorithms.all,
        &anchors,
        chain.intermediates,
        time,
        usage,
        None,
        Some(&verify),
    );
    let refused = match built {
        Ok(_) => return found.into_inner().ok_or_else(|| Refused::new(Reason::UnknownIssuer)),
        Err(error) => said(&error),
    };
    // What was wrong with a whole path says more than that there is none; so does a root that was put aside.
    let reason = first.into_inner();
    Err(match refused.reason {
        Reason::UnknownIssuer => reason.or(refused_root).unwrap_or(refused),
        _ => reason.unwrap_or(refused),
    })
}

/// The roots that hold now, and why the first of the others does not.
fn roots<'a>(chain: &Chain<'a>) -> Result<(Vec<GoodRoot<'a>>, Option<Refused>), Refused> {
    let (mut good, mut refused) = (Vec::new(), None);
    for der in chain.roots {
        let judged = fields::read(der).and_then(|certificate| {
            let length = fields::root(&certificate, chain.now)?;
            let anchor = anchor_from_trusted_cert(der).map_err(|error| said(&error))?;
            Ok(GoodRoot {
                certificate,
                length,
                anchor,
            })
        });
        match judged {
            Ok(root) => good.push(root),
            Err(why) => drop(refused.get_or_insert(match why.reason {
                Reason::RootExpired | Reason::NotValidYet | Reason::BadRoot => why,
                _ => Refused::because(Reason::BadRoot, &why.detail),
            })),
        }
    }
    match refused {
        Some(refused) if good.is_empty() => Err(refused),
        None if good.is_empty() => Err(Refused::because(Reason::BadRoot, "没有根证书 none is given")),
        refused => Ok((good, refused)),
    }
}

/// Holds a path that webpki built against everything that webpki does not look at.
fn on<'p>(path: &VerifiedPath<'_>, chain: &Chain<'p>, roots: &'p [GoodRoot<'p>]) -> Result<Path<'p>, Refused> {
    let mut certificates = vec![fields::read(chain.leaf)?];
    for certificate in path.intermediate_certificates() {
        // webpki's own bytes live as long as what was sent: find them there.
        let der = certificate.der();
        let sent = chain.intermediates.iter().find(|sent| sent.as_ref() == der.as_ref());
        certificates.push(fields::read(sent.ok_or_else(|| Refused::new(Reason::NotLinked))?)?);
    }
    let (mut tried, mut below) = (None, 0_u32);
    for certificate in &certificates[1..] {
        if fields::issuer(certificate)?.is_some_and(|length| below > length) {
            return Err(Refused::new(Reason::PathLength));
        }
        below += u32::from(!fields::self_issued(certificate));
    }
    for pair in certificates.windows(2) {
        fields::identified(&pair[0], &pair[1])?;
    }
    let anchor = path.anchor();
    let fits = |root: &&GoodRoot<'_>| {
        root.anchor.subject == anchor.subject && root.anchor.subject_public_key_info == anchor.subject_public_key_info
    };
    // The same key may stand in several certificates of a root: one that allows the path is enough.
    for root in roots.iter().filter(fits) {
        let allowed = if root.length.is_some_and(|length| below > length) {
            Err(Refused::new(Reason::PathLength))
        } else {
            certificates
                .last()
                .map_or(Ok(()), |last| fields::identified(last, &root.certificate))
        };
        match allowed {
            Ok(()) => {
                certificates.push(root.certificate.clone());
                chain.lists.judge(&certificates, chain.now)?;
                return Ok(Path { certificates });
            }
            Err(refused) => tried = Some(refused),
        }
    }
    Err(tried.unwrap_or_else(|| Refused::new(Reason::UnknownIssuer)))
}

/// Whether the leaf is for a DNS name or an address.
pub(crate) fn named(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Refused> {
    let end = EndEntityCert::try_from(leaf).map_err(|error| said(&error))?;
    end.verify_is_valid_for_subject_name(name)
        .map_err(|_| Refused::new(Reason::WrongName))
}

/// webpki's errors in our words.
fn said(error: &Error) -> Refused {
    let reason = match error {
        Error::CertExpired { .. } => Reason::Expired,
        Error::CertNotValidYet { .. } => Reason::NotValidYet,
        Error::InvalidCertValidity | Error::BadDerTime => Reason::Validity,
        Error::UnknownIssuer => Reason::UnknownIssuer,
        Error::InvalidSignatureForPublicKey
        | Error::SignatureAlgorithmMismatch
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Reason::Signature,
        Error::CaUsedAsEndEntity | Error::EndEntityUsedAsCa => Reason::BasicConstraints,
        Error::PathLenConstraintViolated => Reason::PathLength,
        Error::NameConstraintViolation | Error::InvalidNetworkMaskConstraint | Error::MalformedNameConstraint => {
            Reason::NameConstraints
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Reason::ExtendedKeyUsage,
        Error::UnsupportedCriticalExtension => Reason::CriticalExtension,
        Error::MaximumPathDepthExceeded => Reason::TooDeep,
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded => Reason::TooCostly,
        Error::InvalidSerialNumber => Reason::Serial,
        Error::UnsupportedCertVersion => Reason::Version,
        Error::ExtensionValueInvalid | Error::MalformedExtensions => Reason::Extension,
        _ => Reason::Malformed,
    };
    Refused::because(reason, &error.to_string())
}

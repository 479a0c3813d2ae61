//! RFC 5280 lists of revocations, for chains that are judged outside the peer port. A list that is given is enforced for
//! every authority that it covers: its signature, number and dates too. None is demanded.

use rustls::pki_types::CertificateRevocationListDer;
use sanku_values::Time;
use webpki::BorrowedCertRevocationList;
use x509_parser::extensions::{IssuingDistributionPoint, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509Version};

use super::{Reason, Refused, fields};

/// The lists at hand.
#[derive(Default)]
pub(crate) struct Lists<'a> {
    lists: Vec<List<'a>>,
}

struct List<'a> {
    list: CertificateRevocationList<'a>,
    /// Its number, without leading noughts: longer is larger.
    number: Vec<u8>,
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Users,
    Authorities,
}

impl<'a> Lists<'a> {
    /// Reads lists. One that cannot be read, or is of another kind, is refused whether or not it covers anybody.
    pub(crate) fn read(ders: &'a [CertificateRevocationListDer<'a>]) -> Result<Self, Refused> {
        let lists = ders.iter().map(List::read).collect::<Result<_, _>>()?;
        Ok(Self { lists })
    }

    /// Judges a path, leaf first, root last: each certificate by the lists that cover its issuer.
    pub(super) fn judge(&self, path: &[X509Certificate<'_>], now: Time) -> Result<(), Refused> {
        for (place, pair) in path.windows(2).enumerate() {
            let kinds: &[Scope] = if place == 0 {
                &[Scope::All, Scope::Users]
            } else {
                &[Scope::All, Scope::Authorities]
            };
            for scope in kinds {
                self.judge_one(&pair[0], &pair[1], *scope, now)?;
            }
        }
        Ok(())
    }

    fn judge_one(
        &self,
        certificate: &X509Certificate<'_>,
        issuer: &X509Certificate<'_>,
        scope: Scope,
        now: Time,
    ) -> Result<(), Refused> {
        let named = |list: &&List<'_>| list.scope == scope && list.list.issuer().as_raw() == issuer.subject().as_raw();
        let covering: Vec<_> = self.lists.iter().filter(named).collect();
        if covering.is_empty() {
            return Ok(());
        }
        // Another authority may bear the same name: its lists count for nothing, and do not stand for this one's.
        let (signed, others): (Vec<_>, Vec<_>) = covering
            .into_iter()
            .partition(|list| list.list.verify_signature(issuer.public_key()).is_ok());
        let meant = |list: &&List<'_>| list.names_key_of(issuer) == Some(true);
        if signed.is_empty() || others.iter().any(meant) {
            return Err(Refused::new(Reason::CrlSignature));
        }
        if matches!(issuer.key_usage(), Ok(Some(usage)) if !usage.value.crl_sign()) {
            return Err(Refused::new(Reason::CrlIssuer));
        }
        if signed.iter().any(|list| list.names_key_of(issuer) == Some(false)) {
            return Err(Refused::because(
                Reason::CrlMalformed,
                "it names another key than signed it",
            ));
        }
        // Of one authority's lists the highest number counts: what it replaced may have expired.
        let newest = signed.iter().map(|list| list.order()).max();
        for list in signed.iter().filter(|list| Some(list.order()) == newest) {
            list.in_force(now)?;
            let serial = certificate.raw_serial();
            if list
                .list
                .iter_revoked_certificates()
                .any(|row| same_number(row.raw_serial(), serial))
            {
                return Err(Refused::because(Reason::Revoked, "on a revocation list 在吊销列表中"));
            }
        }
        Ok(())
    }
}

impl<'a> List<'a> {
    fn read(der: &'a CertificateRevocationListDer<'a>) -> Result<Self, Refused> {
        let malformed = |why: &str| Refused::because(Reason::CrlMalformed, why);
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return Err(Refused::new(Reason::CrlMalformed));
        };
        if list.version() != Some(X509Version::V2) || list.next_update().is_none() {
            return Err(malformed("not version 2, or without its next update"));
        }
        let number = number(&list)?;
        let scope = scope(&list)?;
        // The second reader knows which extensions of lists and rows it understands, and refuses critical others.
        BorrowedCertRevocationList::from_der(der).map_err(|error| match error {
            webpki::Error::UnsupportedDeltaCrl
            | webpki::Error::UnsupportedIndirectCrl
            | webpki::Error::UnsupportedCriticalExtension
            | webpki::Error::UnsupportedCrlIssuingDistributionPoint
            | webpki::Error::UnsupportedRevocationReasonsPartitioning => {
                Refused::because(Reason::CrlUnsupported, &error.to_string())
            }
            webpki::Error::InvalidCrlNumber => Refused::new(Reason::CrlNumber),
            other => malformed(&other.to_string()),
        })?;
        Ok(Self { list, number, scope })
    }

    fn order(&self) -> (usize, &[u8]) {
        (self.number.len(), &self.number)
    }

    /// Whether its authority key identifier is this issuer's; nothing where it has none.
    fn names_key_of(&self, issuer: &X509Certificate<'_>) -> Option<bool> {
        let named = fields::authority_key(self.list.extensions())?.key_identifier.as_ref()?;
        Some(Some(named.0) == fields::subject_key(issuer))
    }

    fn in_force(&self, now: Time) -> Result<(), Refused> {
        let seconds = now.millis().div_euclid(1000);
        if seconds < self.list.last_update().timestamp() {
            return Err(Refused::new(Reason::CrlNotValidYet));
        }
        match self.list.next_update() {
            Some(next) if seconds <= next.timestamp() => Ok(()),
            _ => Err(Refused::new(Reason::CrlExpired)),
        }
    }
}

/// A list's number stands there, once, not critical, and is a number of at most 20 octets.
fn number(list: &CertificateRevocationList<'_>) -> Result<Vec<u8>, Refused> {
    let bad = || Refused::new(Reason::CrlNumber);
    let found: Vec<_> = list
        .extensions()
        .iter()
        .filter(|extension| extension.oid == OID_X509_EXT_CRL_NUMBER)
        .collect();
    let [extension] = found[..] else { return Err(bad()) };
    // DER of an INTEGER: its tag, one octet of length, its octets.
    let [2, length, octets @ ..] = extension.value else {
        return Err(bad());
    };
    let negative = octets.first().is_none_or(|first| first & 0x80 != 0);
    if extension.critical || usize::from(*length) != octets.len() || octets.len() > 20 || negative {
        return Err(bad());
    }
    Ok(octets.iter().copied().skip_while(|octet| *octet == 0).collect())
}

/// Which certificates of its issuer a list speaks of.
fn scope(list: &CertificateRevocationList<'_>) -> Result<Scope, Refused> {
    let unsupported = |why: &str| Refused::because(Reason::CrlUnsupported, why);
    let mut found = list
        .extensions()
        .iter()
        .filter(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    let Some(extension) = found.next() else {
        return Ok(Scope::All);
    };
    let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
        return Err(Refused::new(Reason::CrlMalformed));
    };
    match point {
        IssuingDistributionPoint { indirect_crl: true, .. } => Err(unsupported("indirect")),
        IssuingDistributionPoint {
            only_contains_attribute_certs: true,
            ..
        } => Err(unsupported("of attributes")),
        IssuingDistributionPoint {
            only_some_reasons: Some(_),
            ..
        } => Err(unsupported("for some reasons only")),
        IssuingDistributionPoint {
            only_contains_user_certs: true,
            only_contains_ca_certs: true,
            ..
        } => Err(Refused::new(Reason::CrlMalformed)),
        IssuingDistributionPoint {
            only_contains_user_certs: true,
            ..
        } => Ok(Scope::Users),
        IssuingDistributionPoint {
            only_contains_ca_certs: true,
            ..
        } => Ok(Scope::Authorities),
        _ => Ok(Scope::All),
    }
}

/// Serials as numbers: leading noughts say nothing.
fn same_number(left: &[u8], right: &[u8]) -> bool {
    let significant = |octets: &[u8]| {
        octets
            .iter()
            .position(|octet| *octet != 0)
            .map_or(octets.len(), |at| at)
    };
    left[significant(left)..] == right[significant(right)..]
}

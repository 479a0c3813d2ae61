//! The strict verifier, on top of webpki: the same code at the peer port in both directions and in `sanku certs check`.
//!
//! webpki accepts expired roots, leaves without the right key usage, and builds its own path through whatever was sent.
//! Profile `path` holds every certificate of a path against RFC 5280 (`fields`, `names`) and the lists of revocations that
//! were given (`lists`); profile `node` adds the federation's own rules (`member`) and the notes' word, on the chain exactly
//! as it was sent. A certificate's proof of issuance is judged by `issuance`, under the same delegation.

mod fields;
pub(crate) mod lists;
mod member;
mod names;
pub(crate) mod path;
mod reason;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::trust::Trust;
use sanku_values::{DivisionCode, Time};

use crate::issuance::{self, Demand};
use lists::Lists;
use path::{Chain, Path};

pub(crate) use fields::{read as read_certificate, subject_key as key_identifier};
pub use path::Role;
pub use reason::{Reason, Refused};

/// Most certificates of a chain, the root not counted.
const DEEPEST: usize = 3;

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

/// Judges a chain, leaf first, as the peer port does. The root is not part of it: it comes from the root note. A proof of
/// issuance that is there must hold; none is demanded until every node's certificate has one.
///
/// # Errors
/// The first rule that does not hold.
pub fn verify_chain(
    chain: &[CertificateDer<'_>],
    role: Role,
    trust: &Trust,
    now: Time,
) -> Result<PeerIdentity, Refused> {
    judge_chain(chain, role, Demand::IfThere, trust, now)
}

/// Judges a chain as [`verify_chain`] does, under another demand for its proof of issuance.
///
/// # Errors
/// The first rule that does not hold.
pub fn judge_chain(
    chain: &[CertificateDer<'_>],
    role: Role,
    demand: Demand,
    trust: &Trust,
    now: Time,
) -> Result<PeerIdentity, Refused> {
    let root = trust.root().ok_or_else(|| Refused::new(Reason::NoNotes))?;
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| Refused::new(Reason::NoCertificate))?;
    if chain.len() > DEEPEST {
        return Err(Refused::new(Reason::TooDeep));
    }
    let roots = root
        .certificates
        .iter()
        .map(|text| STANDARD.decode(text).map(CertificateDer::from));
    let roots: Vec<_> = roots
        .collect::<Result<_, _>>()
        .map_err(|_| Refused::new(Reason::BadRoot))?;
    // No list of revocations: revocation is the notes', which are never absent and have dates.
    let lists = Lists::default();
    let judged = Chain {
        leaf,
        intermediates,
        roots: &roots,
        lists: &lists,
        role,
        now,
    };
    let identity = path::judge(&judged, |path| member(path, chain, demand, trust, now))?;
    identity.judge(trust, now).map_err(|kind| {
        Refused::new(match kind {
            ProblemKind::PeerCertExpired => Reason::Expired,
            ProblemKind::Revoked => Reason::Revoked,
            ProblemKind::Suspended => Reason::Suspended,
            _ => Reason::NotMember,
        })
    })?;
    Ok(identity)
}

/// The federation's own rules on a path: it is the chain as sent, each certificate by its profile, nobody outside their
/// subtree.
fn member(
    path: &Path<'_>,
    sent: &[CertificateDer<'_>],
    demand: Demand,
    trust: &Trust,
    now: Time,
) -> Result<PeerIdentity, Refused> {
    let on_path = path.certificates.iter().map(|certificate| certificate.as_raw());
    // webpki would also find a path through intermediates in another order, or leave some out.
    if path.certificates.len() != sent.len() + 1 || !on_path.zip(sent).all(|(here, sent)| here == sent.as_ref()) {
        return Err(Refused::new(Reason::NotLinked));
    }
    let identity = member::leaf(&path.certificates[0], trust.federation())?;
    let mut authorities = Vec::new();
    for (certificate, der) in path.certificates[1..].iter().zip(&sent[1..]) {
        let authority = member::delegated(der, trust, now)?;
        member::authority(certificate, authority.code)?;
        authorities.push(authority);
    }
    if let Some(root) = path.certificates.last() {
        member::root(root)?;
    }
    let issuer = member::within_subtrees(identity.code, &authorities)?;
    issuance::judge_carried(&path.certificates[0], (identity.code, issuer), trust, demand)?;
    Ok(identity)
}

#[cfg(test)]
mod tests;

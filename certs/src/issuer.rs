//! The issuer (签发): the one way to the key that signs certificates. It takes a [`Grant`] and a proof of issuance and gives a
//! certificate; nothing in it follows anybody's wishes. The key may stand on a device: it is asked for signatures alone.

mod list;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{SigningKey, SubjectPublicKeyInfo};
use sanku_federation_protocol::acts::CertificateIssue;
use sanku_federation_protocol::notes::Authority;
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, FederationName, Time};

pub use list::Listed;

use crate::CertsError;
use crate::issuance::IssuanceProof;
use crate::profile::{self, made};
use crate::requests::{AuthorityGrant, Grant};
use crate::verify::{Refused, read_certificate};

/// Longest life of a node's certificate; what is asked for is cut to it, and to its authority's.
pub const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The key of an authority's certificate (DER of SubjectPublicKeyInfo); nothing if the certificate is none.
pub(crate) fn authority_key(row: &Authority) -> Option<Vec<u8>> {
    let certificate = STANDARD.decode(&row.certificate).ok()?;
    let read = read_certificate(&certificate).ok()?;
    Some(read.public_key().raw.to_vec())
}

/// Why no certificate is made.
#[derive(Debug, thiserror::Error)]
pub enum NotIssued {
    /// The proof of issuance does not hold.
    #[error(transparent)]
    Proof(#[from] Refused),
    /// The proof is of another issuance than the grant's.
    #[error("签发证明与申请不符 the proof of issuance is not about this request: {0}")]
    Differs(&'static str),
    /// Outside what this authority may issue.
    #[error("{0} 不在发证机构 {1} 的辖区内 does not lie below the authority {1}")]
    Outside(DivisionCode, DivisionCode),
    /// It cannot be made.
    #[error(transparent)]
    Make(#[from] CertsError),
}

/// An authority with its key.
pub struct Issuer<K: SigningKey> {
    federation: FederationName,
    code: DivisionCode,
    certificate: Vec<u8>,
    key: K,
}

impl<K: SigningKey> std::fmt::Debug for Issuer<K> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Issuer({})", self.code)
    }
}

impl<K: SigningKey> Issuer<K> {
    /// An authority as the delegation names it, with its key.
    ///
    /// # Errors
    /// If the certificate is none, or another key's.
    pub fn new(federation: FederationName, row: &Authority, key: K) -> Result<Self, CertsError> {
        let none = || {
            CertsError::Make(format!(
                "{} 的发证机构证书无法读取 its certificate cannot be read",
                row.code
            ))
        };
        let certificate = STANDARD.decode(&row.certificate).map_err(|_| none())?;
        let read = read_certificate(&certificate).map_err(|_| none())?;
        if read.public_key().raw != key.subject_public_key_info() {
            return Err(CertsError::Make(format!(
                "{} 的发证机构证书与私钥不配对 its certificate does not belong to this private key",
                row.code
            )));
        }
        Ok(Self {
            federation,
            code: row.code,
            certificate,
            key,
        })
    }

    /// Whose authority it is.
    pub const fn code(&self) -> DivisionCode {
        self.code
    }

    /// Decides what a certificate will say: the public part of the act that the authority logs before it signs.
    pub fn plan(&self, grant: &Grant, now: Time, long: Duration) -> Result<CertificateIssue, NotIssued> {
        self.within(grant.code())?;
        let (not_before, not_after) = profile::life(now, long.min(LONGEST_LIFE));
        Ok(CertificateIssue {
            code: grant.code(),
            key: grant.tls().hash(),
            serial: profile::serial()?,
            not_before,
            not_after: not_after.min(self.expires()?),
            request: grant.request(),
            orders: grant.orders().iter().copied().collect(),
        })
    }

    /// Makes the certificate that its proof of issuance speaks of. The same grant and proof always make the same one but for
    /// the signature, so whoever was interrupted goes on from the log.
    ///
    /// # Errors
    /// If the proof does not hold, or is of another issuance.
    pub fn issue(&self, grant: &Grant, proof: &IssuanceProof, trust: &Trust) -> Result<Vec<u8>, NotIssued> {
        self.within(grant.code())?;
        let issue = proof.judge(self.code, trust)?.issue;
        let orders: Vec<Hash> = grant.orders().iter().copied().collect();
        let long = issue.not_after.since(issue.not_before);
        let differs = [
            (issue.code != grant.code(), "code"),
            (issue.key != grant.tls().hash(), "key"),
            (issue.request != grant.request(), "request"),
            (issue.orders != orders, "orders"),
            (long > LONGEST_LIFE + Duration::from_secs(24 * 3600), "life"),
            (issue.not_after > self.expires()?, "life"),
        ];
        if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
            return Err(NotIssued::Differs(what));
        }
        let life = (issue.not_before, issue.not_after);
        let mut params = profile::leaf_params(&self.federation, issue.code, grant.hosts(), issue.serial, life)?;
        params.custom_extensions.push(proof.extension());
        self.sign(&params, grant.tls().der())
    }

    /// Makes the certificate of an authority below this one.
    pub fn authority(&self, grant: &AuthorityGrant, now: Time) -> Result<Vec<u8>, NotIssued> {
        if !grant.code().is_below(self.code) {
            return Err(NotIssued::Outside(grant.code(), self.code));
        }
        let mut params = profile::authority_params(&self.federation, grant.code(), now)?;
        params.not_after = params.not_after.min(profile::at(self.expires()?)?);
        self.sign(&params, grant.key().der())
    }

    fn sign(&self, params: &rcgen::CertificateParams, spki: &[u8]) -> Result<Vec<u8>, NotIssued> {
        let key = SubjectPublicKeyInfo::from_der(spki).map_err(|error| made(&error))?;
        let certificate = params.signed_by(&key, &self.issuer()?).map_err(|error| made(&error))?;
        Ok(certificate.der().to_vec())
    }

    fn issuer(&self) -> Result<rcgen::Issuer<'static, &K>, CertsError> {
        rcgen::Issuer::from_ca_cert_der(&self.certificate.clone().into(), &self.key).map_err(|error| made(&error))
    }

    fn within(&self, code: DivisionCode) -> Result<(), NotIssued> {
        if code == self.code || code.is_below(self.code) {
            Ok(())
        } else {
            Err(NotIssued::Outside(code, self.code))
        }
    }

    /// The last second of this authority's own certificate.
    fn expires(&self) -> Result<Time, CertsError> {
        let read = read_certificate(&self.certificate).map_err(|refused| CertsError::Make(refused.to_string()))?;
        Ok(Time::from_millis(read.validity().not_after.timestamp() * 1000))
    }
}

/// The root's own certificate, and the first authority's below it: made at the ceremony, with the custodians' keys.
pub mod ceremony {
    use super::{AuthorityGrant, CertsError, FederationName, NotIssued, SubjectPublicKeyInfo, Time, made, profile};
    use crate::custodians::RootKeys;

    /// The root's certificate: P-384, ten years.
    pub fn root(federation: &FederationName, keys: &RootKeys, now: Time) -> Result<Vec<u8>, CertsError> {
        profile::root_over(federation, &keys.certificates, now)
    }

    /// An authority's certificate, signed by the root.
    pub fn authority(
        federation: &FederationName,
        (keys, root): (&RootKeys, &[u8]),
        grant: &AuthorityGrant,
        now: Time,
    ) -> Result<Vec<u8>, NotIssued> {
        let pair = rcgen::KeyPair::try_from(keys.certificates.as_slice()).map_err(|error| made(&error))?;
        let issuer = rcgen::Issuer::from_ca_cert_der(&root.to_vec().into(), pair).map_err(|error| made(&error))?;
        let key = SubjectPublicKeyInfo::from_der(grant.key().der()).map_err(|error| made(&error))?;
        let params = profile::authority_params(federation, grant.code(), now)?;
        let certificate = params.signed_by(&key, &issuer).map_err(|error| made(&error))?;
        Ok(certificate.der().to_vec())
    }
}

//! TLS 1.3 with certificates on both sides: no tickets, no resumption, no early data; every chain meets the strict verifier
//! with the notes as they are now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use sanku_certs::{PeerIdentity, Reason, Refused, Role, verify_chain};
use sanku_federation_protocol::trust::Trust;
use sanku_values::{Clock, DivisionCode};

use crate::TransportError;

/// What one reload replaces at once: our chain and its key.
pub struct Material {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Material({} certificates)", self.chain.len())
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Judges every chain by the notes as they are.
pub(crate) struct Strict {
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    /// Whom we mean to call; nothing where anybody active may call us.
    expected: Option<DivisionCode>,
    /// Who answered the last handshake, or why nobody did whom we may speak with.
    seen: Mutex<Option<Result<PeerIdentity, Refused>>>,
}

impl Strict {
    pub(crate) fn new(trust: Arc<ArcSwap<Trust>>, clock: Arc<dyn Clock>, expected: Option<DivisionCode>) -> Arc<Self> {
        Arc::new(Self {
            trust,
            clock,
            provider: provider(),
            expected,
            seen: Mutex::new(None),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Option<Result<PeerIdentity, Refused>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever answered the last handshake may be asked on, as far as the notes and the clock say now.
    pub(crate) fn still_holds(&self) -> bool {
        match &*self.seen() {
            Some(Ok(peer)) => peer.judge(&self.trust.load(), self.clock.now()).is_ok(),
            _ => true,
        }
    }

    /// Whether anybody answered a handshake, whoever it was.
    pub(crate) fn has_met(&self) -> bool {
        self.seen().is_some()
    }

    /// Why the last handshake was refused by us.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.seen().as_ref().and_then(|seen| seen.as_ref().err().cloned())
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let judged = verify_chain(&chain, role, &self.trust.load(), self.clock.now()).and_then(|peer| self.meant(peer));
        let refused = judged.as_ref().err().cloned();
        *self.seen() = Some(judged);
        match refused {
            None => Ok(()),
            Some(refused) => {
                // The other side mostly sees a broken connection: the reason is said here.
                tracing::warn!(code = refused.reason.code(), detail = %refused.detail, "a certificate is refused");
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::ApplicationVerificationFailure,
                ))
            }
        }
    }

    /// The peer, if it is whom we mean to call.
    fn meant(&self, peer: PeerIdentity) -> Result<PeerIdentity, Refused> {
        match self.expected {
            Some(expected) if expected != peer.code => Err(Refused {
                reason: Reason::WrongNode,
                detail: format!(
                    "{expected} 的地址由 {} 应答 answers at the address of {expected}",
                    peer.code
                ),
            }),
            _ => Ok(peer),
        }
    }
}

impl std::fmt::Debug for Strict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Strict({:?})", self.expected)
    }
}

impl ClientCertVerifier for Strict {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(leaf, intermediates, Role::Client)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::Tls12NotOffered,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Strict {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, intermediates, Role::Server)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}

pub(crate) fn server_config(material: &Material, strict: Arc<Strict>) -> Result<ServerConfig, TransportError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(strict)
        .with_single_cert(material.chain.clone(), material.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would not be verified again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

pub(crate) fn client_config(material: &Material, strict: Arc<Strict>) -> Result<ClientConfig, TransportError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(strict)
        .with_client_auth_cert(material.chain.clone(), material.key.clone_key())?;
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

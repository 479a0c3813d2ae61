//! Whoever attacks has a member's certificate, minds nobody's, and writes what it likes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use sanku_certs::NodeKeys;

use crate::rig::Rig;

/// The headers of a statement's request.
pub(crate) const TYPE: &str = "content-type: application/vnd.sanku.statements\r\nsanku-budget-ms: 3000\r\n";

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Whoever attacks does not mind whom.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A node's certificate and its key.
fn keys(rig: &Rig, code: u32) -> NodeKeys {
    let (federation, node) = ("hubei.example".parse().unwrap(), code.try_into().unwrap());
    NodeKeys::load(&rig.folder(code), &federation, node, 1).unwrap()
}

/// The address of a node's peer port, without the proxy before it.
pub(crate) fn address(rig: &Rig, code: u32) -> String {
    let text = std::fs::read_to_string(rig.folder(code).join("node.toml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("peers = ")).unwrap();
    line.trim_matches('"').to_owned()
}

/// A bare connection under a node's certificate.
pub(crate) fn dial(rig: &Rig, from: u32, to: u32, protocol: &[u8]) -> Tls {
    dial_at(rig, from, &address(rig, to), protocol)
}

/// A bare connection to an address.
pub(crate) fn dial_at(rig: &Rig, from: u32, address: &str, protocol: &[u8]) -> Tls {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let material = keys(rig, from);
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_client_auth_cert(material.chain, material.tls)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

/// Whether a read came to nothing since nothing came yet.
pub(crate) fn nothing_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Requests of 8 MiB of one peer at 421000, of which all but a little is sent and none ends: those that are held, and how many
/// were refused.
pub(crate) fn heap_up(rig: &Rig, how_many: usize) -> (Vec<Tls>, usize) {
    let size = 8 << 20;
    let head = format!(
        "POST /v1/statements HTTP/1.1\r\nhost: x\r\n{}content-length: {size}\r\n\r\n",
        TYPE.replace("3000", "60000")
    );
    let chunk = vec![b'x'; 64 << 10];
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..how_many {
        let mut stream = dial(rig, 421_003, 421_000, b"http/1.1");
        stream.write_all(head.as_bytes()).unwrap();
        let mut sent = 0;
        while sent < size - chunk.len() && stream.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        let _ = stream.flush();
        stream.sock.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut answer = [0; 12];
        match stream.read_exact(&mut answer) {
            Ok(()) => {
                assert_eq!(&answer, b"HTTP/1.1 503");
                refused += 1;
            }
            Err(error) if nothing_yet(&error) => held.push(stream),
            // Closed while it still wrote: what was said to it is lost.
            Err(_) => refused += 1,
        }
    }
    (held, refused)
}

//! Mutual TLS between nodes (节点间双向 TLS): the peer port's server and the clients of neighbours, reloading, limits. Knows
//! no SQL, and no routes: the router comes from whoever wires a node.
//!
//! TLS 1.3 alone (RFC 8446), certificates on both sides, no tickets, no resumption, no early data. Every chain meets the strict
//! verifier of `sanku-certs` with the notes as they are then; the peer is judged again at each request, and when notes change
//! each open connection is ([`Server::trust_changed`], [`PeerClients::trust_changed`]). A client that is refused mostly sees a
//! connection that breaks, so reasons are logged by whoever refuses, and what our own verifier refuses comes back as the
//! problem's kind.
//!
//! | limit | value |
//! |---|---|
//! | TCP and TLS, either side | 5 s |
//! | a header, and the first request of a connection | 5 s |
//! | connections of one peer, and of all | 32, 1,024 |
//! | streams of a connection | 64 |
//! | header list | 16 KiB |
//! | a request's body | 1 KiB a second after 5 s; no compression |
//! | bytes of requests in hand, of one peer and of all | 32 MiB, 256 MiB |
//! | a reader that takes nothing of its response | 10 s |
//! | requests of one peer, in a second and at once; what no good node says costs fifty | 1,000, 2,000 |
//! | connections of one address in their handshake | 64 |
//! | a silent connection, found by pings | 40 s at the server, 10 s at a client |
//! | a client's connection on which a call was given up in silence | the next call makes a new one |

mod budgets;
mod client;
mod endpoints;
mod hand;
mod life;
mod reader;
mod request;
mod seats;
mod server;
mod tls;

pub use client::{PeerClients, Response};
pub use request::read_body;
use sanku_federation_protocol::problem::Problem;
pub use server::{Server, problem_response};
pub use tls::Material;

/// Why a peer cannot be served or called.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// TLS.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection, or it broke.
    #[error("connection: {}", kind(.0))]
    Connection(reqwest::Error),
    /// Nobody answered a handshake in the time that the caller had.
    #[error("connection: not made in time")]
    NotConnected,
    /// The peer answered with a problem, or may not be called.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The registry names no address.
    #[error("the registry names no address")]
    NoEndpoint,
}

impl TransportError {
    /// Whether no connection came about at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::NoEndpoint | Self::NotConnected)
            || matches!(self, Self::Connection(error) if error.is_connect())
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        Self::Connection(error.without_url())
    }
}

fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "not made"
    } else if error.is_timeout() {
        "timed out"
    } else {
        "broken off"
    }
}

#[cfg(test)]
mod tests;

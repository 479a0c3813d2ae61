//! Mutual TLS between nodes: the peer port's server and the clients of neighbours, reloading, limits. Knows no SQL.

mod client;
mod server;
mod tls;

pub use client::{PeerClients, Response};
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
        matches!(self, Self::NoEndpoint) || matches!(self, Self::Connection(error) if error.is_connect())
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

//! Bytes of requests in hand (S-22, G6): what came and is not answered to its end, of one peer over all its connections and
//! of all peers together. Who has as much in hand as it may is told to come again, as its body grows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sanku_values::DivisionCode;

/// Of one peer: four of the largest requests.
const OF_A_PEER: usize = 32 << 20;
/// Of all peers.
const OF_ALL: usize = 256 << 20;

/// Why no more of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("this peer's requests in hand are as large as they may be; come again")]
    OfAPeer,
    #[error("all requests in hand are as large as they may be; come again")]
    OfAll,
}

impl Full {
    /// One word for it.
    pub(crate) const fn whose(self) -> &'static str {
        match self {
            Self::OfAPeer => "peer",
            Self::OfAll => "node",
        }
    }
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    peers: HashMap<DivisionCode, usize>,
}

/// What is in hand of everybody. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    of_a_peer: usize,
    of_all: usize,
    held: Arc<Mutex<Held>>,
}

impl Default for Hands {
    fn default() -> Self {
        Self::new(OF_A_PEER, OF_ALL)
    }
}

impl Hands {
    pub(crate) fn new(of_a_peer: usize, of_all: usize) -> Self {
        Self {
            of_a_peer,
            of_all,
            held: Arc::default(),
        }
    }
}

/// What one request brought, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hand {
    hands: Hands,
    peer: DivisionCode,
    bytes: AtomicUsize,
}

impl Hand {
    /// An empty one.
    pub(crate) fn of(hands: &Hands, peer: DivisionCode) -> Self {
        Self {
            hands: hands.clone(),
            peer,
            bytes: AtomicUsize::new(0),
        }
    }

    /// So many bytes more.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Full> {
        let mut held = self.hands.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.all + bytes;
        let of_peer = held.peers.get(&self.peer).copied().unwrap_or(0) + bytes;
        if of_peer > self.hands.of_a_peer {
            return Err(Full::OfAPeer);
        }
        if all > self.hands.of_all {
            return Err(Full::OfAll);
        }
        held.all = all;
        held.peers.insert(self.peer, of_peer);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes == 0 {
            return;
        }
        let mut held = self.hands.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= bytes;
        if let Some(of_peer) = held.peers.get_mut(&self.peer) {
            *of_peer -= bytes;
            if *of_peer == 0 {
                held.peers.remove(&self.peer);
            }
        }
    }
}

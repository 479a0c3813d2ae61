//! Keeps this node's clock beside its neighbours': at start, each minute, and after a jump.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sanku_exchange::clock::Clocks;
use tokio_util::sync::CancellationToken;

use crate::peer_api::SharedExchange;

const EACH: Duration = Duration::from_secs(60);
/// While nobody told the time, or ours is wrong.
const SOONER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(1);
/// A difference between wall clock and monotonic clock that somebody made.
const JUMP: u64 = 2_000;

/// Compares until it is stopped.
pub(crate) async fn keep_comparing(exchange: SharedExchange, stop: CancellationToken) {
    let exchange = &exchange;
    let compare = || async { (Arc::clone(exchange).compare_clocks().await, Instant::now()) };
    let (mut clocks, mut compared) = compare().await;
    let (mut wall, mut steady) = (exchange.now(), Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let (wall_now, steady_now) = (exchange.now(), Instant::now());
        let jumped = has_jumped(wall_now.millis() - wall.millis(), steady_now - steady);
        (wall, steady) = (wall_now, steady_now);
        if jumped {
            tracing::warn!("the machine's clock jumped");
        }
        let each = match clocks {
            Clocks::Alone | Clocks::TooFar(_) => SOONER,
            Clocks::Together(_) | Clocks::Apart(_) => EACH,
        };
        if jumped || compared.elapsed() >= each {
            (clocks, compared) = compare().await;
        }
    }
}

/// Whether the wall clock went another way than time did.
fn has_jumped(wall: i64, steady: Duration) -> bool {
    i64::try_from(steady.as_millis()).is_ok_and(|steady| wall.abs_diff(steady) > JUMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_a_pause_and_from_small_corrections() {
        assert!(!has_jumped(1_004, Duration::from_millis(1_000)));
        // A process that was stopped for a minute sees both go on.
        assert!(!has_jumped(60_010, Duration::from_secs(60)));
        assert!(has_jumped(-3_600_000, Duration::from_secs(1)));
        assert!(has_jumped(86_400_000, Duration::from_secs(1)));
    }
}

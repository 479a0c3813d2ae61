//! What systemd is told (sd_notify): ready, stopping, and a sign of life while it watches. Does nothing without systemd.

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The ports are open.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node finishes what is in hand.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says twice in each period that this process still gets its turns, if the unit has `WatchdogSec=`.
pub(crate) async fn keep_alive(stop: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period / 2) => {}
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}

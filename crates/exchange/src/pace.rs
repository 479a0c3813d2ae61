//! The pace of a response (S-22): whoever answers gives a sign of life between lines, and at least 1 KiB a second within one.
//!
//! Pure: instants come in from outside. The budget in total is somebody else's.

use std::time::Duration;

use tokio::time::Instant;

/// Three times what lies between two signs of life.
const BETWEEN_LINES: Duration = Duration::from_secs(6);
/// A line may take so long whatever its length, so that a short pause of the network ends nothing.
const OF_A_LINE: Duration = Duration::from_secs(5);
/// From then on so many bytes a second.
const BYTES_A_SECOND: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Pace {
    heard: Instant,
    /// When the line began that has not ended, and its bytes so far.
    line: Option<(Instant, u64)>,
}

impl Pace {
    /// The response began.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { heard: now, line: None }
    }

    /// Bytes came.
    pub(crate) fn heard(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        let (began, before) = self.line.take().unwrap_or((now, 0));
        self.line = match bytes.iter().rposition(|byte| *byte == b'\n') {
            None => Some((began, before + bytes.len() as u64)),
            Some(end) if end + 1 == bytes.len() => None,
            Some(end) => Some((now, (bytes.len() - end - 1) as u64)),
        };
    }

    /// Nobody listened until now.
    pub(crate) fn rests(&mut self, now: Instant) {
        self.heard = now;
        if let Some((began, _)) = &mut self.line {
            *began = now;
        }
    }

    /// When patience ends unless something comes.
    pub(crate) fn until(&self) -> Instant {
        match self.line {
            None => self.heard + BETWEEN_LINES,
            Some((began, bytes)) => began + OF_A_LINE + Duration::from_millis(bytes * 1000 / BYTES_A_SECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_signs_of_life_keep_a_response_open_and_silence_ends_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start);
        for second in (2..100).step_by(2) {
            assert!(at(second) < pace.until());
            pace.heard(b"H \n", at(second));
        }
        assert_eq!(pace.until(), at(98) + BETWEEN_LINES);
    }

    #[test]
    fn s22_a_line_that_drips_ends_and_one_that_flows_does_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dripping = Pace::new(start);
        let mut ended = None;
        for second in 0..60 {
            if at(second) > dripping.until() {
                ended = Some(second);
                break;
            }
            dripping.heard(b"x", at(second));
        }
        assert_eq!(ended, Some(6), "a byte a second");
        let mut flowing = Pace::new(start);
        for second in 0..4000 {
            assert!(at(second) <= flowing.until(), "{second}");
            flowing.heard(&[b'x'; 1024], at(second));
        }
        flowing.heard(b"end\nand the next", at(4000));
        assert!(flowing.until() < at(4006), "each line has its own time");
    }
}

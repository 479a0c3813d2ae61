//! Instants of the protocol: RFC 3339 in UTC with milliseconds, and the clock that comes in from outside.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// An instant, in milliseconds since 1970-01-01T00:00:00Z. Its text has exactly three decimals and `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// The text is no instant of the protocol's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("时间格式应为 2026-01-31T08:00:00.000Z not a time of the form 2026-01-31T08:00:00.000Z")]
pub struct NotATime;

/// 9999-12-31T23:59:59.999Z, the last instant with a year of four digits.
const LAST: i64 = 253_402_300_799_999;

impl Time {
    /// From Unix milliseconds, held within the years 1970 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, LAST))
    }

    /// Unix milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This instant and `duration` more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(LAST)),
        )
    }

    /// This instant less `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(LAST)),
        )
    }

    /// How long after `earlier` this is; nought if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = crate::date::civil_from_days(days);
        let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let (date, clock) = text
            .strip_suffix('Z')
            .and_then(|text| text.split_once('T'))
            .ok_or(NotATime)?;
        let date: crate::Date = date.parse().map_err(|_| NotATime)?;
        let bytes = clock.as_bytes();
        if bytes.len() != 12 || bytes[2] != b':' || bytes[5] != b':' || bytes[8] != b'.' {
            return Err(NotATime);
        }
        let number = |range: std::ops::Range<usize>| -> Result<i64, NotATime> {
            let digits = clock
                .get(range)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|digits| digits.parse().ok()).ok_or(NotATime)
        };
        let (hour, minute, second, milli) = (number(0..2)?, number(3..5)?, number(6..8)?, number(9..12)?);
        if hour > 23 || minute > 59 || second > 59 {
            return Err(NotATime);
        }
        let millis = date.days() * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1000 + milli;
        if millis < 0 {
            return Err(NotATime);
        }
        Ok(Self(millis))
    }
}

crate::text::serde_as_text!(Time, "a time of the form 2026-01-31T08:00:00.000Z");

/// Where the present comes from, so that a test can hold it.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Time;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(LAST))
    }
}

/// A clock that stands where it was set.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that stands at `time`.
    pub const fn at(time: Time) -> Self {
        Self(AtomicI64::new(time.0))
    }

    /// Sets it.
    pub fn set(&self, time: Time) {
        self.0.store(time.0, Ordering::SeqCst);
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_instant_agree(millis in 0..=LAST) {
            let time = Time::from_millis(millis);
            prop_assert_eq!(time.to_string().parse::<Time>(), Ok(time));
        }
    }

    #[test]
    fn another_form_is_refused() {
        assert_eq!(
            "2026-11-24T08:18:11.000Z".parse::<Time>().unwrap().millis(),
            1_795_508_291_000
        );
        for text in [
            "2026-11-24T08:18:11Z",
            "2026-11-24T08:18:11.0000Z",
            "2026-11-24T08:18:11.000+00:00",
            "2026-11-24 08:18:11.000Z",
            "2026-02-30T08:18:11.000Z",
            "2026-11-24T24:18:11.000Z",
            "2026-11-24T08:18:60.000Z",
            "2026-11-24T+8:18:11.000Z",
            "1969-12-31T23:59:59.999Z",
        ] {
            assert_eq!(text.parse::<Time>(), Err(NotATime), "{text}");
        }
    }
}

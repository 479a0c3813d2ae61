//! Dates, months and years as departments vouch for them: ISO 8601, no time zone.

use std::fmt;
use std::str::FromStr;

/// A day that exists, `2023-05-01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// A month, `2023-05`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u16,
    month: u8,
}

/// A year, `2023`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Year(u16);

/// The text is no day, month or year that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("不是存在的日期 not a date that exists")]
pub struct NotADate;

/// Years that a record can speak of.
const YEARS: std::ops::RangeInclusive<u16> = 1800..=9999;

impl Date {
    /// The day, if it exists.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, NotADate> {
        if !YEARS.contains(&year) || day == 0 || day > days_of(year, month)? {
            return Err(NotADate);
        }
        Ok(Self { year, month, day })
    }

    /// The day that is `days` after 1970-01-01.
    pub fn from_days(days: i64) -> Result<Self, NotADate> {
        if !(-100_000..=3_000_000).contains(&days) {
            return Err(NotADate);
        }
        let (year, month, day) = civil_from_days(days);
        let small = |number: i64| u8::try_from(number).map_err(|_| NotADate);
        Self::new(u16::try_from(year).map_err(|_| NotADate)?, small(month)?, small(day)?)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        // Counted in years that begin in March, so that the leap day comes last.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
    }

    /// The day in Asia/Shanghai (UTC+8 since 1991) at an instant.
    pub fn in_china(time: crate::Time) -> Self {
        let days = (time.millis() + 8 * 3_600_000).div_euclid(86_400_000);
        Self::from_days(days).unwrap_or(Self {
            year: 9999,
            month: 12,
            day: 31,
        })
    }

    /// Its year.
    pub const fn year(self) -> u16 {
        self.year
    }

    /// Its month, from 1.
    pub const fn month(self) -> u8 {
        self.month
    }

    /// Its day, from 1.
    pub const fn day(self) -> u8 {
        self.day
    }
}

impl Month {
    /// The month, if it exists.
    pub fn new(year: u16, month: u8) -> Result<Self, NotADate> {
        if !YEARS.contains(&year) || !(1..=12).contains(&month) {
            return Err(NotADate);
        }
        Ok(Self { year, month })
    }
}

impl Year {
    /// The year, 1800 to 9999.
    pub fn new(year: u16) -> Result<Self, NotADate> {
        if YEARS.contains(&year) {
            Ok(Self(year))
        } else {
            Err(NotADate)
        }
    }

    /// As a number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

fn days_of(year: u16, month: u8) -> Result<u8, NotADate> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Ok(31),
        4 | 6 | 9 | 11 => Ok(30),
        2 => Ok(if leap { 29 } else { 28 }),
        _ => Err(NotADate),
    }
}

/// Year, month and day of a count of days since 1970-01-01, by the Gregorian calendar.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Digits of a fixed number, or nothing.
fn digits(text: &str, count: usize) -> Result<u16, NotADate> {
    if text.len() != count || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotADate);
    }
    text.parse().map_err(|_| NotADate)
}

fn two(text: &str) -> Result<u8, NotADate> {
    u8::try_from(digits(text, 2)?).map_err(|_| NotADate)
}

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let (year, rest) = text.split_once('-').ok_or(NotADate)?;
        let (month, day) = rest.split_once('-').ok_or(NotADate)?;
        Self::new(digits(year, 4)?, two(month)?, two(day)?)
    }
}

impl FromStr for Month {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let (year, month) = text.split_once('-').ok_or(NotADate)?;
        Self::new(digits(year, 4)?, two(month)?)
    }
}

impl FromStr for Year {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        Self::new(digits(text, 4)?)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}-{:02}", self.year, self.month)
    }
}

impl fmt::Display for Year {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}", self.0)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Debug for Month {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Debug for Year {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

crate::text::serde_as_text!(Date, "a date of the form 2023-05-01");
crate::text::serde_as_text!(Month, "a month of the form 2023-05");
crate::text::serde_as_text!(Year, "a year of four digits");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn days_and_dates_agree(days in -60_000_i64..2_900_000) {
            let date = Date::from_days(days).unwrap();
            prop_assert_eq!(date.days(), days);
            prop_assert_eq!(date.to_string().parse::<Date>(), Ok(date));
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        assert_eq!("1970-01-01".parse::<Date>().unwrap().days(), 0);
        assert!("2024-02-29".parse::<Date>().is_ok());
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2023-13-01",
            "2023-00-01",
            "2023-01-00",
            "2023-1-1",
            "20230101",
            "",
        ] {
            assert_eq!(text.parse::<Date>(), Err(NotADate), "{text}");
        }
        for text in ["2023-13", "2023-1", "202301"] {
            assert_eq!(text.parse::<Month>(), Err(NotADate), "{text}");
        }
    }

    #[test]
    fn the_day_in_china_begins_eight_hours_earlier() {
        let time = "2026-11-24T16:00:00.000Z".parse().unwrap();
        assert_eq!(Date::in_china(time).to_string(), "2026-11-25");
    }
}

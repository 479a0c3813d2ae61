//! Division codes (行政区划代码, GB/T 2260): six digits in three levels of two.

use std::fmt;
use std::str::FromStr;

/// A GB/T 2260 division code: `420000` is a province, `421000` a city, `421002` a district.
///
/// Levels are compared as numbers, never as text prefixes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DivisionCode(u32);

/// The level of a division (层级).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Province (省).
    Province,
    /// City (市).
    City,
    /// District or county (区、县).
    District,
}

/// Why a text is no division code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("区划代码应为六位数字，如 421002 not a division code: six digits such as 421002")]
pub struct NotADivisionCode;

impl DivisionCode {
    /// Province, city or district, as the digits say.
    pub const fn level(self) -> Level {
        if self.0.is_multiple_of(10_000) {
            Level::Province
        } else if self.0.is_multiple_of(100) {
            Level::City
        } else {
            Level::District
        }
    }

    /// The codes that stand above this one by its digits, nearest first.
    pub fn ancestors(self) -> impl Iterator<Item = Self> {
        let city = Self(self.0 / 100 * 100);
        let province = Self(self.0 / 10_000 * 10_000);
        let nearest = (self.level() == Level::District).then_some(city);
        let farthest = (self.level() != Level::Province).then_some(province);
        nearest.into_iter().chain(farthest)
    }

    /// Whether `other` is an ancestor of this code. No code is below itself.
    pub fn is_below(self, other: Self) -> bool {
        self.ancestors().any(|ancestor| ancestor == other)
    }

    /// The six digits as a number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for DivisionCode {
    type Error = NotADivisionCode;

    fn try_from(number: u32) -> Result<Self, NotADivisionCode> {
        let (middle, last) = (number / 100 % 100, number % 100);
        if !(110_000..1_000_000).contains(&number) || (middle == 0 && last != 0) {
            return Err(NotADivisionCode);
        }
        Ok(Self(number))
    }
}

impl FromStr for DivisionCode {
    type Err = NotADivisionCode;

    fn from_str(text: &str) -> Result<Self, NotADivisionCode> {
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotADivisionCode);
        }
        text.parse::<u32>().map_err(|_| NotADivisionCode)?.try_into()
    }
}

impl fmt::Display for DivisionCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:06}", self.0)
    }
}

impl fmt::Debug for DivisionCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

crate::text::serde_as_text!(DivisionCode, "a division code of six digits");

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> DivisionCode {
        text.parse().unwrap()
    }

    #[test]
    fn levels_follow_the_digits() {
        assert_eq!(code("420000").level(), Level::Province);
        assert_eq!(code("421000").level(), Level::City);
        assert_eq!(code("429004").level(), Level::District);
    }

    #[test]
    fn ancestors_come_nearest_first() {
        let of = |text| code(text).ancestors().map(|code| code.number()).collect::<Vec<_>>();
        assert_eq!(of("421002"), [421_000, 420_000]);
        assert_eq!(of("421000"), [420_000]);
        assert!(of("420000").is_empty());
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in [
            "",
            "42100",
            "4210022",
            "42100a",
            "420002",
            "100000",
            "４２１００２",
            "-21002",
            "090000",
        ] {
            assert_eq!(text.parse::<DivisionCode>(), Err(NotADivisionCode), "{text}");
        }
    }
}

//! Cells of departments' files as values: numbers with units, yes and no, codes. Dates stand in `dates`.
//!
//! Lenient in form, strict in meaning: what can be read in two ways is not read.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::Code;
use crate::cell::{Cell, Look};

/// A decimal number as it was written: `digits / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    digits: i128,
    scale: u32,
}

/// Most digits before or behind the point: far beyond any amount, and no arithmetic below overflows.
const MOST_DIGITS: usize = 20;

impl Decimal {
    /// `-1234.50`, thousands commas in their places, no exponent.
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match rest.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (rest, ""),
        };
        let whole = without_commas(whole)?;
        if whole.len() > MOST_DIGITS || fraction.len() > MOST_DIGITS || !all_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        Some(Self {
            digits: if negative { -digits } else { digits },
            scale: u32::try_from(fraction.len()).ok()?,
        })
    }

    /// The nearest decimal of fifteen digits to a spreadsheet's double: what the spreadsheet itself shows.
    pub(crate) fn of_double(number: f64) -> Option<Self> {
        if !number.is_finite() || number.abs() >= 1e15 {
            return None;
        }
        let written = format!("{number:.14e}");
        let (mantissa, exponent) = written.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        if exponent < -15 {
            return Some(Self { digits: 0, scale: 0 });
        }
        let mantissa = Self::parse(mantissa)?;
        let shift = exponent - i32::try_from(mantissa.scale).ok()?;
        Some(match u32::try_from(shift) {
            Ok(up) => Self {
                digits: mantissa.digits.checked_mul(10_i128.checked_pow(up)?)?,
                scale: 0,
            },
            Err(_) => Self {
                digits: mantissa.digits,
                scale: shift.unsigned_abs(),
            },
        })
    }

    /// Multiplied by `factor`, if that is a whole number that fits.
    fn whole(self, factor: i128) -> Option<i64> {
        let product = self.digits.checked_mul(factor)?;
        let divisor = 10_i128.checked_pow(self.scale)?;
        (product % divisor == 0)
            .then(|| i64::try_from(product / divisor).ok())
            .flatten()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = self.digits.unsigned_abs().to_string();
        let scale = usize::try_from(self.scale).unwrap_or(0);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let point = if fraction.is_empty() { "" } else { "." };
        write!(out, "{sign}{whole}{point}{fraction}")
    }
}

/// The digits of a whole number; commas only where thousands are.
fn without_commas(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let rest: Vec<_> = groups.collect();
    let grouped = rest.is_empty() || (1..=3).contains(&first.len());
    let holds = !first.is_empty() && grouped && rest.iter().all(|group| group.len() == 3);
    let digits = text.replace(',', "");
    (holds && all_digits(&digits)).then_some(digits)
}

pub(crate) fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// NFKC, without white space and what spreadsheets put around text.
pub(crate) fn plain(text: &str) -> String {
    text.nfkc()
        .filter(|character| !character.is_whitespace() && !matches!(character, '\'' | '\u{200b}' | '\u{feff}'))
        .collect()
}

/// What a unit makes of a number: money in fen, areas in 0.01 m², shares in basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Money: fen for one.
    Money(i128),
    /// Areas: hundredths of a square metre for one.
    Area(i128),
    /// Shares: basis points for one.
    Share(i128),
}

/// What follows a number, or stands in a header's brackets, as a unit; the outer `None` is no unit at all.
pub(crate) fn unit(word: &str) -> Option<Result<Unit, Code>> {
    let word = plain(word).to_lowercase();
    let word = word.trim_start_matches("单位:").trim_start_matches("人民币");
    let word = ["/月", "/年", "/人", "每月", "每年", "整"]
        .iter()
        .fold(word, |word, tail| word.strip_suffix(tail).unwrap_or(word));
    Some(Ok(match word {
        "分" => Unit::Money(1),
        "角" => Unit::Money(10),
        "元" | "圆" | "¥" | "rmb" | "cny" | "yuan" => Unit::Money(100),
        "百元" => Unit::Money(10_000),
        "千元" | "千" => Unit::Money(100_000),
        "万元" | "万" | "万圆" => Unit::Money(1_000_000),
        "百万元" | "百万" => Unit::Money(100_000_000),
        "千万元" | "千万" => Unit::Money(1_000_000_000),
        "亿元" | "亿" => Unit::Money(10_000_000_000),
        "m2" | "m^2" | "平方米" | "平米" | "平方" | "sqm" => Unit::Area(100),
        "公顷" | "ha" => Unit::Area(1_000_000),
        "平方公里" | "km2" | "平方千米" => Unit::Area(100_000_000),
        "%" | "百分比" | "百分之" => Unit::Share(100),
        "‰" => Unit::Share(10),
        "bp" | "基点" | "万分比" => Unit::Share(1),
        other
            if [
                "元", "币", "圆", "美金", "$", "usd", "hkd", "eur", "亩", "米", "尺", "ft", "股", "万", "亿", "坪",
            ]
            .iter()
            .any(|part| other.contains(part)) =>
        {
            return Some(Err(Code::BadUnit));
        }
        _ => return None,
    }))
}

/// Splits `￥1.2万元` into its number and the unit that stands in front or behind.
fn split_unit(text: &str) -> (String, &str) {
    let front = ["¥", "rmb", "RMB", "cny", "CNY", "人民币"]
        .iter()
        .find_map(|sign| text.strip_prefix(sign));
    let rest = front.unwrap_or(text);
    let rest = rest.strip_prefix([':', ',']).unwrap_or(rest);
    // A bracket around is how accountants write what is owed.
    let (negative, rest) = match rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) if !inner.starts_with('-') => ("-", inner),
        _ => ("", rest),
    };
    let end = rest
        .find(|character: char| !(character.is_ascii_digit() || matches!(character, '.' | ',' | '-' | '+')))
        .unwrap_or(rest.len());
    let number = format!("{negative}{}", &rest[..end]);
    let tail = &rest[end..];
    (
        number,
        if tail.is_empty() && front.is_some() {
            "元"
        } else {
            tail
        },
    )
}

fn measured(cell: &Cell, header: Option<Unit>, default: Option<Unit>) -> Result<(Decimal, Unit), Code> {
    match cell {
        Cell::Number { value, look } => {
            let number = Decimal::of_double(*value).ok_or(Code::BadAmount)?;
            let unit = if *look == Look::Percent {
                Some(Unit::Share(10_000))
            } else {
                header.or(default)
            };
            Ok((number, unit.ok_or(Code::BadUnit)?))
        }
        Cell::Text(text) => {
            let text = plain(text);
            let (number, tail) = split_unit(&text);
            let number = Decimal::parse(&number).ok_or(if number.is_empty() && text.starts_with('$') {
                Code::BadUnit
            } else {
                Code::BadAmount
            })?;
            let own = match tail {
                "" => None,
                tail => match unit(tail) {
                    Some(unit) => Some(unit?),
                    None => return Err(Code::BadAmount),
                },
            };
            Ok((number, own.or(header).or(default).ok_or(Code::BadUnit)?))
        }
        _ => Err(Code::BadAmount),
    }
}

/// Text as it is kept: NFC, outer blanks gone, line breaks as blanks. Numbers as the spreadsheet shows them.
pub(crate) fn text(cell: &Cell, epoch_1904: bool) -> Result<String, Code> {
    match cell {
        _ if cell.lost_digits() => Err(Code::LostDigits),
        Cell::Text(text) => {
            let lines: Vec<_> = text
                .split(['\n', '\r', '\t'])
                .map(|line| line.trim_matches(crate::cell::blank))
                .filter(|line| !line.is_empty())
                .collect();
            Ok(lines.join(" ").nfc().collect())
        }
        Cell::Number { look: Look::Date, .. } => Ok(crate::dates::date(cell, epoch_1904)?.to_string()),
        Cell::Number { value, look } => {
            let percent = *look == Look::Percent;
            let number = Decimal::of_double(if percent { *value * 100.0 } else { *value }).ok_or(Code::Unreadable)?;
            Ok(format!("{number}{}", if percent { "%" } else { "" }))
        }
        Cell::Boolean(value) => Ok(if *value { "是" } else { "否" }.to_owned()),
        Cell::Broken => Err(Code::Unreadable),
    }
}

/// Money in fen.
pub(crate) fn money(cell: &Cell, header: Option<Unit>) -> Result<i64, Code> {
    match measured(cell, header, Some(Unit::Money(100)))? {
        (number, Unit::Money(fen)) => number.whole(fen).ok_or(Code::BadAmount),
        _ => Err(Code::BadUnit),
    }
}

/// An area in 0.01 m².
pub(crate) fn area(cell: &Cell, header: Option<Unit>) -> Result<i64, Code> {
    match measured(cell, header, Some(Unit::Area(100)))? {
        (number, Unit::Area(hundredths)) => number
            .whole(hundredths)
            .filter(|area| *area >= 0)
            .ok_or(Code::BadAmount),
        _ => Err(Code::BadUnit),
    }
}

/// A share in basis points. A bare number above one is per cent; one and below could be either, and is refused.
pub(crate) fn share(cell: &Cell, header: Option<Unit>) -> Result<i64, Code> {
    if let Cell::Text(text) = cell
        && let Some((part, whole)) = plain(text).split_once('/')
    {
        let part: i64 = part.parse().map_err(|_| Code::BadAmount)?;
        let whole: i64 = whole.parse().map_err(|_| Code::BadAmount)?;
        if !(1..=1_000_000).contains(&whole) || !(0..=whole).contains(&part) {
            return Err(Code::BadAmount);
        }
        return Ok((part * 20_000 + whole) / (2 * whole));
    }
    let (number, unit) = match measured(cell, header, None) {
        Err(Code::BadUnit) => {
            let (number, _) = measured(cell, None, Some(Unit::Share(100)))?;
            let percent = number.whole(1_000_000).ok_or(Code::BadAmount)?;
            if percent != 0 && percent <= 1_000_000 {
                return Err(Code::BadUnit);
            }
            (number, Unit::Share(100))
        }
        other => other?,
    };
    match unit {
        Unit::Share(points) => number
            .whole(points)
            .filter(|share| (0..=10_000).contains(share))
            .ok_or(Code::BadAmount),
        _ => Err(Code::BadUnit),
    }
}

/// A count, with `个月`, `月`, `次` behind it or not.
pub(crate) fn integer(cell: &Cell) -> Result<i64, Code> {
    match cell {
        Cell::Number { value, .. } => Decimal::of_double(*value).and_then(|number| number.whole(1)),
        Cell::Text(text) => {
            let text = plain(text);
            let number = ["个月", "月", "次", "人", "个", "年"]
                .iter()
                .find_map(|tail| text.strip_suffix(tail))
                .unwrap_or(&text);
            Decimal::parse(number).and_then(|number| number.whole(1))
        }
        _ => None,
    }
    .ok_or(Code::BadAmount)
}

/// A number without fraction, not negative.
pub(crate) fn whole_number(value: f64) -> Option<u32> {
    let number = Decimal::of_double(value)?.whole(1)?;
    u32::try_from(number).ok()
}

/// Yes or no, in the words of departments.
pub(crate) fn boolean(cell: &Cell) -> Result<bool, Code> {
    match cell {
        Cell::Boolean(value) => Ok(*value),
        Cell::Number { value, .. } => match whole_number(*value) {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(Code::Unreadable),
        },
        Cell::Text(text) => match plain(text).to_lowercase().as_str() {
            "是" | "有" | "已" | "y" | "yes" | "true" | "t" | "1" | "√" | "✓" | "已抵押" | "抵押" | "已缴清"
            | "缴清" | "已登记" | "登记" => Ok(true),
            "否" | "无" | "未" | "n" | "no" | "false" | "f" | "0" | "×" | "x" | "未抵押" | "未缴清" | "未登记"
            | "没有" | "不是" => Ok(false),
            _ => Err(Code::Unreadable),
        },
        _ => Err(Code::Unreadable),
    }
}

/// One of a closed list: its id, its word, or its word with a usual tail.
pub(crate) fn code(cell: &Cell, codes: &[sanku_catalogue::Code]) -> Result<String, Code> {
    let Cell::Text(text) = cell else {
        return Err(Code::Unreadable);
    };
    let word = plain(text);
    let stem = |word: &str| -> Option<String> {
        codes
            .iter()
            .find(|code| code.label == word || code.id.eq_ignore_ascii_case(word))
            .map(|code| code.id.clone())
    };
    let shorter = || {
        ["保险", "险", "登记", "共有", "所有", "车", "运输"]
            .iter()
            .filter_map(|tail| word.strip_suffix(tail))
            .find_map(stem)
    };
    stem(&word).or_else(shorter).ok_or(Code::Unreadable)
}

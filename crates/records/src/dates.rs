//! Days, months and years in every form that departments write, and the serial numbers of spreadsheets.

use sanku_values::{Date, Month, Year};
use unicode_normalization::UnicodeNormalization;

use crate::Code;
use crate::cell::{Cell, Look};
use crate::values::{all_digits, whole_number};

/// A day in any of the usual forms.
pub(crate) fn date(cell: &Cell, epoch_1904: bool) -> Result<Date, Code> {
    match cell {
        Cell::Number { value, look } => match whole_number(*value) {
            Some(number) if *look != Look::Date && (18_000_101..=99_991_231).contains(&number) => compact_date(number),
            _ => serial(*value, epoch_1904),
        },
        Cell::Text(text) => {
            let text = trimmed(text);
            let day = without_time(&text).ok_or(Code::BadDate)?;
            if all_digits(day) {
                let number: u32 = day.parse().map_err(|_| Code::BadDate)?;
                return match day.len() {
                    8 => compact_date(number),
                    5 => serial(f64::from(number), epoch_1904),
                    _ => Err(Code::BadDate),
                };
            }
            match parts(day).ok_or(Code::BadDate)?.as_slice() {
                [year, month, day] => new_date(*year, *month, *day),
                _ => Err(Code::BadDate),
            }
        }
        _ => Err(Code::BadDate),
    }
}

/// A month: `202305`, `2023-5`, `2023年5月`, or a day of it.
pub(crate) fn month(cell: &Cell, epoch_1904: bool) -> Result<Month, Code> {
    let new = |year: u32, month: u32| {
        let year = u16::try_from(year).map_err(|_| Code::BadDate)?;
        Month::new(year, u8::try_from(month).map_err(|_| Code::BadDate)?).map_err(|_| Code::BadDate)
    };
    match cell {
        Cell::Number { value, look } => {
            if *look != Look::Date
                && let Some(number) = whole_number(*value)
                && (180_001..=999_912).contains(&number)
            {
                return new(number / 100, number % 100);
            }
        }
        Cell::Text(text) => {
            let text = trimmed(text);
            if text.len() == 6 && all_digits(&text) {
                let number: u32 = text.parse().map_err(|_| Code::BadDate)?;
                return new(number / 100, number % 100);
            }
            if let Some([year, month]) = parts(&text).as_deref() {
                // `2023.1` may have been October before a spreadsheet took it for a number.
                if text.contains('.') && text.len() != 7 {
                    return Err(Code::BadDate);
                }
                return new(*year, *month);
            }
        }
        _ => return Err(Code::BadDate),
    }
    let day = date(cell, epoch_1904)?;
    Month::new(day.year(), day.month()).map_err(|_| Code::BadDate)
}

/// A year: `2023`, `2023年`, `2023年度`.
pub(crate) fn year(cell: &Cell) -> Result<Year, Code> {
    let number = match cell {
        Cell::Number { value, look } if *look != Look::Date => whole_number(*value),
        Cell::Text(text) => {
            let text = trimmed(text);
            let text = ["年度", "年"]
                .iter()
                .find_map(|tail| text.strip_suffix(tail))
                .unwrap_or(&text);
            (text.len() == 4 && all_digits(text))
                .then(|| text.parse().ok())
                .flatten()
        }
        _ => None,
    };
    let number = number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or(Code::BadDate)?;
    Year::new(number).map_err(|_| Code::BadDate)
}

/// NFKC, outer white space gone; the space before a time of day stays.
fn trimmed(text: &str) -> String {
    let text: String = text.nfkc().collect();
    text.trim_matches(|character: char| character.is_whitespace() || character == '\'')
        .to_owned()
}

/// The day before a time of day, if what follows is one.
fn without_time(text: &str) -> Option<&str> {
    let Some((day, time)) = text.split_once([' ', 'T']) else {
        return Some(text);
    };
    let time = time.trim();
    let like_time = time.contains(':')
        && time
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'Z'));
    like_time.then_some(day)
}

/// Year, month and perhaps day, between one kind of separator or 年月日.
fn parts(text: &str) -> Option<Vec<u32>> {
    let numbers: Vec<&str> = if let Some((year, rest)) = text.split_once('年') {
        let (month, rest) = rest.split_once('月')?;
        let day = rest
            .strip_suffix('日')
            .or_else(|| rest.strip_suffix('号'))
            .unwrap_or(rest);
        if rest.is_empty() {
            vec![year, month]
        } else {
            vec![year, month, day]
        }
    } else {
        let separator = text.chars().find(|character| matches!(character, '-' | '/' | '.'))?;
        text.split(separator).collect()
    };
    let first = numbers.first()?;
    let shaped = first.len() == 4 && numbers.iter().skip(1).all(|part| (1..=2).contains(&part.trim().len()));
    if !shaped {
        return None;
    }
    numbers
        .iter()
        .map(|part| part.trim())
        .map(|part| all_digits(part).then(|| part.parse().ok()).flatten())
        .collect()
}

fn compact_date(number: u32) -> Result<Date, Code> {
    new_date(number / 10_000, number / 100 % 100, number % 100)
}

fn new_date(year: u32, month: u32, day: u32) -> Result<Date, Code> {
    let small = |number: u32| u8::try_from(number).map_err(|_| Code::BadDate);
    let year = u16::try_from(year).map_err(|_| Code::BadDate)?;
    Date::new(year, small(month)?, small(day)?).map_err(|_| Code::BadDate)
}

/// Days from a spreadsheet's epoch. Lotus' 29 February 1900, day 60, never was.
fn serial(value: f64, epoch_1904: bool) -> Result<Date, Code> {
    if !(1.0..2_958_466.0).contains(&value) {
        return Err(Code::BadDate);
    }
    // Bounded just above: the whole days fit.
    let days = value.floor() as i64;
    let since_1970 = match (epoch_1904, days) {
        (true, days) => days - 24_107,
        (false, 60) => return Err(Code::BadDate),
        (false, 1..60) => days - 25_568,
        (false, days) => days - 25_569,
    };
    Date::from_days(since_1970).map_err(|_| Code::BadDate)
}

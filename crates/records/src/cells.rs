//! Cells as departments write them, read into the catalogue's values: dates, amounts, areas, codes, whatever the form.

use sanku_catalogue::{Field, FieldKind, LONGEST_TEXT, Value};
use sanku_values::{CreditCode, Date, IdentityNumber, Month, Year};
use unicode_normalization::UnicodeNormalization;

use crate::Code;

/// One cell as it stands in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its text; for a number the digits that the file holds.
    pub(crate) text: String,
    /// Whether the spreadsheet holds it as a number.
    pub(crate) number: bool,
}

/// How a column's numbers are scaled: the unit in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Ten thousand (万) or one.
    pub(crate) factor: i64,
    /// The unit is an area.
    pub(crate) area: bool,
    /// The unit is money.
    pub(crate) money: bool,
}

impl Scale {
    pub(crate) const NONE: Self = Self {
        factor: 1,
        area: false,
        money: false,
    };
}

/// A cell's text after NFKC, without outer and inner blanks that carry nothing.
pub(crate) fn plain(text: &str) -> String {
    text.nfkc()
        .filter(|character| !matches!(character, '\u{200b}' | '\u{feff}' | '\u{a0}'))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Reads a cell as a field's value. `epoch_1904` says how serial dates count.
pub(crate) fn value(cell: &Cell, field: &Field, scale: Scale, epoch_1904: bool, today: Date) -> Result<Value, Code> {
    let text = plain(&cell.text);
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if text.len() > LONGEST_TEXT {
        return Err(Code::TooLong);
    }
    if text.contains('\u{fffd}') {
        return Err(Code::Unreadable);
    }
    let value = match &field.kind {
        FieldKind::Text => {
            let kept: String = cell
                .text
                .trim()
                .nfc()
                .map(|character| if character.is_control() { ' ' } else { character })
                .collect();
            Value::Text(kept.trim().to_owned())
        }
        FieldKind::Date => Value::Text(date(&text, cell.number, epoch_1904).ok_or(Code::BadDate)?.to_string()),
        FieldKind::Month => Value::Text(month(&text, cell.number, epoch_1904).ok_or(Code::BadDate)?.to_string()),
        FieldKind::Year => Value::Text(year(&text).ok_or(Code::BadDate)?.to_string()),
        FieldKind::Money => Value::Integer(decimal(&text, cell.number, scale, &["元", "RMB", "CNY"])?),
        FieldKind::Area => Value::Integer(decimal(&text, cell.number, scale, &["平方米", "m2", "平米"])?),
        FieldKind::Integer => {
            let hundredths = decimal(&text, cell.number, Scale::NONE, &["个月", "月", "次", "个"])?;
            if hundredths % 100 != 0 {
                return Err(Code::BadAmount);
            }
            Value::Integer(hundredths / 100)
        }
        FieldKind::BasisPoints => Value::Integer(share(&text, cell.number)?),
        FieldKind::Boolean => Value::Boolean(match text.to_lowercase().as_str() {
            "是" | "有" | "已" | "y" | "yes" | "true" | "1" | "已抵押" | "已登记" | "已缴清" | "缴清" => {
                true
            }
            "否" | "无" | "未" | "n" | "no" | "false" | "0" | "未抵押" | "未登记" | "未缴清" => false,
            _ => return Err(Code::Unreadable),
        }),
        FieldKind::Code(codes) => {
            let found = codes
                .iter()
                .find(|code| text == code.label || text == code.id || stem(&text) == stem(&code.label));
            Value::Text(found.ok_or(Code::Unreadable)?.id.clone())
        }
        FieldKind::CreditCode => Value::Text(
            text.to_uppercase()
                .replace([' ', '-'], "")
                .parse::<CreditCode>()
                .map_err(|_| Code::BadCreditCode)?
                .to_string(),
        ),
        FieldKind::IdentityNumber => Value::Text(identity(cell, today)?.as_str().to_owned()),
    };
    if field.admits(&value) {
        Ok(value)
    } else {
        Err(if matches!(value, Value::Integer(_)) {
            Code::BadAmount
        } else {
            Code::Unreadable
        })
    }
}

/// The stem that 养老保险, 基本养老 and 养老 share.
fn stem(text: &str) -> String {
    let mut text = text.to_owned();
    for part in [
        "基本",
        "保险",
        "居民基本",
        "共有",
        "所有",
        "登记",
        "小学",
        "学校",
        "人寿",
    ] {
        text = text.replace(part, "");
    }
    text
}

/// Reads an identity number. A double keeps fifteen digits: its nearest neighbour can be somebody else's valid number.
pub(crate) fn identity(cell: &Cell, today: Date) -> Result<IdentityNumber, Code> {
    let text = plain(&cell.text);
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let scientific = text.contains(['e', 'E'])
        && text.contains(['+', '.'])
        && text
            .chars()
            .all(|character| character.is_ascii_digit() || matches!(character, '.' | '+' | 'e' | 'E'));
    if (cell.number && digits > 15) || scientific {
        return Err(Code::LostDigits);
    }
    if text.contains(['、', ',', ';', '/', '；']) || (text.split_whitespace().count() > 1 && digits > 30) {
        return Err(Code::SeveralPeople);
    }
    IdentityNumber::parse(&text, today).map_err(|_| Code::BadIdentityNumber)
}

/// A decimal number in hundredths, scaled by the units in cell and header.
fn decimal(text: &str, number: bool, scale: Scale, own_units: &[&str]) -> Result<i64, Code> {
    let mut rest: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    let mut factor = scale.factor;
    for sign in ["¥", "￥", "RMB", "CNY"] {
        rest = rest.strip_prefix(sign).map_or(rest.clone(), str::to_owned);
    }
    for unit in own_units {
        if let Some(short) = rest.strip_suffix(unit) {
            rest = short.to_owned();
            break;
        }
    }
    if let Some(short) = rest.strip_suffix('万') {
        rest = short.to_owned();
        factor = 10_000;
    }
    if number && (rest.contains(['e', 'E']) || rest.split_once('.').is_some_and(|(_, decimals)| decimals.len() > 6)) {
        // What a double says of a decimal number with few places.
        let float: f64 = rest.parse().map_err(|_| Code::BadAmount)?;
        rest = format!("{float:.6}");
    }
    if rest
        .chars()
        .any(|character| character.is_alphabetic() || matches!(character, '$' | '€' | '£'))
    {
        return Err(Code::BadUnit);
    }
    let (negative, digits) = match rest.strip_prefix(['-', '−']) {
        Some(digits) => (true, digits.to_owned()),
        None => match rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => (true, inner.to_owned()),
            None => (false, rest.clone()),
        },
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
    let whole = without_thousands(whole).ok_or(Code::BadAmount)?;
    let decimals = decimals.trim_end_matches('0');
    if whole.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) || decimals.len() > 6 || whole.len() > 15
    {
        return Err(Code::BadAmount);
    }
    let millionths: i128 = format!("{whole}{decimals:0<6}").parse().map_err(|_| Code::BadAmount)?;
    let scaled = millionths * i128::from(factor);
    // Less than a hundredth is said by no department; a double's noise is.
    let hundredths = if number {
        (scaled + 5_000) / 10_000
    } else if scaled % 10_000 == 0 {
        scaled / 10_000
    } else {
        return Err(Code::BadAmount);
    };
    let hundredths = i64::try_from(hundredths).map_err(|_| Code::BadAmount)?;
    Ok(if negative { -hundredths } else { hundredths })
}

/// `12,345` is read, `1,23` is not.
fn without_thousands(text: &str) -> Option<String> {
    let groups: Vec<_> = text.split(',').collect();
    let digits = groups
        .iter()
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    let grouped = groups.len() == 1 || (groups[0].len() <= 3 && groups[1..].iter().all(|group| group.len() == 3));
    (digits && grouped).then(|| groups.concat())
}

/// `60%`, `0.6`, `1/2` and 6000 basis points.
fn share(text: &str, number: bool) -> Result<i64, Code> {
    if let Some(percent) = text.strip_suffix('%') {
        return decimal(percent, number, Scale::NONE, &[]);
    }
    if let Some((part, whole)) = text.split_once('/') {
        let (part, whole): (i64, i64) = (
            part.trim().parse().map_err(|_| Code::BadAmount)?,
            whole.trim().parse().map_err(|_| Code::BadAmount)?,
        );
        return if whole > 0 && (0..=whole).contains(&part) {
            Ok(part * 10_000 / whole)
        } else {
            Err(Code::BadAmount)
        };
    }
    let hundredths = decimal(text, number, Scale::NONE, &[])?;
    // A bare number up to one is a share of the whole, any other one is a percentage.
    Ok(if text.contains('.') && hundredths <= 100 || hundredths == 100 {
        hundredths * 100
    } else {
        hundredths
    })
}

/// Days in the forms that departments write, and serial numbers of a spreadsheet.
pub(crate) fn date(text: &str, number: bool, epoch_1904: bool) -> Option<Date> {
    let text = text.split(['T', ' ']).next().unwrap_or_default();
    if let Some(parts) = split_date(text)
        && let [year, month, day] = parts[..]
    {
        return Date::new(
            u16::try_from(year).ok()?,
            u8::try_from(month).ok()?,
            u8::try_from(day).ok()?,
        )
        .ok();
    }
    if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Date::new(
            text[..4].parse().ok()?,
            text[4..6].parse().ok()?,
            text[6..].parse().ok()?,
        )
        .ok();
    }
    if number {
        let serial = text
            .split('.')
            .next()?
            .parse::<i64>()
            .ok()
            .filter(|serial| (366..=80_000).contains(serial))?;
        // Day 60 of the 1900 system is the 29 February 1900 that never was.
        let days = if epoch_1904 { serial - 24_107 } else { serial - 25_569 };
        return Date::from_days(days).ok();
    }
    None
}

/// `2023-5-1`, `2023/05/01`, `2023.5.1`, `2023年5月1日`: numbers between the marks.
fn split_date(text: &str) -> Option<Vec<u32>> {
    let text = text.trim_end_matches(['日', '月', '年']);
    if !text.contains(['-', '/', '.', '年']) {
        return None;
    }
    text.split(['-', '/', '.', '年', '月'])
        .map(|part| part.trim().parse().ok())
        .collect()
}

fn month(text: &str, number: bool, epoch_1904: bool) -> Option<Month> {
    if let Some(parts) = split_date(text)
        && let [year, month, ..] = parts[..]
    {
        return Month::new(u16::try_from(year).ok()?, u8::try_from(month).ok()?).ok();
    }
    if text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Month::new(text[..4].parse().ok()?, text[4..].parse().ok()?).ok();
    }
    let day = date(text, number, epoch_1904)?;
    Month::new(day.year(), day.month()).ok()
}

fn year(text: &str) -> Option<Year> {
    let text = text
        .trim_end_matches("年度")
        .trim_end_matches('年')
        .trim_end_matches(".0");
    Year::new(text.parse().ok().filter(|_| text.len() == 4)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Result<i64, Code> {
        decimal(&plain(text), false, Scale::NONE, &["元"])
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, fen) in [
            ("12,345.60元", 1_234_560),
            ("1.2万元", 1_200_000),
            ("1.2万", 1_200_000),
            ("￥300", 30_000),
            ("¥300.5", 30_050),
            ("１２３", 12_300),
            ("-5", -500),
            ("(12.00)", -1200),
            ("0", 0),
        ] {
            assert_eq!(amount(text), Ok(fen), "{text}");
        }
        assert_eq!(decimal("0.1", true, Scale::NONE, &[]), Ok(10));
        assert_eq!(decimal("12345.600000000001", true, Scale::NONE, &[]), Ok(1_234_560));
        for text in ["", "abc", "1,23", "1.234", "12元整", "五百", "$5", "1.2.3", "--5"] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert_eq!(
            decimal(
                "3",
                false,
                Scale {
                    factor: 10_000,
                    area: false,
                    money: true
                },
                &["元"]
            ),
            Ok(3_000_000)
        );
    }

    #[test]
    fn dates_are_read_as_people_write_them() {
        for text in [
            "2023-5-1",
            "2023/05/01",
            "20230501",
            "2023年5月1日",
            "2023.5.1",
            "2023-05-01 00:00:00",
        ] {
            assert_eq!(date(text, false, false).unwrap().to_string(), "2023-05-01", "{text}");
        }
        assert_eq!(date("45047", true, false).unwrap().to_string(), "2023-05-01");
        assert_eq!(date("43585", true, true).unwrap().to_string(), "2023-05-01");
        assert_eq!(month("202305", false, false).unwrap().to_string(), "2023-05");
        assert_eq!(month("2023年5月", false, false).unwrap().to_string(), "2023-05");
        for text in ["2023-2-30", "20231301", "昨天", "45047", ""] {
            assert_eq!(date(text, false, false), None, "{text}");
        }
    }

    #[test]
    fn lost_digits_are_lost_even_if_they_pass() {
        let today = Date::new(2026, 11, 24).unwrap();
        let cell = |text: &str, number| Cell {
            text: text.to_owned(),
            number,
        };
        assert_eq!(
            identity(&cell("110105194912310021", true), today),
            Err(Code::LostDigits)
        );
        assert_eq!(identity(&cell("1.10105E+17", false), today), Err(Code::LostDigits));
        assert_eq!(
            identity(&cell("11010519491231002X、110105194912310021", false), today),
            Err(Code::SeveralPeople)
        );
        assert!(identity(&cell("'11010519491231002x", false), today).is_ok());
    }

    #[test]
    fn shares_are_basis_points() {
        assert_eq!(share("60%", false), Ok(6000));
        assert_eq!(share("0.6", false), Ok(6000));
        assert_eq!(share("1/3", false), Ok(3333));
        assert_eq!(share("100", false), Ok(10_000));
    }
}

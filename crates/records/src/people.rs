//! Identity numbers and names in cells: what a spreadsheet did to them, and whether they are one person's.

use sanku_values::{CreditCode, Date, IdentityNumber, PersonName};

use crate::Code;
use crate::cell::{Cell, blank};
use crate::values::plain;

/// Reads an identity number. A double keeps fifteen digits: its nearest neighbour can be somebody else's valid number.
pub(crate) fn identity(cell: &Cell, today: Date) -> Result<IdentityNumber, Code> {
    if cell.lost_digits() {
        return Err(Code::LostDigits);
    }
    let text = match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number { value, .. } => format!("{value}"),
        Cell::Boolean(_) | Cell::Broken => return Err(Code::BadIdentityNumber),
    };
    if text.len() > 4096 {
        return Err(Code::TooLong);
    }
    match IdentityNumber::parse(&text, today) {
        Ok(identity) => Ok(identity),
        Err(_) if several_numbers(&text) => Err(Code::SeveralPeople),
        // Eighteen digits that end in noughts and fail: a spreadsheet wrote them out after it had lost them.
        Err(_) => {
            let digits = plain(&text);
            let rounded =
                digits.len() == 18 && digits.ends_with("000") && digits.bytes().all(|byte| byte.is_ascii_digit());
            Err(if rounded {
                Code::LostDigits
            } else {
                Code::BadIdentityNumber
            })
        }
    }
}

/// Whether two stretches of the text are long enough to be numbers.
fn several_numbers(text: &str) -> bool {
    let long = |part: &&str| plain(part).chars().filter(char::is_ascii_alphanumeric).count() >= 8;
    let parts = text.split(|character: char| !character.is_alphanumeric() && !matches!(character, '\'' | '-'));
    let together = plain(text).chars().filter(char::is_ascii_alphanumeric).count();
    parts.filter(long).count() >= 2 || together >= 30
}

/// Surnames of two characters, so that 欧阳 娜娜 is one person.
const LONG_SURNAMES: [&str; 16] = [
    "欧阳", "上官", "司马", "诸葛", "东方", "皇甫", "尉迟", "公孙", "慕容", "令狐", "司徒", "夏侯", "长孙", "宇文",
    "端木", "轩辕",
];

/// Whether a name cell names several people.
pub(crate) fn several_names(text: &str) -> bool {
    let marks = ['、', ',', '，', ';', '；', '/', '／', '|', '&', '\n', '\r', '+'];
    let named = |part: &&str| {
        plain(part)
            .chars()
            .filter(|character| character.is_alphabetic())
            .count()
            >= 2
    };
    if text.trim().split(marks).filter(named).count() >= 2 {
        return true;
    }
    // 张三等3人
    let folded = plain(text);
    if folded.rsplit_once('等').is_some_and(|(_, rest)| rest.ends_with('人')) {
        return true;
    }
    // A blank inside a name of two characters is ornament; between two whole names it is not.
    let parts: Vec<&str> = text.split_whitespace().collect();
    let han = |part: &&&str| {
        part.chars().count() >= 2
            && part
                .chars()
                .all(|character| ('\u{4e00}'..='\u{9fff}').contains(&character))
    };
    parts.len() >= 2
        && parts.iter().filter(han).count() == parts.len()
        && parts.first().is_none_or(|first| !LONG_SURNAMES.contains(first))
}

/// Reads one person's name.
pub(crate) fn person(cell: &Cell) -> Result<PersonName, Code> {
    let text = cell.as_text().ok_or(Code::Unreadable)?;
    if several_names(text) {
        return Err(Code::SeveralPeople);
    }
    let text = text.trim_matches(blank);
    if text.chars().count() > 100 {
        return Err(Code::TooLong);
    }
    if plain(text)
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte.is_ascii_punctuation())
    {
        return Err(Code::Unreadable);
    }
    PersonName::parse(text).map_err(|_| Code::Unreadable)
}

/// Reads a unified social credit code.
pub(crate) fn credit_code(cell: &Cell) -> Result<String, Code> {
    if cell.lost_digits() {
        return Err(Code::LostDigits);
    }
    let text = cell.as_text().ok_or(Code::BadCreditCode)?;
    let code: String = plain(text)
        .to_uppercase()
        .chars()
        .filter(|character| *character != '-')
        .collect();
    Ok(code.parse::<CreditCode>().map_err(|_| Code::BadCreditCode)?.to_string())
}

/// Provinces of GB/T 2260 that a number can begin with.
const PROVINCES: [u32; 32] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63,
    64, 65, 71,
];

/// Whether the division that a number begins with is one that GB/T 2260 has, or had, room for.
///
/// The standard's full tables, with all that was abolished, are no part of this program: judged are the province, the
/// ranges that the standard sets aside for prefectures and counties, and Jingzhou's own list.
pub(crate) fn division_is_known(identity: &IdentityNumber) -> bool {
    if identity.kind() != sanku_values::IdentityKind::Resident {
        return true;
    }
    let Some(Ok(code)) = identity.as_str().get(..6).map(str::parse::<u32>) else {
        return false;
    };
    let (province, prefecture, county) = (code / 10_000, code / 100 % 100, code % 100);
    if code / 100 == 4210 {
        return matches!(county, 0..=4 | 21..=24 | 81 | 83 | 87 | 88);
    }
    PROVINCES.contains(&province) && matches!(prefecture, 1..=40 | 51..=70 | 90) && county != 0
}

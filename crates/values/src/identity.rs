//! Identity numbers (证件号码): GB 11643 and what stands beside it. What is held is the normalised number; `Debug` masks it.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

use crate::{Date, DivisionCode};

/// What kind of document a number belongs to (证件类型).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// Resident identity card (居民身份证), GB 11643.
    Resident,
    /// Residence permit of Hong Kong and Macao residents (港澳居民居住证), 81… and 82….
    HongKongMacao,
    /// Residence permit of Taiwan residents (台湾居民居住证), 83….
    Taiwan,
    /// Foreigner's permanent residence card, three letters and twelve digits (外国人永久居留身份证，旧版).
    ForeignOld,
    /// Foreigner's permanent residence card, 18 digits beginning with 9 (外国人永久居留身份证，新版).
    ForeignNew,
    /// A passport (护照).
    Passport,
}

/// An identity number that holds: normalised, its check character right, its birth date real.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityNumber {
    text: String,
    kind: IdentityKind,
}

/// Why a text is no identity number. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentityNumber {
    /// Another length or other characters than any document has.
    #[error("不是任何证件号码的样式 not the shape of any identity number")]
    Shape,
    /// The check character of GB 11643 does not fit.
    #[error("校验码不符 the check character does not fit")]
    Check,
    /// The birth date does not exist or lies in the future.
    #[error("出生日期不存在或在将来 the birth date does not exist or lies in the future")]
    BirthDate,
}

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: &[u8; 11] = b"10X98765432";

impl IdentityNumber {
    /// Reads a number as people write it: full-width digits, spaces, a small `x`, an apostrophe in front; 15 digits become 18.
    ///
    /// `today` bounds the birth date.
    pub fn parse(written: &str, today: Date) -> Result<Self, NotAnIdentityNumber> {
        let text: String = written
            .nfkc()
            .filter(|character| {
                !character.is_whitespace()
                    && !matches!(character, '\'' | '\u{2018}' | '\u{2019}' | '\u{200b}' | '\u{feff}')
            })
            .flat_map(char::to_uppercase)
            .take(64)
            .collect();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        match (text.len(), digits) {
            (18, 17 | 18) => {
                if check_of(&text) != text.bytes().next_back() {
                    return Err(NotAnIdentityNumber::Check);
                }
                Self::with_birth(text, today)
            }
            (15, 15) => {
                let mut long = format!("{}19{}", &text[..6], &text[6..]);
                let check = check_of(&long).ok_or(NotAnIdentityNumber::Shape)?;
                long.push(char::from(check));
                Self::with_birth(long, today)
            }
            (15, 0)
                if text.bytes().take(3).all(|byte| byte.is_ascii_uppercase())
                    && text.bytes().skip(3).all(|byte| byte.is_ascii_digit()) =>
            {
                Ok(Self {
                    text,
                    kind: IdentityKind::ForeignOld,
                })
            }
            // A passport begins with one or two letters; digits alone would let a damaged resident number pass.
            (7..=10, 0)
                if text.bytes().skip(2).all(|byte| byte.is_ascii_digit())
                    && text.bytes().take(2).all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                Ok(Self {
                    text,
                    kind: IdentityKind::Passport,
                })
            }
            _ => Err(NotAnIdentityNumber::Shape),
        }
    }

    /// The number that begins with these 17 digits, its check character computed.
    pub fn completing(first: &str, today: Date) -> Result<Self, NotAnIdentityNumber> {
        let check = check_of(first)
            .filter(|_| first.len() == 17)
            .ok_or(NotAnIdentityNumber::Shape)?;
        Self::parse(&format!("{first}{}", char::from(check)), today)
    }

    /// Judges the birth date of 18 characters whose check character is right.
    fn with_birth(text: String, today: Date) -> Result<Self, NotAnIdentityNumber> {
        let kind = match text.as_bytes() {
            [b'8', b'1' | b'2', ..] => IdentityKind::HongKongMacao,
            [b'8', b'3', ..] => IdentityKind::Taiwan,
            [b'9', ..] => IdentityKind::ForeignNew,
            [b'1'..=b'7', ..] => IdentityKind::Resident,
            _ => return Err(NotAnIdentityNumber::Shape),
        };
        let number = Self { text, kind };
        match number.birth_date() {
            Some(birth) if birth <= today && birth.year() >= 1850 => Ok(number),
            _ => Err(NotAnIdentityNumber::BirthDate),
        }
    }

    /// The document's kind.
    pub const fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// The normalised number itself: a secret.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// First six and last four characters, for screens and copies.
    pub fn masked(&self) -> String {
        let (head, tail) = if self.text.len() >= 15 { (6, 4) } else { (1, 2) };
        let hidden = self.text.len().saturating_sub(head + tail);
        format!(
            "{}{}{}",
            &self.text[..head],
            "*".repeat(hidden),
            &self.text[head + hidden..]
        )
    }

    /// The division of first registration, where the digits name one (it may since be abolished).
    pub fn division(&self) -> Option<DivisionCode> {
        (self.kind == IdentityKind::Resident)
            .then(|| self.text[..6].parse().ok())
            .flatten()
    }

    /// The birth date that the number carries.
    pub fn birth_date(&self) -> Option<Date> {
        if self.text.len() != 18 {
            return None;
        }
        let number = |range: std::ops::Range<usize>| self.text.get(range).and_then(|digits| digits.parse::<u16>().ok());
        Date::new(
            number(6..10)?,
            u8::try_from(number(10..12)?).ok()?,
            u8::try_from(number(12..14)?).ok()?,
        )
        .ok()
    }
}

/// The check character of GB 11643 for the first 17 digits.
fn check_of(text: &str) -> Option<u8> {
    let sum = text.bytes().zip(WEIGHTS).try_fold(0, |sum, (byte, weight)| {
        byte.is_ascii_digit().then(|| sum + u32::from(byte - b'0') * weight)
    })?;
    CHECKS.get(usize::try_from(sum % 11).ok()?).copied()
}

/// Reads the normalised form alone, as it travels and is stored: what is written otherwise is refused.
impl FromStr for IdentityNumber {
    type Err = NotAnIdentityNumber;

    fn from_str(text: &str) -> Result<Self, NotAnIdentityNumber> {
        // A later day than any birth: the number was judged against the day on which it came in.
        let last = Date::new(9999, 12, 31).map_err(|_| NotAnIdentityNumber::Shape)?;
        let number = Self::parse(text, last)?;
        if number.text == text {
            Ok(number)
        } else {
            Err(NotAnIdentityNumber::Shape)
        }
    }
}

impl fmt::Debug for IdentityNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("IdentityNumber(…)")
    }
}

impl serde::Serialize for IdentityNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for IdentityNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn today() -> Date {
        Date::new(2026, 11, 24).unwrap()
    }

    fn parse(text: &str) -> Result<IdentityNumber, NotAnIdentityNumber> {
        IdentityNumber::parse(text, today())
    }

    #[test]
    fn the_standards_example_holds() {
        // GB 11643, appendix: 11010519491231002X.
        let number = parse("11010519491231002X").unwrap();
        assert_eq!(number.kind(), IdentityKind::Resident);
        assert_eq!(number.birth_date().unwrap().to_string(), "1949-12-31");
        assert_eq!(number.masked(), "110105********002X");
        assert_eq!(format!("{number:?}"), "IdentityNumber(…)");
    }

    #[test]
    fn what_departments_write_is_read() {
        for written in [
            "11010519491231002x",
            "'11010519491231002X",
            "１１０１０５１９４９１２３１００２Ｘ",
            " 110105 19491231 002X ",
        ] {
            assert_eq!(parse(written).unwrap().as_str(), "11010519491231002X", "{written}");
        }
        assert_eq!(parse("110105491231002").unwrap().as_str(), "11010519491231002X");
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        assert_eq!(parse("110105194912310021"), Err(NotAnIdentityNumber::Check));
        assert_eq!(parse("11010519491231"), Err(NotAnIdentityNumber::Shape));
        assert_eq!(parse(""), Err(NotAnIdentityNumber::Shape));
        assert_eq!(parse("1.10105194912E+17"), Err(NotAnIdentityNumber::Shape));
        assert_eq!(parse("110105491301002"), Err(NotAnIdentityNumber::BirthDate));
        assert!(
            "11010519491231002x".parse::<IdentityNumber>().is_err(),
            "stored form is the normalised one"
        );
    }

    #[test]
    fn other_documents_keep_their_kind() {
        assert_eq!(parse("ABC123456789012").unwrap().kind(), IdentityKind::ForeignOld);
        assert_eq!(parse("E12345678").unwrap().kind(), IdentityKind::Passport);
        assert_eq!(
            parse("810000199408230021").map(|number| number.kind()),
            Ok(IdentityKind::HongKongMacao)
        );
        assert_eq!(
            parse("830000199201300022").map(|number| number.kind()),
            Ok(IdentityKind::Taiwan)
        );
    }

    proptest! {
        #[test]
        fn one_changed_digit_never_passes(position in 0_usize..17, other in 0_u8..10) {
            let good = "11010519491231002X";
            let mut bytes = good.as_bytes().to_vec();
            bytes[position] = b'0' + other;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(parse(&changed).is_ok(), changed == good);
        }

        #[test]
        fn anything_is_read_or_refused(text in ".{0,40}") {
            if let Ok(number) = parse(&text) {
                prop_assert_eq!(number.as_str().parse::<IdentityNumber>().unwrap(), number);
            }
        }
    }
}

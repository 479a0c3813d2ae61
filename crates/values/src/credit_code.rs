//! Unified social credit codes (统一社会信用代码, GB 32100).

use std::fmt;
use std::str::FromStr;

/// A credit code whose check character is right: 18 characters of `0-9A-HJ-NPQRTUWXY`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreditCode(String);

/// The text is no credit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("不是有效的统一社会信用代码 not a valid unified social credit code")]
pub struct NotACreditCode;

const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

impl CreditCode {
    /// The code's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code that begins with these 17 characters.
    pub fn completing(first: &str) -> Result<Self, NotACreditCode> {
        let check = check_of(first).ok_or(NotACreditCode)?;
        format!("{first}{}", char::from(check)).parse()
    }
}

/// Weights are the powers of three modulo 31; the check brings the sum to nought.
fn check_of(first: &str) -> Option<u8> {
    let mut weight = 1;
    let mut sum = 0;
    for byte in first.bytes() {
        sum += ALPHABET.iter().position(|letter| *letter == byte)? * weight;
        weight = weight * 3 % 31;
    }
    ALPHABET.get((31 - sum % 31) % 31).copied()
}

impl FromStr for CreditCode {
    type Err = NotACreditCode;

    fn from_str(text: &str) -> Result<Self, NotACreditCode> {
        if text.len() != 18 || !text.is_ascii() || check_of(&text[..17]) != text.bytes().next_back() {
            return Err(NotACreditCode);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CreditCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

crate::text::serde_as_text!(CreditCode, "a unified social credit code");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_completed_and_read_again() {
        // The code of a public body, as printed on its licence: a fact to check the arithmetic against.
        assert!("91350100M000100Y43".parse::<CreditCode>().is_ok());
        let code = CreditCode::completing("91421000MA4900001").unwrap();
        assert_eq!(code.as_str().parse::<CreditCode>(), Ok(code));
    }

    #[test]
    fn each_changed_character_is_refused() {
        let good = "91350100M000100Y43";
        for position in 0..18 {
            for letter in ALPHABET {
                let mut bytes = good.as_bytes().to_vec();
                bytes[position] = *letter;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(changed.parse::<CreditCode>().is_ok(), changed == good);
            }
        }
        for text in ["", "91350100M000100Y4", "91350100m000100y43", "91350100I000100Y43"] {
            assert_eq!(text.parse::<CreditCode>(), Err(NotACreditCode));
        }
    }
}

//! Names of people (姓名): the original stays, comparison folds what departments write differently.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A person's name: NFC, not empty, at most 100 characters, no control characters. A secret: `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonName(String);

/// The text is no name. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("不是姓名 not a name")]
pub struct NotAName;

impl PersonName {
    /// Reads a name as a department writes it: outer spaces go, the text becomes NFC.
    pub fn parse(written: &str) -> Result<Self, NotAName> {
        written.trim().nfc().collect::<String>().parse()
    }

    /// As it was written.
    pub fn original(&self) -> &str {
        &self.0
    }

    /// For comparison: NFKC, the dots of foreign names folded, spaces gone.
    pub fn folded(&self) -> String {
        self.0
            .nfkc()
            .filter(|character| !character.is_whitespace())
            .map(|character| {
                if matches!(character, '•' | '.' | '‧' | '・' | '∙' | '⋅') {
                    '·'
                } else {
                    character
                }
            })
            .flat_map(char::to_lowercase)
            .collect()
    }

    /// Whether both are the same name after folding.
    pub fn matches(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }

    /// First character and `*`, for screens and copies.
    pub fn masked(&self) -> String {
        self.0.chars().take(1).chain(['*']).collect()
    }
}

impl FromStr for PersonName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let count = text.chars().count();
        if count == 0 || count > 100 || text.trim() != text || !is_nfc(text) || text.chars().any(char::is_control) {
            return Err(NotAName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for PersonName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PersonName(…)")
    }
}

crate::text::serde_as_text!(PersonName, "a name");

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PersonName {
        PersonName::parse(text).unwrap()
    }

    #[test]
    fn ways_of_writing_one_name_match() {
        assert!(name("买买提·艾力").matches(&name("买买提•艾力")));
        assert!(name("买买提·艾力").matches(&name("买买提.艾力")));
        assert!(name("王 芳").matches(&name("王芳")));
        assert!(!name("王芳").matches(&name("王方")));
    }

    #[test]
    fn the_original_stays_and_debug_is_silent() {
        assert_eq!(name(" 买买提•艾力 ").original(), "买买提•艾力");
        assert_eq!(format!("{:?}", name("王芳")), "PersonName(…)");
        assert_eq!(name("王芳").masked(), "王*");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "  ", "王\u{0}芳", "王\n芳"] {
            assert_eq!(PersonName::parse(text), Err(NotAName));
        }
    }
}

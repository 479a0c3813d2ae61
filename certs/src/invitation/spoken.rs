//! An invitation as text: four rows of fourteen signs in groups, the last sign of each row its check. Letters that sound or
//! look alike do not occur (Crockford's alphabet); any wrong sign, two signs changed about, and rows in another order are
//! found, and the row is named.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::{Invitation, Terms, number};
use sanku_tlog::Hash;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Rows, and signs of a row before its check: 52 signs of five bits hold 256 bits and four of nought.
const ROWS: usize = 4;
const WIDTH: usize = 13;

/// Secret and digest of an invitation. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Spoken {
    pub(super) secret: Zeroizing<[u8; 16]>,
    pub(super) digest: [u8; 16],
}

impl fmt::Debug for Spoken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Spoken(…)")
    }
}

/// Why a text is no invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSpoken {
    /// Not four rows of fourteen signs.
    #[error(
        "邀请码应为 56 个字符（4 行，每行 14 个），现有 {0} 个 a code has 56 signs, four rows of fourteen; here are {0}"
    )]
    Length(usize),
    /// A sign that no code has.
    #[error("第 {0} 行有邀请码中不会出现的字符 row {0} holds a sign that no code has")]
    Sign(usize),
    /// A row whose check does not fit.
    #[error("第 {0} 行有误，请重读这一行 row {0} is wrong: have it read again")]
    Row(usize),
    /// The door shows other terms.
    #[error(
        "对方出示的不是邀请码所指的发证机构，请勿继续 whoever answers is not the authority that the code names: do not go on"
    )]
    Terms,
}

impl Spoken {
    /// The number under which the door knows the invitation.
    pub fn number(&self) -> Hash {
        number(&self.secret)
    }

    /// The invitation, once the door has shown its terms.
    ///
    /// # Errors
    /// [`NotSpoken::Terms`] if they are not those that the code pins.
    pub fn with(self, terms: Terms) -> Result<Invitation, NotSpoken> {
        if terms.digest() != self.digest {
            return Err(NotSpoken::Terms);
        }
        Ok(Invitation {
            terms,
            secret: self.secret,
        })
    }
}

/// Times two in the field of 32 elements, modulo x^5 + x^2 + 1.
const fn doubled(value: u8) -> u8 {
    let shifted = value << 1;
    if shifted & 32 == 0 { shifted } else { (shifted & 31) ^ 5 }
}

/// A row's check: the row's number and its signs as coefficients of a polynomial, at a generator of the field. Every place
/// has a factor of its own, so that no single wrong sign and no two signs changed about leave it as it is.
fn check(row: usize, signs: &[u8]) -> u8 {
    let first = u8::try_from(row).unwrap_or_default() + 1;
    let sum = signs.iter().fold(first, |sum, sign| doubled(sum) ^ sign);
    doubled(sum)
}

impl fmt::Display for Spoken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = Zeroizing::new([self.secret.as_slice(), &self.digest].concat());
        let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
        let sign = |place: usize| (0..5).fold(0, |sign, at| sign << 1 | u8::from(bit(place * 5 + at)));
        for row in 0..ROWS {
            let mut signs: Vec<_> = (row * WIDTH..(row + 1) * WIDTH).map(sign).collect();
            signs.push(check(row, &signs));
            let letters: String = signs
                .iter()
                .map(|sign| char::from(ALPHABET[usize::from(*sign)]))
                .collect();
            let end = if row + 1 < ROWS { "\n" } else { "" };
            write!(out, "{}-{}-{}{end}", &letters[..5], &letters[5..10], &letters[10..])?;
        }
        Ok(())
    }
}

impl FromStr for Spoken {
    type Err = NotSpoken;

    /// Reads a code however it was written down: in any case, with other spaces and hyphens, O for 0, I or L for 1.
    fn from_str(text: &str) -> Result<Self, NotSpoken> {
        let plain = |letter: &char| !letter.is_whitespace() && !matches!(letter, '-' | '–' | '—' | '.' | '_');
        let letters: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().filter(plain).collect());
        if letters.len() != ROWS * (WIDTH + 1) {
            return Err(NotSpoken::Length(letters.len()));
        }
        let mut bits = Zeroizing::new(Vec::with_capacity(ROWS * WIDTH * 5));
        for (row, letters) in letters.chunks(WIDTH + 1).enumerate() {
            let read = |letter: &char| {
                let letter = match letter.to_ascii_uppercase() {
                    'O' => '0',
                    'I' | 'L' => '1',
                    other => other,
                };
                let place = ALPHABET.iter().position(|sign| char::from(*sign) == letter)?;
                u8::try_from(place).ok()
            };
            let signs: Option<Vec<_>> = letters.iter().map(read).collect();
            let signs = Zeroizing::new(signs.ok_or(NotSpoken::Sign(row + 1))?);
            if check(row, &signs[..WIDTH]) != signs[WIDTH] {
                return Err(NotSpoken::Row(row + 1));
            }
            for sign in &signs[..WIDTH] {
                bits.extend((0..5).rev().map(|at| sign >> at & 1));
            }
        }
        let (held, rest) = bits.split_at(256);
        if rest.contains(&1) {
            return Err(NotSpoken::Row(ROWS));
        }
        let octet = |place: usize| held[place * 8..][..8].iter().fold(0, |octet, bit| octet << 1 | bit);
        Ok(Self {
            secret: Zeroizing::new(std::array::from_fn(octet)),
            digest: std::array::from_fn(|place| octet(16 + place)),
        })
    }
}

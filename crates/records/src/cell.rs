//! One cell, and one row of cells, whatever file they came from.

use std::fmt;

/// How a spreadsheet shows a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As a number.
    Plain,
    /// As a day or a time.
    Date,
    /// As a percentage.
    Percent,
}

/// A cell. A secret: `Debug` shows only its kind.
#[derive(Clone, PartialEq)]
pub(crate) enum Cell {
    /// Text, not blank.
    Text(String),
    /// A number, kept as the double that the spreadsheet holds.
    Number { value: f64, look: Look },
    /// Yes or no.
    Boolean(bool),
    /// Something stands there that is no value: an error, a formula without result, bytes that are no character.
    Broken,
}

impl fmt::Debug for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Number { .. } => "Number(…)",
            Self::Boolean(_) => "Boolean(…)",
            Self::Broken => "Broken",
        })
    }
}

impl Cell {
    /// Text that is not blank.
    pub(crate) fn text(text: String) -> Option<Self> {
        if text.trim_matches(blank).is_empty() {
            None
        } else if text.contains('\u{fffd}') {
            Some(Self::Broken)
        } else {
            Some(Self::Text(text))
        }
    }

    /// A number as a file writes it.
    pub(crate) fn number(written: &str, look: Look) -> Self {
        let written = written.trim();
        match written.parse::<f64>() {
            Ok(value) if value.is_finite() => Self::Number { value, look },
            _ => Self::Broken,
        }
    }

    /// Whether a spreadsheet may have dropped digits: more than fifteen stand before the point.
    pub(crate) fn lost_digits(&self) -> bool {
        match self {
            Self::Number { value, .. } => value.abs() >= 1e15,
            Self::Text(text) => scientific(text),
            _ => false,
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.as_text().map_or(8, str::len)
    }
}

/// `4.21002E+17`: what a spreadsheet writes into a CSV file for a long number.
fn scientific(text: &str) -> bool {
    let text = crate::values::plain(text);
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_holds = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(mantissa),
    };
    mantissa_holds && exponent.strip_prefix('+').is_some_and(digits)
}

/// White space, and the marks that show nothing.
pub(crate) fn blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{200b}' | '\u{feff}' | '\u{2060}')
}

/// A cell in its column, from 0.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) column: usize,
    pub(crate) cell: Cell,
    /// Its value comes from a merge that began in a row above.
    pub(crate) merged: bool,
}

/// One row. Only cells that hold something are there, by rising column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// As the spreadsheet shows it, from 1.
    pub(crate) number: u64,
    pub(crate) hidden: bool,
    /// In CSV, how many cells were separated; unknown in a workbook.
    pub(crate) width: Option<usize>,
    pub(crate) cells: Vec<Placed>,
}

impl Row {
    pub(crate) fn cell(&self, column: usize) -> Option<&Cell> {
        let found = self.cells.binary_search_by_key(&column, |placed| placed.column).ok()?;
        self.cells.get(found).map(|placed| &placed.cell)
    }

    /// No cell of its own: values that merges lend to it do not make it a row.
    pub(crate) fn is_blank(&self) -> bool {
        self.cells.iter().all(|placed| placed.merged)
    }

    pub(crate) fn first_text(&self) -> Option<&str> {
        self.cells
            .iter()
            .find(|placed| !placed.merged)
            .and_then(|placed| placed.cell.as_text())
    }
}

/// A column's letters: `A`, `Z`, `AA`.
pub(crate) fn letters(column: usize) -> String {
    let mut rest = column + 1;
    let mut text = Vec::new();
    while rest > 0 {
        let letter = u8::try_from((rest - 1) % 26).unwrap_or(0);
        text.push(char::from(b'A' + letter));
        rest = (rest - 1) / 26;
    }
    text.iter().rev().collect()
}

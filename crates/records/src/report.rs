//! What comes out of a file: accepted rows, and the fate of every other.

use std::fmt;

use sanku_catalogue::Fields;
use sanku_values::{Date, IdentityNumber, PersonName};

use crate::{Code, Unreadable};

/// A row that goes in (接受的行). A secret: `Debug` shows only where it stood.
#[derive(Clone, PartialEq, Eq)]
pub struct AcceptedRow {
    /// The sheet's name; none in a CSV file.
    pub sheet: Option<String>,
    /// The row's number as the spreadsheet shows it, from 1.
    pub row: u64,
    /// Whose record it is.
    pub identity: IdentityNumber,
    /// The name that the department wrote.
    pub name: PersonName,
    /// The date of the column 日期, where the category has one and the cell is filled.
    pub as_of: Option<Date>,
    /// The record's fields.
    pub fields: Fields,
}

impl fmt::Debug for AcceptedRow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "AcceptedRow(row {}, …)", self.row)
    }
}

/// A row that does not go in (拒绝的行). Says where and what is wrong, never the value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// The row's number as the spreadsheet shows it, from 1.
    pub row: u64,
    /// The sheet's name; none in a CSV file.
    pub sheet: Option<String>,
    /// The column's header, if one cell is to blame.
    pub column: Option<String>,
    /// Why.
    pub code: Code,
    /// One sentence for a person, Chinese first.
    pub message: String,
}

/// A row, or a sheet, of which something is to be said: skipped, duplicate or warned of (提示).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Notice {
    /// The row's number; none if the whole sheet is meant.
    pub row: Option<u64>,
    /// The sheet's name; none in a CSV file.
    pub sheet: Option<String>,
    /// What.
    pub code: Code,
}

/// A file, read (读取结果). Every non-blank row below the header has exactly one fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// Non-blank rows below the header, all sheets together.
    pub rows: u64,
    /// How many were accepted: the length of `accepted`, unless the caller took the rows one by one.
    pub accepted_count: u64,
    /// Rows that go in; empty if the caller took them one by one.
    pub accepted: Vec<AcceptedRow>,
    /// Rows that do not.
    pub refused: Vec<Refused>,
    /// Total lines, repeated headers and footers.
    pub skipped: Vec<Notice>,
    /// Rows that stood earlier in the same file.
    pub duplicates: Vec<Notice>,
    /// What a person should look at although it was read: hidden rows and sheets, unknown divisions, sheets not read.
    pub warnings: Vec<Notice>,
    /// Headers of columns that the category does not know, in the file's order.
    pub ignored_columns: Vec<String>,
}

impl Reading {
    pub(crate) const fn empty() -> Self {
        Self {
            sha256: String::new(),
            rows: 0,
            accepted_count: 0,
            accepted: Vec::new(),
            refused: Vec::new(),
            skipped: Vec::new(),
            duplicates: Vec::new(),
            warnings: Vec::new(),
            ignored_columns: Vec::new(),
        }
    }

    /// Whether every row has exactly one fate: asked in production before a reading is handed out.
    pub fn adds_up(&self) -> bool {
        let fates = [self.refused.len(), self.skipped.len(), self.duplicates.len()];
        let others: u64 = fates
            .iter()
            .map(|count| u64::try_from(*count).unwrap_or(u64::MAX))
            .sum();
        self.accepted_count.checked_add(others) == Some(self.rows)
    }

    pub(crate) fn checked(self) -> Result<Self, Unreadable> {
        if self.adds_up() {
            Ok(self)
        } else {
            Err(Unreadable::new(
                Code::Unreadable,
                "内部核对失败：各行去向之和与行数不符，未导入任何数据 internal check failed: the rows' fates do not add up, nothing was imported",
            ))
        }
    }
}

/// How far the reading has come (进度).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Non-blank rows judged so far.
    pub rows: u64,
    /// How many of them were accepted.
    pub accepted: u64,
}

/// Bounds on what is really read, never on what a header claims (限度).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Rows of all sheets, blank ones included.
    pub rows: u64,
    /// Columns.
    pub columns: usize,
    /// Cells of all sheets.
    pub cells: u64,
    /// Bytes of one row's text; also of one XML token.
    pub row_bytes: usize,
    /// Entries of the archive.
    pub entries: usize,
    /// Sheets of a workbook.
    pub sheets: usize,
    /// Bytes that all entries together may unpack to.
    pub unpacked_bytes: u64,
    /// How many times its own size a file may unpack to; the first 32 MiB are free.
    pub expansion: u64,
    /// Shared strings.
    pub strings: usize,
    /// Bytes of shared strings.
    pub string_bytes: u64,
    /// Merged areas of one sheet.
    pub merges: usize,
    /// Depth of XML elements.
    pub nesting: usize,
    /// Refused rows; a file with more is refused whole.
    pub refused: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 512 << 20,
            rows: 2_000_000,
            columns: 1024,
            cells: 60_000_000,
            row_bytes: 1 << 20,
            entries: 4096,
            sheets: 256,
            unpacked_bytes: 2 << 30,
            expansion: 60,
            strings: 4_000_000,
            string_bytes: 256 << 20,
            merges: 200_000,
            nesting: 32,
            refused: 100_000,
        }
    }
}

//! The closed list of what can be said of a file or a row, and the refusal of a whole file.

use std::fmt;

/// What happened to a file, a sheet or a row (代码). The list is closed: scripts may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The identity number does not hold (证件号码有误).
    BadIdentityNumber,
    /// The spreadsheet kept only fifteen digits of a longer number (数字位数丢失).
    LostDigits,
    /// Several people in one cell (一格多人).
    SeveralPeople,
    /// No day, month or year that exists (日期有误).
    BadDate,
    /// No amount, area, share or count (数值有误).
    BadAmount,
    /// No valid unified social credit code (统一社会信用代码有误).
    BadCreditCode,
    /// A cell that every row needs is empty (缺少必填项).
    MissingField,
    /// More or fewer cells than the header has (列数不符).
    ColumnCount,
    /// What stands there cannot be read (无法读取).
    Unreadable,
    /// A cell is longer than a record can hold (内容过长).
    TooLong,
    /// The same row stood earlier in this file (文件内重复).
    DuplicateInFile,
    /// A line of totals (合计行).
    TotalLine,
    /// The header once more (重复表头).
    HeaderRepeated,
    /// A line below the data: who made it, notes (表尾).
    Footer,
    /// The row is hidden in the spreadsheet; it was read (隐藏行).
    HiddenRow,
    /// The sheet is hidden in the workbook; it was read (隐藏工作表).
    HiddenSheet,
    /// The identity number names a division that is not known (行政区划代码未知).
    UnknownDivision,
    /// Two columns for one field (表头有歧义).
    AmbiguousHeader,
    /// The same file was imported before (已导入过). Said by the store's side, not by this crate.
    AlreadyImported,
    /// Neither CSV nor xlsx (不支持的格式).
    UnsupportedFormat,
    /// Larger than the bounds allow (超出限度).
    OverLimit,
    /// A unit that cannot be converted (单位有误).
    BadUnit,
    /// No header with the columns that are needed (缺少表头).
    MissingHeader,
    /// A sheet without such a header beside one that was read (未读的工作表).
    SheetNotRead,
}

impl Code {
    /// The code's text, as scripts read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadIdentityNumber => "bad_identity_number",
            Self::LostDigits => "lost_digits",
            Self::SeveralPeople => "several_people",
            Self::BadDate => "bad_date",
            Self::BadAmount => "bad_amount",
            Self::BadCreditCode => "bad_credit_code",
            Self::MissingField => "missing_field",
            Self::ColumnCount => "column_count",
            Self::Unreadable => "unreadable",
            Self::TooLong => "too_long",
            Self::DuplicateInFile => "duplicate_in_file",
            Self::TotalLine => "total_line",
            Self::HeaderRepeated => "header_repeated",
            Self::Footer => "footer",
            Self::HiddenRow => "hidden_row",
            Self::HiddenSheet => "hidden_sheet",
            Self::UnknownDivision => "unknown_division",
            Self::AmbiguousHeader => "ambiguous_header",
            Self::AlreadyImported => "already_imported",
            Self::UnsupportedFormat => "unsupported_format",
            Self::OverLimit => "over_limit",
            Self::BadUnit => "bad_unit",
            Self::MissingHeader => "missing_header",
            Self::SheetNotRead => "sheet_not_read",
        }
    }
}

impl Code {
    /// One sentence for each code that a row can meet, without values.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::BadIdentityNumber => {
                "证件号码不成立，请核对（位数、出生日期或校验码不对） the identity number does not hold: length, birth date or check character"
            }
            Self::LostDigits => {
                "长号码被当作数字保存，末几位已丢失；请把该列设为文本后重新填写 a long number was kept as a number and has lost digits; make the column text and fill it in again"
            }
            Self::SeveralPeople => "一格里写了几个人，请一人一行 several people in one cell; give each a row",
            Self::BadDate => "日期不存在或看不懂，请写成 2023-05-01 not a date that exists; write it like 2023-05-01",
            Self::BadAmount => "数值看不懂，请只写数字和单位 not a number that can be read; write digits and a unit",
            Self::BadCreditCode => "统一社会信用代码不成立，请核对 the unified social credit code does not hold",
            Self::MissingField => "必填的一格是空的 a cell that must be filled is empty",
            Self::ColumnCount => {
                "这一行的列数与表头不符，可能有没加引号的分隔符 the row has not as many cells as the header; perhaps a separator without quotation marks"
            }
            Self::TooLong => "内容过长 the cell is too long",
            Self::BadUnit => "单位不明或不能换算 the unit is not clear or cannot be converted",
            _ => "这一格的内容看不懂 what stands in this cell cannot be read",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The whole file is refused: nothing of it goes in. The message says how to cure it, Chinese first, and no personal value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{message}")]
pub struct Unreadable {
    /// Why.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
}

impl Unreadable {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn over(chinese: &str, english: &str) -> Self {
        Self::new(Code::OverLimit, format!("{chinese} {english}"))
    }
}

//! The fate of every row: accepted, refused with its reason, skipped, or a duplicate. None has two, none has none.

use std::collections::HashSet;

use sanku_catalogue::{Category, FieldKind};
use sanku_values::{Date, PersonName};

use crate::cells::{Cell, date, identity, plain, value};
use crate::headers::{Column, Header, find};
use crate::source::{Rows, Sheet, SourceRow};
use crate::{AcceptedRow, Code, Limits, Notice, Progress, Reading, Refused, Unreadable};

/// How far down a header may stand.
const TITLE_ROWS: u64 = 20;
/// Provinces that identity numbers begin with.
const PROVINCES: [u32; 31] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63,
    64, 65,
];

/// Judges rows as they come.
pub(crate) struct Judge<'a> {
    category: &'a Category,
    limits: &'a Limits,
    today: Date,
    progress: &'a mut dyn FnMut(Progress),
    each: &'a mut dyn FnMut(AcceptedRow),
    sheet: Sheet,
    header: Option<Header>,
    before_header: u64,
    any_header: bool,
    seen: HashSet<[u8; 32]>,
    pub(crate) reading: Reading,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        category: &'a Category,
        limits: &'a Limits,
        today: Date,
        progress: &'a mut dyn FnMut(Progress),
        each: &'a mut dyn FnMut(AcceptedRow),
    ) -> Self {
        let reading = Reading {
            sha256: String::new(),
            rows: 0,
            accepted_count: 0,
            accepted: Vec::new(),
            refused: Vec::new(),
            skipped: Vec::new(),
            duplicates: Vec::new(),
            warnings: Vec::new(),
            ignored_columns: Vec::new(),
        };
        let sheet = Sheet {
            name: None,
            hidden: false,
            epoch_1904: false,
        };
        Self {
            category,
            limits,
            today,
            progress,
            each,
            sheet,
            header: None,
            before_header: 0,
            any_header: false,
            seen: HashSet::new(),
            reading,
        }
    }

    /// The report, once the file was read to its end.
    pub(crate) fn finish(mut self) -> Result<Reading, Unreadable> {
        self.leave_sheet();
        if !self.any_header {
            return Err(Unreadable::new(
                Code::MissingHeader,
                "没有找到表头：需要“姓名”和“身份证号”两列 no header was found: the columns 姓名 and 身份证号 are needed",
            ));
        }
        Ok(self.reading)
    }

    fn leave_sheet(&mut self) {
        if self.header.is_none() && self.before_header > 0 && self.sheet.name.is_some() {
            self.reading.warnings.push(Notice {
                row: None,
                sheet: self.sheet.name.clone(),
                code: Code::SheetNotRead,
            });
        }
    }

    fn notice(&self, row: u64, code: Code) -> Notice {
        Notice {
            row: Some(row),
            sheet: self.sheet.name.clone(),
            code,
        }
    }

    fn refuse(&mut self, row: u64, column: Option<String>, code: Code) -> Result<(), Unreadable> {
        if self.reading.refused.len() >= self.limits.refused {
            return Err(Unreadable::over(
                "被拒绝的行过多，请先检查文件",
                "too many rows are refused; look at the file first",
            ));
        }
        let message = words(code).to_owned();
        self.reading.refused.push(Refused {
            row,
            sheet: self.sheet.name.clone(),
            column,
            code,
            message,
        });
        Ok(())
    }

    /// One row below the header.
    fn judge(&mut self, header: &Header, row: &SourceRow) -> Result<(), Unreadable> {
        self.reading.rows += 1;
        let texts: Vec<String> = row.cells.iter().map(|cell| plain(&cell.text)).collect();
        let filled: Vec<&String> = texts.iter().filter(|text| !text.is_empty()).collect();
        let named = |wanted: &Column| {
            header
                .columns
                .iter()
                .position(|column| column == wanted)
                .and_then(|place| row.cells.get(place))
                .filter(|cell| !plain(&cell.text).is_empty())
        };
        let (number, name) = (named(&Column::Number), named(&Column::Name));
        if number.is_none()
            && filled.iter().any(|text| {
                ["合计", "总计", "小计", "合 计", "总 计"]
                    .iter()
                    .any(|word| text.replace(' ', "").starts_with(&word.replace(' ', "")))
            })
        {
            let notice = self.notice(row.number, Code::TotalLine);
            self.reading.skipped.push(notice);
            return Ok(());
        }
        if texts
            .iter()
            .zip(&header.texts)
            .filter(|(text, head)| !text.is_empty() && text == head)
            .count()
            >= 2
        {
            let notice = self.notice(row.number, Code::HeaderRepeated);
            self.reading.skipped.push(notice);
            return Ok(());
        }
        if number.is_none()
            && filled.len() == 1
            && filled.iter().all(|text| {
                [
                    "制表", "填表", "备注", "说明", "注:", "单位", "日期", "经办", "审核", "打印",
                ]
                .iter()
                .any(|word| text.starts_with(word))
            })
        {
            let notice = self.notice(row.number, Code::Footer);
            self.reading.skipped.push(notice);
            return Ok(());
        }
        if row
            .cells
            .iter()
            .skip(header.columns.len())
            .any(|cell| !plain(&cell.text).is_empty())
        {
            return self.refuse(row.number, None, Code::ColumnCount);
        }
        match self.read(header, row, number, name) {
            Ok(accepted) => self.accept(row, accepted),
            Err((column, code)) => self.refuse(row.number, column, code),
        }
    }

    fn read(
        &self,
        header: &Header,
        row: &SourceRow,
        number: Option<&Cell>,
        name: Option<&Cell>,
    ) -> Result<AcceptedRow, (Option<String>, Code)> {
        let at = |place: usize| header.texts.get(place).cloned();
        let of = |wanted: &Column| header.columns.iter().position(|column| column == wanted).and_then(at);
        let number = number.ok_or_else(|| (of(&Column::Number), Code::MissingField))?;
        let name = name.ok_or_else(|| (of(&Column::Name), Code::MissingField))?;
        if name.text.contains(['、', '，', ';', '；', '/', '\n']) || name.text.contains(',') {
            return Err((of(&Column::Name), Code::SeveralPeople));
        }
        let identity = identity(number, self.today).map_err(|code| (of(&Column::Number), code))?;
        let name = PersonName::parse(&name.text)
            .ok()
            .filter(|name| !name.original().contains('\u{fffd}'))
            .ok_or_else(|| (of(&Column::Name), Code::Unreadable))?;
        let mut values = Vec::new();
        let mut as_of = None;
        for (place, column) in header.columns.iter().enumerate() {
            let cell = row.cells.get(place).cloned().unwrap_or_default();
            match column {
                Column::Field(field, scale) => {
                    let Some(field) = self.category.fields.get(*field) else {
                        continue;
                    };
                    let wrong_unit = (scale.money && field.kind != FieldKind::Money)
                        || (scale.area && field.kind != FieldKind::Area);
                    if wrong_unit && !plain(&cell.text).is_empty() {
                        return Err((at(place), Code::BadUnit));
                    }
                    let value = value(&cell, field, *scale, self.sheet.epoch_1904, self.today)
                        .map_err(|code| (at(place), code))?;
                    values.push((field.id.clone(), value));
                }
                Column::AsOf if !plain(&cell.text).is_empty() => {
                    as_of = Some(
                        date(&plain(&cell.text), cell.number, self.sheet.epoch_1904)
                            .ok_or_else(|| (at(place), Code::BadDate))?,
                    );
                }
                _ => {}
            }
        }
        let fields = self.category.fields_of(values).map_err(|_| (None, Code::Unreadable))?;
        Ok(AcceptedRow {
            sheet: self.sheet.name.clone(),
            row: row.number,
            identity,
            name,
            as_of,
            fields,
        })
    }

    fn accept(&mut self, row: &SourceRow, accepted: AcceptedRow) -> Result<(), Unreadable> {
        let said = format!(
            "{}\n{}\n{:?}\n{}",
            accepted.identity.as_str(),
            accepted.name.folded(),
            accepted.as_of,
            accepted.fields.canonical()
        );
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, said.as_bytes()).as_ref());
        if !self.seen.insert(digest) {
            let notice = self.notice(row.number, Code::DuplicateInFile);
            self.reading.duplicates.push(notice);
            return Ok(());
        }
        if row.hidden {
            let notice = self.notice(row.number, Code::HiddenRow);
            self.reading.warnings.push(notice);
        }
        if accepted
            .identity
            .division()
            .is_some_and(|division| !PROVINCES.contains(&(division.number() / 10_000)))
        {
            let notice = self.notice(row.number, Code::UnknownDivision);
            self.reading.warnings.push(notice);
        }
        self.reading.accepted_count += 1;
        (self.each)(accepted);
        if self.reading.rows.is_multiple_of(1000) {
            (self.progress)(Progress {
                rows: self.reading.rows,
                accepted: self.reading.accepted_count,
            });
        }
        Ok(())
    }
}

impl Rows for Judge<'_> {
    fn sheet(&mut self, sheet: &Sheet) -> Result<(), Unreadable> {
        self.leave_sheet();
        self.sheet = sheet.clone();
        self.header = None;
        self.before_header = 0;
        Ok(())
    }

    fn row(&mut self, row: SourceRow) -> Result<(), Unreadable> {
        if row.cells.iter().all(|cell| plain(&cell.text).is_empty()) {
            return Ok(());
        }
        if let Some(header) = self.header.take() {
            let judged = self.judge(&header, &row);
            self.header = Some(header);
            return judged;
        }
        self.before_header += 1;
        if self.before_header > TITLE_ROWS {
            return Ok(());
        }
        if let Some(header) = find(&row.cells, self.category)? {
            for column in &header.columns {
                if let Column::Unknown(text) = column
                    && !self.reading.ignored_columns.contains(text)
                {
                    self.reading.ignored_columns.push(text.clone());
                }
            }
            if self.sheet.hidden {
                self.reading.warnings.push(Notice {
                    row: None,
                    sheet: self.sheet.name.clone(),
                    code: Code::HiddenSheet,
                });
            }
            self.any_header = true;
            self.header = Some(header);
        }
        Ok(())
    }
}

/// One sentence for each code, without values.
const fn words(code: Code) -> &'static str {
    match code {
        Code::BadIdentityNumber => "证件号码不成立 the identity number does not hold",
        Code::LostDigits => {
            "证件号码被当作数字保存，末几位已丢失；请把该列设为文本后重新填写 the number was kept as a number and lost digits; make the column text and fill it in again"
        }
        Code::SeveralPeople => "一格里有几个人，请一人一行 several people in one cell; give each a row",
        Code::BadDate => "日期不存在或看不懂 not a date that exists",
        Code::BadAmount => "数值看不懂 not a number that can be read",
        Code::BadCreditCode => "统一社会信用代码不成立 the credit code does not hold",
        Code::MissingField => "姓名或证件号码为空 name or number is empty",
        Code::ColumnCount => "这一行的列数比表头多 the row has more cells than the header",
        Code::TooLong => "内容过长 the cell is too long",
        Code::BadUnit => "单位不能换算 a unit that cannot be converted",
        _ => "内容看不懂 what stands there cannot be read",
    }
}

//! The fate of every row: accepted, refused with its reason, skipped, or a duplicate. None has two, none has none.

use std::collections::{BTreeMap, HashSet};

use sanku_catalogue::{Category, Field, FieldKind, LONGEST_TEXT, Value};
use sanku_values::Date;

use crate::cell::{Cell, Row};
use crate::dates;
use crate::header::{Column, Header, Role, find, texts, unit_above};
use crate::lines::{is_footer, is_total};
use crate::people::{credit_code, division_is_known, identity, person};
use crate::values::{self, Unit, plain};
use crate::xml::Next;
use crate::{AcceptedRow, Code, Limits, Notice, Progress, Reading, Refused, Unreadable};

/// Rows among which a header is looked for.
const TITLE_ROWS: u64 = 50;

/// A sheet about to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet {
    /// None for CSV.
    pub(crate) name: Option<String>,
    pub(crate) hidden: bool,
    pub(crate) epoch_1904: bool,
}

/// Who takes the rows.
pub(crate) trait Rows {
    fn sheet(&mut self, sheet: Sheet) -> Result<(), Unreadable>;
    fn row(&mut self, row: Row) -> Result<Next, Unreadable>;
}

/// Where the reading of a sheet stands.
enum State {
    /// No header yet; how many rows were there, and a unit that stood above.
    Titles { rows: u64, money: Option<Unit> },
    /// A header whose cells may reach down into the next row.
    Header(Box<Header>, Option<Unit>),
    /// Below the header.
    Data(Box<Header>),
    /// No header in the first rows.
    GivenUp,
}

const START: State = State::Titles { rows: 0, money: None };

/// Judges rows as they come.
pub(crate) struct Judge<'a> {
    category: &'a Category,
    limits: &'a Limits,
    today: Date,
    progress: &'a mut dyn FnMut(Progress),
    each: &'a mut dyn FnMut(AcceptedRow),
    sheet: Sheet,
    state: State,
    any_header: bool,
    any_row: bool,
    other_category: Option<Unreadable>,
    seen: HashSet<[u8; 16]>,
    reading: Reading,
}

/// What a row is.
enum Fate {
    Accepted(Box<AcceptedRow>),
    Skipped(Code),
    Refused(Wrong),
}

/// Which cell is wrong, and how.
struct Wrong {
    column: Option<String>,
    code: Code,
}

impl Wrong {
    fn at(column: &Column, code: Code) -> Self {
        Self {
            column: Some(column.text.clone()),
            code,
        }
    }

    const fn row(code: Code) -> Self {
        Self { column: None, code }
    }
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        category: &'a Category,
        limits: &'a Limits,
        today: Date,
        progress: &'a mut dyn FnMut(Progress),
        each: &'a mut dyn FnMut(AcceptedRow),
    ) -> Self {
        Self {
            category,
            limits,
            today,
            progress,
            each,
            sheet: Sheet::default(),
            state: START,
            any_header: false,
            any_row: false,
            other_category: None,
            seen: HashSet::new(),
            reading: Reading::empty(),
        }
    }

    /// The report, once the file was read to its end.
    pub(crate) fn finish(mut self) -> Result<Reading, Unreadable> {
        self.leave_sheet();
        if !self.any_header {
            return Err(self.other_category.take().unwrap_or_else(|| {
                Unreadable::new(
                    Code::MissingHeader,
                    if self.any_row {
                        "没有找到表头：前 50 行内需有一行同时写明“姓名”和“身份证号” no header was found: one of the first 50 rows must name both 姓名 (name) and 身份证号 (id_number)"
                    } else {
                        "文件里没有内容，也没有表头 the file holds no rows and no header"
                    },
                )
            }));
        }
        let step = self.step();
        (self.progress)(step);
        Ok(self.reading)
    }

    const fn step(&self) -> Progress {
        Progress {
            rows: self.reading.rows,
            accepted: self.reading.accepted_count,
        }
    }

    fn leave_sheet(&mut self) {
        match std::mem::replace(&mut self.state, START) {
            State::Titles { rows, .. } if rows > 0 => self.warn(None, Code::SheetNotRead),
            State::GivenUp => self.warn(None, Code::SheetNotRead),
            State::Header(header, _) if !self.adopt(&header) => self.warn(None, Code::SheetNotRead),
            _ => {}
        }
    }

    fn notice(&self, row: Option<u64>, code: Code) -> Notice {
        Notice {
            row,
            sheet: self.sheet.name.clone(),
            code,
        }
    }

    fn warn(&mut self, row: Option<u64>, code: Code) {
        let notice = self.notice(row, code);
        self.reading.warnings.push(notice);
    }

    /// A header is settled; false if it is another category's.
    fn adopt(&mut self, header: &Header) -> bool {
        if let Err(other) = header.belongs_to(self.category) {
            self.other_category = Some(other);
            return false;
        }
        self.any_header = true;
        for text in &header.ignored {
            if !self.reading.ignored_columns.contains(text) {
                self.reading.ignored_columns.push(text.clone());
            }
        }
        if self.sheet.hidden {
            self.warn(None, Code::HiddenSheet);
        }
        true
    }

    /// A row while no header is known.
    fn title(&mut self, row: &Row, rows: u64, money: Option<Unit>) -> Result<Next, Unreadable> {
        let money = match unit_above(row) {
            Some(Ok(unit)) => Some(unit),
            Some(Err(code)) => {
                return Err(Unreadable::new(
                    code,
                    "表头上方写的单位不能换算，请换成元或万元 the unit above the header cannot be converted; use 元 or 万元",
                ));
            }
            None => money,
        };
        self.state = match find(texts(row), row.width, self.category, money)? {
            Some(header) => State::Header(Box::new(header), money),
            None if rows + 1 >= TITLE_ROWS => State::GivenUp,
            None => State::Titles { rows: rows + 1, money },
        };
        Ok(if matches!(self.state, State::GivenUp) {
            Next::Stop
        } else {
            Next::More
        })
    }

    /// The row under a header: its lower half if the header's number and name reach down into it.
    fn under(&mut self, row: Row, header: Box<Header>, money: Option<Unit>) -> Result<Next, Unreadable> {
        let reaches = |role: Role| {
            header.column(role).is_some_and(|column| {
                row.cells
                    .iter()
                    .any(|placed| placed.column == column.place && placed.merged)
            })
        };
        if reaches(Role::Number) && reaches(Role::Name) {
            let mut both: BTreeMap<usize, String> = header.texts.clone();
            both.extend(texts(&row));
            if let Some(header) = find(both, header.width, self.category, money)? {
                return Ok(if self.adopt(&header) {
                    self.state = State::Data(Box::new(header));
                    Next::More
                } else {
                    Next::Stop
                });
            }
        }
        if !self.adopt(&header) {
            return Ok(Next::Stop);
        }
        self.state = State::Data(header);
        self.row(row)
    }

    /// A row below the header meets its one fate.
    fn judge(&mut self, header: &Header, row: &Row) -> Result<(), Unreadable> {
        self.reading.rows += 1;
        if row.hidden {
            self.warn(Some(row.number), Code::HiddenRow);
        }
        match self.fate(header, row) {
            Fate::Accepted(accepted) => self.accept(row, *accepted),
            Fate::Skipped(code) => {
                let notice = self.notice(Some(row.number), code);
                self.reading.skipped.push(notice);
            }
            Fate::Refused(wrong) => {
                if self.reading.refused.len() >= self.limits.refused {
                    return Err(Unreadable::over(
                        "被拒绝的行过多，请先检查文件和所选类别",
                        "too many rows are refused; look at the file and the category first",
                    ));
                }
                self.reading.refused.push(Refused {
                    row: row.number,
                    sheet: self.sheet.name.clone(),
                    column: wrong.column,
                    code: wrong.code,
                    message: wrong.code.words().to_owned(),
                });
            }
        }
        if self.reading.rows.is_multiple_of(1000) {
            let step = self.step();
            (self.progress)(step);
        }
        Ok(())
    }

    fn fate(&self, header: &Header, row: &Row) -> Fate {
        let of = |role: Role| {
            header
                .column(role)
                .and_then(|column| Some((column, row.cell(column.place)?)))
        };
        let (number, name) = (of(Role::Number), of(Role::Name));
        let identity = number.map(|(column, cell)| (column, identity(cell, self.today)));
        let somebody = matches!(
            &identity,
            Some((_, Ok(_) | Err(Code::LostDigits | Code::SeveralPeople)))
        );
        if !somebody {
            if repeats(header, row) {
                return Fate::Skipped(Code::HeaderRepeated);
            }
            if is_total(row) {
                return Fate::Skipped(Code::TotalLine);
            }
            if is_footer(row) {
                return Fate::Skipped(Code::Footer);
            }
        }
        let columns_fit = match (header.width, row.width) {
            (Some(wanted), Some(width)) => {
                width >= wanted && row.cells.last().is_none_or(|placed| placed.column < wanted)
            }
            _ => true,
        };
        if !columns_fit {
            return Fate::Refused(Wrong::row(Code::ColumnCount));
        }
        let missing = |role: Role| Wrong {
            column: header.column(role).map(|column| column.text.clone()),
            code: Code::MissingField,
        };
        let Some((column, identity)) = identity else {
            return Fate::Refused(missing(Role::Number));
        };
        let Some((name_column, name)) = name else {
            return Fate::Refused(missing(Role::Name));
        };
        let identity = match identity {
            Ok(identity) => identity,
            Err(code) => return Fate::Refused(Wrong::at(column, code)),
        };
        let name = match person(name) {
            Ok(name) => name,
            Err(code) => return Fate::Refused(Wrong::at(name_column, code)),
        };
        match self.fields(header, row) {
            Ok((as_of, fields)) => Fate::Accepted(Box::new(AcceptedRow {
                sheet: self.sheet.name.clone(),
                row: row.number,
                identity,
                name,
                as_of,
                fields,
            })),
            Err(wrong) => Fate::Refused(wrong),
        }
    }

    fn fields(&self, header: &Header, row: &Row) -> Result<(Option<Date>, sanku_catalogue::Fields), Wrong> {
        let mut as_of = None;
        let mut read = Vec::with_capacity(header.columns.len());
        let mut keyed = false;
        for column in &header.columns {
            let Some(cell) = row.cell(column.place) else {
                continue;
            };
            match column.role {
                Role::AsOf => {
                    let date = dates::date(cell, self.sheet.epoch_1904).map_err(|code| Wrong::at(column, code))?;
                    as_of = Some(date);
                }
                Role::Field(place) => {
                    let Some(field) = self.category.fields.get(place) else {
                        continue;
                    };
                    let value = self
                        .value(cell, field, column.unit)
                        .map_err(|code| Wrong::at(column, code))?;
                    keyed |= field.key;
                    read.push((field.id.clone(), value));
                }
                Role::Number | Role::Name => {}
            }
        }
        // A key with an empty part is still a key; a row that says nothing of what the record is about is none.
        if !keyed {
            let first_key = header.columns.iter().find(|column| {
                matches!(column.role, Role::Field(place) if self.category.fields.get(place).is_some_and(|field| field.key))
            });
            return Err(first_key.map_or(Wrong::row(Code::MissingField), |column| {
                Wrong::at(column, Code::MissingField)
            }));
        }
        let fields = self
            .category
            .fields_of(read)
            .map_err(|_| Wrong::row(Code::Unreadable))?;
        Ok((as_of, fields))
    }

    fn value(&self, cell: &Cell, field: &Field, unit: Option<Unit>) -> Result<Value, Code> {
        if cell.as_text().is_some_and(|text| text.trim().len() > LONGEST_TEXT) {
            return Err(Code::TooLong);
        }
        if *cell == Cell::Broken {
            return Err(Code::Unreadable);
        }
        let epoch_1904 = self.sheet.epoch_1904;
        let value = match &field.kind {
            FieldKind::Text => Value::Text(values::text(cell, epoch_1904)?),
            FieldKind::Money => Value::Integer(values::money(cell, unit)?),
            FieldKind::Area => Value::Integer(values::area(cell, unit)?),
            FieldKind::BasisPoints => Value::Integer(values::share(cell, unit)?),
            FieldKind::Integer => Value::Integer(values::integer(cell)?),
            FieldKind::Date => Value::Text(dates::date(cell, epoch_1904)?.to_string()),
            FieldKind::Month => Value::Text(dates::month(cell, epoch_1904)?.to_string()),
            FieldKind::Year => Value::Text(dates::year(cell)?.to_string()),
            FieldKind::Boolean => Value::Boolean(values::boolean(cell)?),
            FieldKind::Code(codes) => Value::Text(values::code(cell, codes)?),
            FieldKind::CreditCode => Value::Text(credit_code(cell)?),
            FieldKind::IdentityNumber => Value::Text(identity(cell, self.today)?.as_str().to_owned()),
        };
        if field.admits(&value) {
            Ok(value)
        } else {
            Err(match value {
                Value::Integer(_) => Code::BadAmount,
                _ => Code::Unreadable,
            })
        }
    }

    fn accept(&mut self, row: &Row, accepted: AcceptedRow) {
        let said = format!(
            "{}\n{}\n{:?}\n{}",
            accepted.identity.as_str(),
            accepted.name.folded(),
            accepted.as_of,
            accepted.fields.canonical()
        );
        let digest = ring::digest::digest(&ring::digest::SHA256, said.as_bytes());
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        if !self.seen.insert(short) {
            let notice = self.notice(Some(row.number), Code::DuplicateInFile);
            self.reading.duplicates.push(notice);
            return;
        }
        if !division_is_known(&accepted.identity) {
            self.warn(Some(row.number), Code::UnknownDivision);
        }
        self.reading.accepted_count += 1;
        (self.each)(accepted);
    }
}

/// Whether a row says what the header says, wherever it says anything.
fn repeats(header: &Header, row: &Row) -> bool {
    let mut same = 0;
    for placed in row.cells.iter().filter(|placed| !placed.merged) {
        match (placed.cell.as_text(), header.texts.get(&placed.column)) {
            (Some(text), Some(head)) if plain(text) == plain(head) => same += 1,
            _ => return false,
        }
    }
    same >= 2
}

impl Rows for Judge<'_> {
    fn sheet(&mut self, sheet: Sheet) -> Result<(), Unreadable> {
        self.leave_sheet();
        self.sheet = sheet;
        Ok(())
    }

    fn row(&mut self, row: Row) -> Result<Next, Unreadable> {
        if row.is_blank() && !matches!(self.state, State::Header(..)) {
            return Ok(Next::More);
        }
        self.any_row = true;
        match std::mem::replace(&mut self.state, State::GivenUp) {
            State::Titles { rows, money } => self.title(&row, rows, money),
            State::Header(header, money) => {
                if row.is_blank() {
                    // The rest of a header that is merged downwards as a whole.
                    self.state = State::Header(header, money);
                    return Ok(Next::More);
                }
                self.under(row, header, money)
            }
            State::Data(header) => {
                let judged = self.judge(&header, &row);
                self.state = State::Data(header);
                judged.map(|()| Next::More)
            }
            State::GivenUp => Ok(Next::Stop),
        }
    }
}

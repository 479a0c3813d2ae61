//! CSV (RFC 4180): comma, semicolon or tab, split while it is decoded.
//!
//! Written here because row numbers must be those of a spreadsheet (blank lines count, line breaks inside quotes do not)
//! and because one cell must be bounded before it is whole.

use std::io::{Read, Seek};

use sanku_catalogue::Category;

use crate::cell::{Cell, Placed, Row};
use crate::header;
use crate::rows::{Rows, Sheet};
use crate::text::{Pieces, encoding};
use crate::xml::Next;
use crate::{Code, Limits, Unreadable};

/// Line breaks that one quoted cell may hold: a missing quotation mark swallows more.
const BREAKS: usize = 32;
/// Rows among which the separator is judged.
const SAMPLE: u64 = 30;

/// Reads a text file whose beginning is `head`.
pub(crate) fn read<R: Read + Seek>(
    source: &mut R,
    head: &[u8],
    category: &Category,
    limits: &Limits,
    rows: &mut dyn Rows,
) -> Result<(), Unreadable> {
    let encoding = encoding(head, source)?;
    let mut best = (0, ',');
    for separator in [',', ';', '\t'] {
        let mut found = 0;
        let sample = split(
            &mut Pieces::from_start(source, encoding)?,
            separator,
            limits,
            &mut |row| {
                found = found.max(header::score(&row, category));
                Ok(if row.number < SAMPLE { Next::More } else { Next::Stop })
            },
        );
        // Under a wrong separator the sample may break a bound; the reading itself then says so.
        if sample.is_ok() && found > best.0 {
            best = (found, separator);
        }
    }
    rows.sheet(Sheet {
        name: None,
        hidden: false,
        epoch_1904: false,
    })?;
    split(&mut Pieces::from_start(source, encoding)?, best.1, limits, &mut |row| {
        rows.row(row)
    })
}

/// The row that is being read.
struct Hand<'a> {
    limits: &'a Limits,
    separator: char,
    number: u64,
    width: usize,
    bytes: usize,
    cells: Vec<Placed>,
    value: String,
    breaks: usize,
    quoting: Quoting,
    was_quoted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// Not inside quotation marks.
    No,
    /// Inside.
    Yes,
    /// Behind a mark that closes, or is the first of two.
    Mark,
}

fn split<R: Read>(
    pieces: &mut Pieces<'_, R>,
    separator: char,
    limits: &Limits,
    each: &mut dyn FnMut(Row) -> Result<Next, Unreadable>,
) -> Result<(), Unreadable> {
    let mut hand = Hand {
        limits,
        separator,
        number: 1,
        width: 0,
        bytes: 0,
        cells: Vec::new(),
        value: String::new(),
        breaks: 0,
        quoting: Quoting::No,
        was_quoted: false,
    };
    let mut piece = String::new();
    let mut after_return = false;
    while pieces.next(&mut piece)? {
        for character in piece.chars() {
            if after_return && character == '\n' && hand.quoting != Quoting::Yes {
                after_return = false;
                continue;
            }
            after_return = character == '\r' && hand.quoting != Quoting::Yes;
            if hand.take(character, each)? == Next::Stop {
                return Ok(());
            }
        }
    }
    if hand.quoting == Quoting::Yes {
        return Err(hand.open_quote());
    }
    if hand.bytes > 0 {
        hand.end_row(each)?;
    }
    Ok(())
}

impl Hand<'_> {
    fn take(
        &mut self,
        character: char,
        each: &mut dyn FnMut(Row) -> Result<Next, Unreadable>,
    ) -> Result<Next, Unreadable> {
        if self.quoting == Quoting::Yes {
            match character {
                '"' => self.quoting = Quoting::Mark,
                other => {
                    self.breaks += usize::from(other == '\n');
                    if self.breaks > BREAKS {
                        return Err(self.open_quote());
                    }
                    self.push(other)?;
                }
            }
            return Ok(Next::More);
        }
        match character {
            '"' if self.quoting == Quoting::Mark => {
                self.quoting = Quoting::Yes;
                self.push('"')?;
            }
            '"' if self.value.is_empty() && !self.was_quoted => {
                self.quoting = Quoting::Yes;
                self.was_quoted = true;
                self.bytes += 1;
            }
            '\r' | '\n' => return self.end_row(each),
            other if other == self.separator => {
                self.bytes += 1;
                self.end_cell()?;
            }
            other => {
                self.quoting = Quoting::No;
                self.push(other)?;
            }
        }
        Ok(Next::More)
    }

    fn push(&mut self, character: char) -> Result<(), Unreadable> {
        self.bytes += character.len_utf8();
        self.value.push(character);
        if self.bytes > self.limits.row_bytes {
            return Err(Unreadable::over(
                &format!("第 {} 行过长，可能少了一个引号", self.number),
                &format!("row {} is too long; a quotation mark may be missing", self.number),
            ));
        }
        Ok(())
    }

    fn open_quote(&self) -> Unreadable {
        Unreadable::new(
            Code::Unreadable,
            format!(
                "第 {0} 行的引号没有结束，后面的行无法分清 the quotation mark in row {0} does not end, so the rows after it cannot be told apart",
                self.number
            ),
        )
    }

    fn end_cell(&mut self) -> Result<(), Unreadable> {
        let mut value = std::mem::take(&mut self.value);
        // `="0012"` is how a CSV file tells a spreadsheet that digits are text.
        if let Some(inner) = value.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')) {
            value = inner.to_owned();
        }
        if let Some(cell) = Cell::text(value) {
            self.cells.push(Placed {
                column: self.width,
                cell,
                merged: false,
            });
        }
        self.width += 1;
        self.breaks = 0;
        self.quoting = Quoting::No;
        self.was_quoted = false;
        if self.width > self.limits.columns {
            return Err(Unreadable::over(
                "列数过多，请删去多余的列",
                "too many columns; remove those that are not needed",
            ));
        }
        Ok(())
    }

    fn end_row(&mut self, each: &mut dyn FnMut(Row) -> Result<Next, Unreadable>) -> Result<Next, Unreadable> {
        self.end_cell()?;
        if self.number > self.limits.rows {
            return Err(Unreadable::over(
                "行数超过上限，请分成几个文件",
                "too many rows; split the file",
            ));
        }
        let row = Row {
            number: self.number,
            hidden: false,
            width: Some(self.width),
            cells: std::mem::take(&mut self.cells),
        };
        // A first line `sep=;` speaks to the spreadsheet and is not shown.
        let speaks = self.number == 1
            && row
                .first_text()
                .is_some_and(|text| text.to_lowercase().starts_with("sep="));
        self.number += u64::from(!speaks);
        self.width = 0;
        self.bytes = 0;
        if speaks { Ok(Next::More) } else { each(row) }
    }
}

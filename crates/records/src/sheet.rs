//! One sheet of a workbook, row by row: cells, hidden rows, and what merged areas lend to the rows they cover.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use quick_xml::events::BytesStart;

use crate::cell::{Cell, Look, Placed, Row};
use crate::package::Package;
use crate::rows::Rows;
use crate::workbook::{RichText, Strings};
use crate::xml::{Budget, Next, Piece, attribute, damaged, flag, scan_merges, walk};
use crate::{Limits, Unreadable};

/// What all sheets of a workbook share.
pub(crate) struct Context<'a> {
    pub(crate) strings: &'a Strings,
    pub(crate) looks: &'a [Look],
    pub(crate) limits: &'a Limits,
}

/// Counted over all sheets.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    rows: u64,
    cells: u64,
}

/// A merged area of more than one row: its first column, first and last row.
struct Merge {
    column: usize,
    first: u64,
    last: u64,
}

/// Reads a sheet twice: its merged areas stand behind the cells.
pub(crate) fn read<R: Read + Seek>(
    package: &mut Package<'_, R>,
    path: &str,
    budget: &mut Budget,
    context: &Context<'_>,
    counts: &mut Counts,
    rows: &mut dyn Rows,
) -> Result<(), Unreadable> {
    let merges = merges(package, path, budget, context.limits)?;
    let mut hand = Hand {
        context,
        counts,
        merges: merges.into_iter().peekable(),
        lent: BTreeMap::new(),
        row: Row::default(),
        row_bytes: 0,
        all_hidden: false,
        cell: None,
        column: 0,
    };
    walk(package.part(path)?, budget, context.limits, &mut |piece| {
        hand.take(&piece, rows)
    })
}

fn merges<R: Read + Seek>(
    package: &mut Package<'_, R>,
    path: &str,
    budget: &mut Budget,
    limits: &Limits,
) -> Result<Vec<Merge>, Unreadable> {
    let mut merges = Vec::new();
    let mut count = 0;
    scan_merges(package.part(path)?, budget, &mut |area| {
        count += 1;
        if count > limits.merges {
            return Err(Unreadable::over("合并单元格过多", "too many merged cells"));
        }
        if let Some((from, to)) = area.split_once(':')
            && let (Some((column, first)), Some((_, last))) = (place(from), place(to))
            && last > first
            && column < limits.columns
        {
            merges.push(Merge { column, first, last });
        }
        Ok(())
    })?;
    merges.sort_by_key(|merge| merge.first);
    Ok(merges)
}

/// `B7` as column 1 (from 0), row 7 (from 1).
fn place(text: &str) -> Option<(usize, u64)> {
    let text = text.replace('$', "");
    let digits = text.find(|character: char| character.is_ascii_digit())?;
    let (letters, row) = text.split_at(digits);
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let column = letters.bytes().try_fold(0_usize, |column, letter| {
        let letter = letter.to_ascii_uppercase();
        letter
            .is_ascii_uppercase()
            .then(|| column * 26 + usize::from(letter - b'A') + 1)
    })?;
    Some((column.checked_sub(1)?, row.parse().ok()?))
}

/// The cell that is being read.
struct Open {
    kind: String,
    look: Look,
    value: String,
    in_value: bool,
    inline: RichText,
    formula: bool,
}

struct Hand<'a> {
    context: &'a Context<'a>,
    counts: &'a mut Counts,
    merges: std::iter::Peekable<std::vec::IntoIter<Merge>>,
    /// By column: the last row that an area above covers, and its value.
    lent: BTreeMap<usize, (u64, Cell)>,
    row: Row,
    row_bytes: usize,
    all_hidden: bool,
    cell: Option<Open>,
    column: usize,
}

impl Hand<'_> {
    fn take(&mut self, piece: &Piece<'_>, rows: &mut dyn Rows) -> Result<Next, Unreadable> {
        match piece {
            Piece::Start("sheetFormatPr", element) => self.all_hidden = flag(element, "zeroHeight"),
            Piece::Start("row", element) => self.begin_row(element)?,
            Piece::End("row") => return self.end_row(rows),
            Piece::Start("c", element) => self.begin_cell(element)?,
            Piece::End("c") => self.end_cell()?,
            Piece::End("sheetData") => return Ok(Next::Stop),
            piece => {
                if let Some(open) = &mut self.cell {
                    match piece {
                        Piece::Start("v", _) => open.in_value = true,
                        Piece::End("v") => open.in_value = false,
                        Piece::Start("f", _) => open.formula = true,
                        Piece::Text(text) if open.in_value => open.value.push_str(text),
                        piece => open.inline.take(piece, self.context.limits)?,
                    }
                    if open.value.len() > self.context.limits.row_bytes {
                        return Err(too_long());
                    }
                }
            }
        }
        Ok(Next::More)
    }

    fn begin_row(&mut self, element: &BytesStart<'_>) -> Result<(), Unreadable> {
        let number = match attribute(element, "r") {
            Some(number) => number.trim().parse::<u64>().map_err(|_| damaged())?,
            None => self.row.number + 1,
        };
        // Rows stand in rising order; a claim beyond the last row that a spreadsheet has is no row.
        if number <= self.row.number {
            return Err(damaged());
        }
        self.counts.rows += 1;
        if number > self.context.limits.rows || self.counts.rows > self.context.limits.rows {
            return Err(Unreadable::over(
                "行数超过上限，请分成几个文件",
                "too many rows; split the file",
            ));
        }
        let flat = attribute(element, "ht").is_some_and(|height| height.parse() == Ok(0.0_f64));
        let hidden = attribute(element, "hidden").map_or(self.all_hidden, |_| flag(element, "hidden"));
        self.row = Row {
            number,
            hidden: hidden || flat,
            width: None,
            cells: Vec::new(),
        };
        self.row_bytes = 0;
        self.column = 0;
        Ok(())
    }

    fn begin_cell(&mut self, element: &BytesStart<'_>) -> Result<(), Unreadable> {
        if let Some(at) = attribute(element, "r") {
            let (column, row) = place(&at).ok_or_else(damaged)?;
            if row != self.row.number || column < self.column {
                return Err(damaged());
            }
            self.column = column;
        }
        self.counts.cells += 1;
        if self.counts.cells > self.context.limits.cells {
            return Err(Unreadable::over("单元格过多，请拆分", "too many cells; split the file"));
        }
        let look = attribute(element, "s")
            .and_then(|style| style.parse::<usize>().ok())
            .and_then(|style| self.context.looks.get(style))
            .copied()
            .unwrap_or(Look::Plain);
        self.cell = Some(Open {
            kind: attribute(element, "t").unwrap_or_default(),
            look,
            value: String::new(),
            in_value: false,
            inline: RichText::default(),
            formula: false,
        });
        Ok(())
    }

    fn end_cell(&mut self) -> Result<(), Unreadable> {
        let column = self.column;
        self.column += 1;
        let Some(mut open) = self.cell.take() else {
            return Ok(());
        };
        let value = std::mem::take(&mut open.value);
        let cell = match open.kind.as_str() {
            "s" => match value
                .trim()
                .parse()
                .ok()
                .and_then(|place| self.context.strings.at(place))
            {
                Some(text) => Cell::text(text.to_owned()),
                None if value.trim().is_empty() => None,
                None => return Err(damaged()),
            },
            "inlineStr" => Cell::text(open.inline.finish()),
            "str" | "d" => Cell::text(value),
            "e" => Some(Cell::Broken),
            "b" => match value.trim() {
                "1" | "true" => Some(Cell::Boolean(true)),
                "0" | "false" => Some(Cell::Boolean(false)),
                "" => None,
                _ => Some(Cell::Broken),
            },
            _ if value.trim().is_empty() => open.formula.then_some(Cell::Broken),
            _ => Some(Cell::number(&value, open.look)),
        };
        let Some(cell) = cell else {
            return Ok(());
        };
        if column >= self.context.limits.columns {
            return Err(Unreadable::over(
                "列数过多，请删去多余的列",
                "too many columns; remove those that are not needed",
            ));
        }
        self.row_bytes += cell.size();
        if self.row_bytes > self.context.limits.row_bytes {
            return Err(too_long());
        }
        self.row.cells.push(Placed {
            column,
            cell,
            merged: false,
        });
        Ok(())
    }

    fn end_row(&mut self, rows: &mut dyn Rows) -> Result<Next, Unreadable> {
        let number = self.row.number;
        let mut row = std::mem::take(&mut self.row);
        self.row.number = number;
        self.lent.retain(|_, (last, _)| *last >= number);
        for (column, (_, cell)) in &self.lent {
            if let Err(at) = row.cells.binary_search_by_key(column, |placed| placed.column) {
                row.cells.insert(
                    at,
                    Placed {
                        column: *column,
                        cell: cell.clone(),
                        merged: true,
                    },
                );
            }
        }
        while let Some(merge) = self.merges.next_if(|merge| merge.first <= number) {
            if merge.first == number
                && let Some(cell) = row.cell(merge.column)
            {
                self.lent.insert(merge.column, (merge.last, cell.clone()));
            }
        }
        rows.row(row)
    }
}

fn too_long() -> Unreadable {
    Unreadable::over("单元格内容过长", "a cell is too long")
}

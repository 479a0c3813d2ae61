//! Workbooks (xlsx, ECMA-376): sheets in their order, shared strings, number formats; each sheet row by row.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};

use crate::cell::Look;
use crate::package::Package;
use crate::rows::{Rows, Sheet};
use crate::sheet;
use crate::xml::{Budget, Next, Piece, attribute, damaged, flag, walk};
use crate::{Limits, Unreadable};

/// Bytes that every workbook may unpack to, however small it is.
const FREE: u64 = 32 << 20;

/// Reads all sheets.
pub(crate) fn read<R: Read + Seek>(
    source: &mut R,
    size: u64,
    limits: &Limits,
    rows: &mut dyn Rows,
) -> Result<(), Unreadable> {
    let mut package = Package::open(source, limits)?;
    package.judge()?;
    let allowed = size
        .saturating_mul(limits.expansion)
        .max(FREE)
        .min(limits.unpacked_bytes);
    let mut budget = Budget { left: allowed };
    let book = book(&mut package, &mut budget, limits)?;
    let looks = looks(&mut package, &mut budget, limits)?;
    let strings = strings(&mut package, &mut budget, limits, size)?;
    let mut read = HashSet::new();
    let mut counts = sheet::Counts::default();
    for listed in book.sheets {
        let Some(path) = book
            .targets
            .get(&listed.relation)
            .filter(|path| path.contains("worksheet"))
        else {
            continue;
        };
        if !package.has(path) || !read.insert(path.to_lowercase()) {
            return Err(damaged());
        }
        rows.sheet(Sheet {
            name: Some(listed.name),
            hidden: listed.hidden,
            epoch_1904: book.epoch_1904,
        })?;
        let context = sheet::Context {
            strings: &strings,
            looks: &looks,
            limits,
        };
        sheet::read(&mut package, path, &mut budget, &context, &mut counts, rows)?;
    }
    Ok(())
}

struct Listed {
    name: String,
    relation: String,
    hidden: bool,
}

struct Book {
    sheets: Vec<Listed>,
    targets: HashMap<String, String>,
    epoch_1904: bool,
}

fn book<R: Read + Seek>(
    package: &mut Package<'_, R>,
    budget: &mut Budget,
    limits: &Limits,
) -> Result<Book, Unreadable> {
    let mut sheets = Vec::new();
    let mut epoch_1904 = false;
    walk(package.part("xl/workbook.xml")?, budget, limits, &mut |piece| {
        match piece {
            Piece::Start("workbookPr", element) => epoch_1904 = flag(element, "date1904"),
            Piece::Start("sheet", element) => {
                let state = attribute(element, "state").unwrap_or_default();
                sheets.push(Listed {
                    name: attribute(element, "name")
                        .unwrap_or_default()
                        .chars()
                        .take(100)
                        .collect(),
                    relation: attribute(element, "id").unwrap_or_default(),
                    hidden: matches!(state.as_str(), "hidden" | "veryHidden"),
                });
                if sheets.len() > limits.sheets {
                    return Err(Unreadable::over(
                        "工作表过多，请拆分",
                        "too many sheets; split the workbook",
                    ));
                }
            }
            _ => {}
        }
        Ok(Next::More)
    })?;
    let mut targets = HashMap::new();
    walk(
        package.part("xl/_rels/workbook.xml.rels")?,
        budget,
        limits,
        &mut |piece| {
            if let Piece::Start("Relationship", element) = piece
                && let (Some(id), Some(target)) = (attribute(element, "Id"), attribute(element, "Target"))
                && attribute(element, "TargetMode").is_none_or(|mode| mode != "External")
                && targets.len() < limits.entries
            {
                let path = match target.strip_prefix('/') {
                    Some(path) => path.to_owned(),
                    None => format!("xl/{}", target.trim_start_matches("./")),
                };
                targets.insert(id, path);
            }
            Ok(Next::More)
        },
    )?;
    Ok(Book {
        sheets,
        targets,
        epoch_1904,
    })
}

/// How each cell style shows numbers.
fn looks<R: Read + Seek>(
    package: &mut Package<'_, R>,
    budget: &mut Budget,
    limits: &Limits,
) -> Result<Vec<Look>, Unreadable> {
    let mut own = HashMap::new();
    let mut looks = Vec::new();
    let mut in_cells = false;
    if !package.has("xl/styles.xml") {
        return Ok(looks);
    }
    walk(package.part("xl/styles.xml")?, budget, limits, &mut |piece| {
        match piece {
            Piece::Start("numFmt", element) if own.len() < limits.entries => {
                if let (Some(id), Some(format)) = (attribute(element, "numFmtId"), attribute(element, "formatCode")) {
                    own.insert(id, look_of(&format));
                }
            }
            Piece::Start("cellXfs", _) => in_cells = true,
            Piece::End("cellXfs") => return Ok(Next::Stop),
            Piece::Start("xf", element) if in_cells => {
                let id = attribute(element, "numFmtId").unwrap_or_default();
                looks.push(own.get(&id).copied().unwrap_or_else(|| built_in(&id)));
                if looks.len() > 1 << 17 {
                    return Err(Unreadable::over("单元格样式过多", "too many cell styles"));
                }
            }
            _ => {}
        }
        Ok(Next::More)
    })?;
    Ok(looks)
}

/// Formats that every workbook has without saying so; 27 to 36 and 50 to 58 are the Chinese dates.
fn built_in(id: &str) -> Look {
    match id.parse::<u32>() {
        Ok(14..=22 | 27..=36 | 45..=47 | 50..=58) => Look::Date,
        Ok(9 | 10) => Look::Percent,
        _ => Look::Plain,
    }
}

/// Whether a format's own characters, outside quotes and brackets, speak of days or of per cent.
fn look_of(format: &str) -> Look {
    let mut kept = String::new();
    let (mut quoted, mut bracket, mut escaped) = (false, false, false);
    for character in format.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' | '_' | '*' => escaped = true,
            '"' => quoted = !quoted,
            '[' if !quoted => bracket = true,
            ']' if !quoted => bracket = false,
            _ if quoted || bracket => {}
            other => kept.push(other.to_ascii_lowercase()),
        }
    }
    if kept.contains('%') {
        Look::Percent
    } else if !kept.contains("general") && kept.contains(['y', 'd', 'm', 'h', '年', '月', '日']) {
        Look::Date
    } else {
        Look::Plain
    }
}

/// Shared strings in blocks, so that no growth ever doubles them.
#[derive(Default)]
pub(crate) struct Strings {
    blocks: Vec<String>,
    places: Vec<Vec<(u32, u32)>>,
}

const PER_BLOCK: usize = 4096;

impl Strings {
    fn push(&mut self, text: &str) -> Result<(), Unreadable> {
        if self.places.last().is_none_or(|places| places.len() == PER_BLOCK) {
            self.places.push(Vec::with_capacity(PER_BLOCK));
            self.blocks.push(String::new());
        }
        if let (Some(block), Some(places)) = (self.blocks.last_mut(), self.places.last_mut()) {
            let start = u32::try_from(block.len()).map_err(|_| too_much_text())?;
            block.push_str(text);
            places.push((start, u32::try_from(block.len()).map_err(|_| too_much_text())?));
        }
        Ok(())
    }

    pub(crate) fn at(&self, place: usize) -> Option<&str> {
        let (start, end) = *self.places.get(place / PER_BLOCK)?.get(place % PER_BLOCK)?;
        let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        self.blocks.get(place / PER_BLOCK)?.get(range)
    }
}

fn too_much_text() -> Unreadable {
    Unreadable::over("工作簿文字过多，请拆分", "the workbook holds too much text; split it")
}

fn strings<R: Read + Seek>(
    package: &mut Package<'_, R>,
    budget: &mut Budget,
    limits: &Limits,
    size: u64,
) -> Result<Strings, Unreadable> {
    let mut strings = Strings::default();
    if !package.has("xl/sharedStrings.xml") {
        return Ok(strings);
    }
    let allowed = size.saturating_mul(12).max(FREE).min(limits.string_bytes);
    let (mut count, mut bytes) = (0_usize, 0_u64);
    let mut text = RichText::default();
    walk(package.part("xl/sharedStrings.xml")?, budget, limits, &mut |piece| {
        text.take(&piece, limits)?;
        if let Piece::End("si") = piece {
            let whole = text.finish();
            count += 1;
            bytes = bytes
                .saturating_add(u64::try_from(whole.len()).unwrap_or(u64::MAX))
                .saturating_add(16);
            if count > limits.strings || bytes > allowed {
                return Err(too_much_text());
            }
            strings.push(&whole)?;
        }
        Ok(Next::More)
    })?;
    Ok(strings)
}

/// The text of a string item: its runs, without the reading aids (phonetic runs).
#[derive(Default)]
pub(crate) struct RichText {
    text: String,
    inside: bool,
    phonetic: bool,
}

impl RichText {
    pub(crate) fn take(&mut self, piece: &Piece<'_>, limits: &Limits) -> Result<(), Unreadable> {
        match piece {
            Piece::Start("rPh", _) => self.phonetic = true,
            Piece::End("rPh") => self.phonetic = false,
            Piece::Start("t", _) => self.inside = !self.phonetic,
            Piece::End("t") => self.inside = false,
            Piece::Text(text) if self.inside => {
                self.text.push_str(text);
                if self.text.len() > limits.row_bytes {
                    return Err(too_much_text());
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> String {
        let whole = unescaped(&self.text);
        self.text.clear();
        whole
    }
}

/// `_x000D_` stands for a character that XML cannot hold.
fn unescaped(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("_x") {
        let (before, mark) = rest.split_at(at);
        whole.push_str(before);
        let character = mark
            .get(2..6)
            .filter(|_| mark.get(6..7) == Some("_"))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(char::from_u32);
        match character {
            Some(character) => {
                whole.push(character);
                rest = mark.get(7..).unwrap_or_default();
            }
            None => {
                whole.push_str("_x");
                rest = mark.get(2..).unwrap_or_default();
            }
        }
    }
    whole.push_str(rest);
    whole
}

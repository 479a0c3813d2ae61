//! Files as streams of rows: what a file is, by its content; CSV in any usual encoding; xlsx row by row, bounded.

use std::io::{BufReader, Read, Seek, SeekFrom};

use encoding_rs::{Encoding, GB18030, UTF_16BE, UTF_16LE};
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use crate::cells::Cell;
use crate::{Code, Limits, Unreadable};

/// A row of a sheet.
#[derive(Debug)]
pub(crate) struct SourceRow {
    /// As the spreadsheet shows it, from 1.
    pub(crate) number: u64,
    pub(crate) hidden: bool,
    pub(crate) cells: Vec<Cell>,
}

/// A sheet about to be read.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    /// None for CSV.
    pub(crate) name: Option<String>,
    pub(crate) hidden: bool,
    pub(crate) epoch_1904: bool,
}

/// Who takes the rows.
pub(crate) trait Rows {
    fn sheet(&mut self, sheet: &Sheet) -> Result<(), Unreadable>;
    fn row(&mut self, row: SourceRow) -> Result<(), Unreadable>;
}

fn seems(what: &str, english: &str) -> Unreadable {
    Unreadable::new(
        Code::UnsupportedFormat,
        format!("这个文件像是{what}，请另存为 xlsx 或 CSV this seems to be {english}; save it as xlsx or CSV"),
    )
}

fn broken() -> Unreadable {
    Unreadable::new(
        Code::Unreadable,
        "文件已损坏，读不下去，请重新导出 the file is damaged; export it again",
    )
}

/// Reads a file to its end and hands its rows over.
pub(crate) fn read<R: Read + Seek>(source: &mut R, limits: &Limits, rows: &mut dyn Rows) -> Result<(), Unreadable> {
    let size = source.seek(SeekFrom::End(0)).map_err(|_| broken())?;
    source.seek(SeekFrom::Start(0)).map_err(|_| broken())?;
    if size > limits.file_bytes {
        return Err(Unreadable::over(
            "文件过大，请分成几个",
            "the file is too large; split it",
        ));
    }
    let mut head = vec![0; 4096];
    let mut length = 0;
    while length < head.len() {
        match source.read(&mut head[length..]).map_err(|_| broken())? {
            0 => break,
            read => length += read,
        }
    }
    head.truncate(length);
    source.seek(SeekFrom::Start(0)).map_err(|_| broken())?;
    match head.as_slice() {
        [] => Err(Unreadable::new(Code::UnsupportedFormat, "文件是空的 the file is empty")),
        [b'P', b'K', 3 | 5, ..] => workbook(source, limits, rows),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Err(seems(
            "旧版 Excel（xls）或加密的文档",
            "an old Excel file (xls) or an encrypted document",
        )),
        [b'%', b'P', b'D', b'F', ..] => Err(seems("PDF", "a PDF")),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] | [b'G', b'I', b'F', b'8', ..] => {
            Err(seems("图片", "a picture"))
        }
        [b'R', b'a', b'r', b'!', ..] | [b'7', b'z', 0xbc, 0xaf, ..] | [0x1f, 0x8b, ..] => {
            Err(seems("压缩包", "an archive"))
        }
        start => {
            let text = String::from_utf8_lossy(start)
                .trim_start_matches('\u{feff}')
                .trim_start()
                .to_lowercase();
            if text.starts_with("<html")
                || text.starts_with("<!doctype")
                || text.starts_with("<table")
                || text.starts_with("<?xml")
            {
                return Err(seems("网页或 XML", "a web page or XML"));
            }
            if start.iter().take(512).filter(|byte| **byte < 9).count() > 0
                && !start.starts_with(&[0xff, 0xfe])
                && !start.starts_with(&[0xfe, 0xff])
            {
                return Err(seems("二进制文件", "a binary file"));
            }
            if text.starts_with('{') || text.starts_with('[') {
                return Err(seems("JSON", "JSON"));
            }
            text_file(source, start, limits, rows)
        }
    }
}

/// CSV: decoded in pieces, split into rows, blank lines counted, line breaks inside quotes not.
fn text_file<R: Read>(source: &mut R, head: &[u8], limits: &Limits, rows: &mut dyn Rows) -> Result<(), Unreadable> {
    let encoding = encoding_of(source, head)?;
    rows.sheet(&Sheet {
        name: None,
        hidden: false,
        epoch_1904: false,
    })?;
    let EncodedText { encoding, bytes } = encoding;
    // Bytes that are no character stand as U+FFFD: their row is refused where they stand.
    let (text, _, _) = encoding.decode(&bytes);
    let separator = [',', ';', '\t']
        .into_iter()
        .max_by_key(|mark| {
            text.lines()
                .take(10)
                .map(|line| line.matches(*mark).count())
                .sum::<usize>()
        })
        .unwrap_or(',');
    let mut number = 0;
    let mut line = 1_u64;
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut started = 1_u64;
    let mut row_bytes = 0;
    let mut characters = text.chars().peekable();
    let flush =
        |cells: &mut Vec<Cell>, cell: &mut String, number: u64, rows: &mut dyn Rows| -> Result<(), Unreadable> {
            cells.push(Cell {
                text: std::mem::take(cell),
                number: false,
            });
            if cells.len() > limits.columns {
                return Err(Unreadable::over("列数过多", "too many columns"));
            }
            rows.row(SourceRow {
                number,
                hidden: false,
                cells: std::mem::take(cells),
            })
        };
    while let Some(character) = characters.next() {
        row_bytes += character.len_utf8();
        if row_bytes > limits.row_bytes {
            return Err(Unreadable::over(
                "一行过长，可能少了一个引号",
                "a row is too long; a quotation mark may be missing",
            ));
        }
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                quoted = true;
            }
            '\r' if !quoted && characters.peek() == Some(&'\n') => {}
            '\n' | '\r' if !quoted => {
                number = started;
                flush(&mut cells, &mut cell, number, rows)?;
                line += 1;
                started = line;
                row_bytes = 0;
                if line > limits.rows {
                    return Err(Unreadable::over(
                        "行数超过上限，请分成几个文件",
                        "too many rows; split the file",
                    ));
                }
            }
            mark if mark == separator && !quoted => {
                cells.push(Cell {
                    text: std::mem::take(&mut cell),
                    number: false,
                });
                if cells.len() > limits.columns {
                    return Err(Unreadable::over("列数过多", "too many columns"));
                }
            }
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !cells.is_empty() {
        flush(&mut cells, &mut cell, started.max(number), rows)?;
    }
    Ok(())
}

struct EncodedText {
    encoding: &'static Encoding,
    bytes: Vec<u8>,
}

/// UTF-16 by its mark; UTF-8 if it is; else GB 18030, which holds GBK.
fn encoding_of<R: Read>(source: &mut R, head: &[u8]) -> Result<EncodedText, Unreadable> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).map_err(|_| broken())?;
    let encoding = if head.starts_with(&[0xff, 0xfe]) {
        UTF_16LE
    } else if head.starts_with(&[0xfe, 0xff]) {
        UTF_16BE
    } else if head.starts_with(&[0xef, 0xbb, 0xbf]) || std::str::from_utf8(&bytes).is_ok() {
        encoding_rs::UTF_8
    } else {
        GB18030
    };
    Ok(EncodedText { encoding, bytes })
}

/// Counts what is really unpacked.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| std::io::Error::other("over the limit"))?;
        Ok(read)
    }
}

struct Book<'a, R> {
    zip: ZipArchive<&'a mut R>,
    left: u64,
    limits: &'a Limits,
}

impl<R: Read + Seek> Book<'_, R> {
    /// Walks one XML part; `each` sees every event. Bytes are bounded on what is really read.
    fn walk(
        &mut self,
        path: &str,
        each: &mut dyn FnMut(&Event<'_>, usize) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let left = self.left;
        let part = self.zip.by_name(path).map_err(|_| broken())?;
        let mut reader = quick_xml::Reader::from_reader(BufReader::new(Bounded { inner: part, left }));
        reader.config_mut().check_end_names = false;
        let mut buffer = Vec::new();
        let mut depth = 0;
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer).map_err(|error| match error {
                quick_xml::Error::Io(error) if error.to_string() == "over the limit" => {
                    Unreadable::over("解压后过大", "it unpacks to too much")
                }
                _ => broken(),
            })?;
            match &event {
                Event::Eof => break,
                Event::DocType(_) => {
                    return Err(Unreadable::new(
                        Code::UnsupportedFormat,
                        "工作簿含有实体定义，不予读取 the workbook defines entities and is not read",
                    ));
                }
                Event::Start(_) => depth += 1,
                Event::End(_) => depth -= 1,
                _ => {}
            }
            if depth > self.limits.nesting {
                return Err(Unreadable::over("嵌套过深", "it nests too deeply"));
            }
            each(&event, depth)?;
        }
        self.left = reader.into_inner().into_inner().left;
        Ok(())
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    element
        .attributes()
        .flatten()
        .find(|attribute| attribute.key.local_name().as_ref() == name)
        .map(|attribute| attribute.value.clone().into_owned())
}

fn local(element: &BytesStart<'_>) -> Vec<u8> {
    element.local_name().as_ref().as_bytes().to_vec()
}

/// The text of an event: characters, and the five entities that XML itself knows.
fn text_of(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Text(text) => Some(text.as_ref().to_owned()),
        Event::CData(text) => Some(text.as_ref().to_owned()),
        Event::GeneralRef(entity) => {
            let name = entity.as_ref().to_owned();
            Some(match name.as_str() {
                "amp" => "&".to_owned(),
                "lt" => "<".to_owned(),
                "gt" => ">".to_owned(),
                "quot" => "\"".to_owned(),
                "apos" => "'".to_owned(),
                other => {
                    let number = other.strip_prefix('#')?;
                    let code = number
                        .strip_prefix('x')
                        .map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?;
                    char::from_u32(code)?.to_string()
                }
            })
        }
        _ => None,
    }
}

/// `xlsx` (ECMA-376): sheets in the workbook's order, each row as it comes.
fn workbook<R: Read + Seek>(source: &mut R, limits: &Limits, rows: &mut dyn Rows) -> Result<(), Unreadable> {
    let size = source.seek(SeekFrom::End(0)).map_err(|_| broken())?;
    let zip = ZipArchive::new(source).map_err(|_| broken())?;
    if zip.len() > limits.entries {
        return Err(Unreadable::over("压缩包内文件过多", "the archive has too many entries"));
    }
    let names: Vec<String> = zip
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .collect();
    if !names.iter().any(|name| name == "xl/workbook.xml") {
        return Err(if names.iter().any(|name| name.starts_with("word/")) {
            seems("Word 文档", "a Word document")
        } else {
            seems("压缩包", "an archive")
        });
    }
    let unpacked = limits.unpacked_bytes.min((size * limits.expansion).max(32 << 20));
    let mut book = Book {
        zip,
        left: unpacked,
        limits,
    };

    let mut sheets: Vec<(String, String, bool)> = Vec::new();
    let mut epoch_1904 = false;
    book.walk("xl/workbook.xml", &mut |event, _| {
        if let Event::Start(element) | Event::Empty(element) = event {
            match local(element).as_slice() {
                b"sheet" => sheets.push((
                    attribute(element, "name").unwrap_or_default(),
                    attribute(element, "id").unwrap_or_default(),
                    attribute(element, "state").is_some_and(|state| state != "visible"),
                )),
                b"workbookPr" => {
                    epoch_1904 = attribute(element, "date1904").is_some_and(|value| value == "1" || value == "true")
                }
                _ => {}
            }
        }
        if sheets.len() > limits.sheets {
            Err(Unreadable::over("工作表过多", "too many sheets"))
        } else {
            Ok(())
        }
    })?;
    let mut targets = std::collections::HashMap::new();
    book.walk("xl/_rels/workbook.xml.rels", &mut |event, _| {
        if let Event::Start(element) | Event::Empty(element) = event
            && let (Some(id), Some(target)) = (attribute(element, "Id"), attribute(element, "Target"))
        {
            let path = target
                .strip_prefix('/')
                .map_or_else(|| format!("xl/{target}"), str::to_owned);
            targets.insert(id, path);
        }
        Ok(())
    })?;
    let strings = shared_strings(&mut book, &names)?;
    let mut total = 0_u64;
    for (name, id, hidden) in sheets {
        let Some(path) = targets
            .get(&id)
            .filter(|path| path.contains("worksheets/") && names.contains(path))
            .cloned()
        else {
            continue;
        };
        rows.sheet(&Sheet {
            name: Some(name),
            hidden,
            epoch_1904,
        })?;
        let merges = merges(&mut book, &path)?;
        sheet(&mut book, &path, &strings, &merges, &mut total, rows)?;
    }
    Ok(())
}

fn shared_strings<R: Read + Seek>(book: &mut Book<'_, R>, names: &[String]) -> Result<Vec<String>, Unreadable> {
    let mut strings = Vec::new();
    if !names.iter().any(|name| name == "xl/sharedStrings.xml") {
        return Ok(strings);
    }
    let limits = book.limits;
    let mut bytes = 0;
    let mut current = String::new();
    let (mut in_text, mut phonetic) = (false, false);
    book.walk("xl/sharedStrings.xml", &mut |event, _| {
        match event {
            Event::Start(element) => match local(element).as_slice() {
                b"si" => current.clear(),
                b"t" => in_text = !phonetic,
                b"rPh" => phonetic = true,
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref().as_bytes() {
                b"t" => in_text = false,
                b"rPh" => phonetic = false,
                b"si" => {
                    bytes += current.len() as u64 + 24;
                    strings.push(std::mem::take(&mut current));
                }
                _ => {}
            },
            Event::Empty(element) if local(element) == b"si" => strings.push(String::new()),
            event if in_text => current.push_str(&text_of(event).unwrap_or_default()),
            _ => {}
        }
        if strings.len() > limits.strings || bytes > limits.string_bytes || current.len() > limits.row_bytes {
            Err(Unreadable::over("文字过多", "too much text"))
        } else {
            Ok(())
        }
    })?;
    Ok(strings)
}

/// An area whose value holds for every row that it covers.
#[derive(Debug)]
struct Merge {
    first: (u64, usize),
    last: (u64, usize),
}

fn merges<R: Read + Seek>(book: &mut Book<'_, R>, path: &str) -> Result<Vec<Merge>, Unreadable> {
    let limits = book.limits;
    let mut merges = Vec::new();
    book.walk(path, &mut |event, _| {
        if let Event::Start(element) | Event::Empty(element) = event
            && local(element) == b"mergeCell"
            && let Some(area) = attribute(element, "ref")
            && let Some((first, last)) = area.split_once(':')
            && let (Some(first), Some(last)) = (place(first), place(last))
        {
            merges.push(Merge { first, last });
        }
        if merges.len() > limits.merges {
            Err(Unreadable::over("合并单元格过多", "too many merged cells"))
        } else {
            Ok(())
        }
    })?;
    merges.sort_by_key(|merge| merge.first);
    Ok(merges)
}

/// `B7` as row 7, column 1.
fn place(text: &str) -> Option<(u64, usize)> {
    let digits = text.find(|character: char| character.is_ascii_digit())?;
    let column = text[..digits].bytes().try_fold(0_usize, |column, letter| {
        letter
            .is_ascii_uppercase()
            .then(|| column * 26 + usize::from(letter - b'A') + 1)
            .filter(|column| *column <= 20_000)
    })?;
    Some((text[digits..].parse().ok()?, column.checked_sub(1)?))
}

#[derive(Default)]
struct RowInHand {
    number: u64,
    hidden: bool,
    cells: Vec<Cell>,
    column: usize,
    kind: String,
    value: String,
    in_value: bool,
}

fn sheet<R: Read + Seek>(
    book: &mut Book<'_, R>,
    path: &str,
    strings: &[String],
    merges: &[Merge],
    total: &mut u64,
    rows: &mut dyn Rows,
) -> Result<(), Unreadable> {
    let limits = book.limits;
    let mut row = RowInHand::default();
    let mut cells = 0_u64;
    let mut carried: std::collections::HashMap<(u64, usize), Cell> = std::collections::HashMap::new();
    book.walk(path, &mut |event, _| {
        match event {
            Event::Start(element) | Event::Empty(element) => match local(element).as_slice() {
                b"row" => {
                    let number = attribute(element, "r")
                        .and_then(|number| number.parse().ok())
                        .unwrap_or(row.number + 1);
                    if number > limits.rows.max(1_048_576) {
                        return Err(Unreadable::over("行号超出范围", "a row beyond the last"));
                    }
                    *total += 1;
                    if *total > limits.rows {
                        return Err(Unreadable::over(
                            "行数超过上限，请分成几个文件",
                            "too many rows; split the file",
                        ));
                    }
                    row = RowInHand {
                        number,
                        hidden: attribute(element, "hidden").is_some_and(|hidden| hidden == "1" || hidden == "true"),
                        ..RowInHand::default()
                    };
                    if matches!(event, Event::Empty(_)) {
                        return Ok(());
                    }
                }
                b"c" => {
                    row.column = attribute(element, "r")
                        .and_then(|at| place(&at))
                        .map_or(row.cells.len(), |(_, column)| column);
                    row.kind = attribute(element, "t").unwrap_or_default();
                    row.value.clear();
                    if row.column >= limits.columns {
                        return Err(Unreadable::over("列数过多", "too many columns"));
                    }
                    cells += 1;
                    if cells > limits.cells {
                        return Err(Unreadable::over("单元格过多", "too many cells"));
                    }
                }
                b"v" | b"t" => row.in_value = matches!(event, Event::Start(_)),
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref().as_bytes() {
                b"v" | b"t" => row.in_value = false,
                b"c" => {
                    let text = std::mem::take(&mut row.value);
                    let cell = match row.kind.as_str() {
                        "s" => Cell {
                            text: text
                                .trim()
                                .parse::<usize>()
                                .ok()
                                .and_then(|place| strings.get(place))
                                .cloned()
                                .ok_or_else(broken)?,
                            number: false,
                        },
                        "str" | "inlineStr" | "b" | "d" => Cell { text, number: false },
                        "e" => Cell {
                            text: "\u{fffd}".to_owned(),
                            number: false,
                        },
                        _ => Cell { text, number: true },
                    };
                    if row.cells.len() <= row.column {
                        row.cells.resize(row.column + 1, Cell::default());
                    }
                    if let Some(slot) = row.cells.get_mut(row.column) {
                        *slot = cell;
                    }
                }
                b"row" => {
                    let mut done = std::mem::take(&mut row);
                    let number = done.number;
                    for (place, merge) in merges
                        .iter()
                        .enumerate()
                        .filter(|(_, merge)| merge.first.0 <= number && number <= merge.last.0)
                    {
                        let key = (place as u64, merge.first.1);
                        if number == merge.first.0 {
                            carried.insert(key, done.cells.get(merge.first.1).cloned().unwrap_or_default());
                        } else if let Some(value) = carried.get(&key) {
                            if done.cells.len() <= merge.first.1 {
                                done.cells.resize(merge.first.1 + 1, Cell::default());
                            }
                            if let Some(slot) = done.cells.get_mut(merge.first.1).filter(|slot| slot.text.is_empty()) {
                                *slot = value.clone();
                            }
                        }
                    }
                    row.number = number;
                    rows.row(SourceRow {
                        number,
                        hidden: done.hidden,
                        cells: done.cells,
                    })?;
                }
                _ => {}
            },
            event if row.in_value => {
                if let Some(text) = text_of(event) {
                    row.value.push_str(&text);
                }
                if row.value.len() > limits.row_bytes {
                    return Err(Unreadable::over("单元格过长", "a cell is too long"));
                }
            }
            _ => {}
        }
        Ok(())
    })
}

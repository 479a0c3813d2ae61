//! XML parts read as a stream of events, bounded: bytes in all, bytes of one token, depth; no document type, no entity of its own.

use std::io::{BufRead, BufReader, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::{Code, Limits, Unreadable};

/// Attributes of one element that are looked at; workbooks have a dozen.
const ATTRIBUTES: usize = 64;
/// Bytes of one tag or piece of text: a cell holds at most 32,767 characters.
const TOKEN: u64 = 1 << 20;

/// What an element or its text is to a reader of one part.
pub(crate) enum Piece<'a> {
    /// An element begins; if it is empty, [`Piece::End`] follows at once.
    Start(&'a str, &'a BytesStart<'a>),
    /// Character data, entities resolved.
    Text(&'a str),
    /// An element ends.
    End(&'a str),
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read on.
    More,
    /// The rest is of no interest.
    Stop,
}

/// Bytes that may still be unpacked, over all parts of one file.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) left: u64,
}

/// Counts what is really unpacked.
pub(crate) struct Metered<'a, R> {
    inner: R,
    budget: &'a mut Budget,
    token: u64,
    over: bool,
}

impl<'a, R> Metered<'a, R> {
    pub(crate) const fn new(inner: R, budget: &'a mut Budget) -> Self {
        Self {
            inner,
            budget,
            token: 0,
            over: false,
        }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        self.token = self.token.saturating_add(read);
        if read > self.budget.left || self.token > TOKEN {
            self.over = true;
            return Err(std::io::Error::other("over the limit"));
        }
        self.budget.left -= read;
        Ok(count)
    }
}

pub(crate) fn damaged() -> Unreadable {
    Unreadable::new(
        Code::Unreadable,
        "工作簿已损坏，请用表格软件打开后另存为 xlsx the workbook is damaged; open it in a spreadsheet program and save it as xlsx again",
    )
}

pub(crate) fn unpacks_to_too_much() -> Unreadable {
    Unreadable::over(
        "工作簿解压后过大，请删去多余内容后重新保存",
        "the workbook unpacks to too much; remove what is not needed and save it again",
    )
}

/// Reads one part to its end, or until `each` has seen enough.
pub(crate) fn walk<R: Read>(
    part: R,
    budget: &mut Budget,
    limits: &Limits,
    each: &mut dyn FnMut(Piece<'_>) -> Result<Next, Unreadable>,
) -> Result<(), Unreadable> {
    let mut reader = Reader::from_reader(BufReader::with_capacity(32 << 10, Metered::new(part, budget)));
    let mut buffer = Vec::new();
    let mut depth = 0_usize;
    loop {
        buffer.clear();
        reader.get_mut().get_mut().token = 0;
        let event = match reader.read_event_into(&mut buffer) {
            Ok(event) => event,
            Err(_) if reader.get_ref().get_ref().over => return Err(unpacks_to_too_much()),
            Err(_) => return Err(damaged()),
        };
        let next = match &event {
            Event::Start(element) => {
                depth += 1;
                if depth > limits.nesting {
                    return Err(Unreadable::over(
                        "工作簿的内容嵌套过深",
                        "the workbook nests too deeply",
                    ));
                }
                each(Piece::Start(element.local_name().as_ref(), element))?
            }
            Event::Empty(element) => {
                let name = element.local_name();
                match each(Piece::Start(name.as_ref(), element))? {
                    Next::More => each(Piece::End(name.as_ref()))?,
                    Next::Stop => Next::Stop,
                }
            }
            Event::End(element) => {
                depth = depth.saturating_sub(1);
                each(Piece::End(element.local_name().as_ref()))?
            }
            Event::Text(text) => each(Piece::Text(&text.xml10_content()))?,
            Event::CData(text) => each(Piece::Text(&text.xml10_content()))?,
            Event::GeneralRef(reference) => each(Piece::Text(resolve(reference)?.encode_utf8(&mut [0; 4])))?,
            Event::DocType(_) => {
                return Err(Unreadable::new(
                    Code::Unreadable,
                    "工作簿含有文档类型定义，不予读取；请用表格软件另存为 xlsx the workbook carries a document type definition and is not read; save it as xlsx with a spreadsheet program",
                ));
            }
            Event::Eof if depth == 0 => return Ok(()),
            Event::Eof => return Err(damaged()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Next::More,
        };
        if next == Next::Stop {
            return Ok(());
        }
    }
}

/// The five entities of XML itself, and characters by number; no other is expanded.
fn resolve(reference: &BytesRef<'_>) -> Result<char, Unreadable> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| damaged())? {
        return Ok(character);
    }
    match reference.xml10_content().as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(damaged()),
    }
}

/// An attribute's value by its local name.
pub(crate) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    element
        .attributes()
        .with_checks(false)
        .take(ATTRIBUTES)
        .flatten()
        .find(|attribute| attribute.key.local_name().as_ref() == name)
        .map(
            |attribute| match attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0) {
                Ok(value) => value.into_owned(),
                Err(_) => String::new(),
            },
        )
}

/// Whether an attribute says yes.
pub(crate) fn flag(element: &BytesStart<'_>, name: &str) -> bool {
    attribute(element, name).is_some_and(|value| matches!(value.as_str(), "1" | "true" | "on"))
}

/// Scans bytes for `<mergeCell ref="A1:B2"/>` without parsing what lies between; areas follow the cells that they cover.
pub(crate) fn scan_merges<R: Read>(
    part: R,
    budget: &mut Budget,
    each: &mut dyn FnMut(&str) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    const LONGEST: usize = 512;
    let mut reader = BufReader::with_capacity(64 << 10, part);
    let finder = memchr::memmem::Finder::new(b"mergeCell ");
    let mut held: Vec<u8> = Vec::new();
    loop {
        let chunk = reader.fill_buf().map_err(|_| damaged())?;
        let ended = chunk.is_empty();
        let read = chunk.len();
        held.extend_from_slice(chunk);
        reader.consume(read);
        let counted = u64::try_from(read).unwrap_or(u64::MAX);
        budget.left = budget.left.checked_sub(counted).ok_or_else(unpacks_to_too_much)?;
        let mut from = 0;
        while let Some(found) = held.get(from..).and_then(|rest| finder.find(rest)) {
            let start = from + found;
            if held.len() - start < LONGEST && !ended {
                break;
            }
            let tag = held.get(start..held.len().min(start + LONGEST)).unwrap_or_default();
            let tag = tag.split(|byte| *byte == b'>').next().unwrap_or_default();
            let tag = String::from_utf8_lossy(tag);
            if let Some(area) = tag.split_once("ref=").and_then(|(_, rest)| {
                let quote = rest.chars().next().filter(|mark| matches!(mark, '"' | '\''))?;
                rest.get(1..)?.split_once(quote).map(|(area, _)| area)
            }) {
                each(area)?;
            }
            from = start + 10;
        }
        if ended {
            return Ok(());
        }
        let keep = finder
            .find(held.get(from..).unwrap_or_default())
            .map_or_else(|| held.len().saturating_sub(16).max(from), |found| from + found);
        held.drain(..keep);
    }
}

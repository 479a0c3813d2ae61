//! The archive of a workbook (ECMA-376 part 2): its entries by name, and what a file is that is none.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::read::ZipFile;

use crate::format::seems;
use crate::xml::damaged;
use crate::{Limits, Unreadable};

/// An opened archive whose directory is within bounds.
pub(crate) struct Package<'a, R> {
    archive: ZipArchive<&'a mut R>,
    entries: HashMap<String, usize>,
}

impl<R> std::fmt::Debug for Package<'_, R> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Package")
    }
}

impl<'a, R: Read + Seek> Package<'a, R> {
    pub(crate) fn open(source: &'a mut R, limits: &Limits) -> Result<Self, Unreadable> {
        bounded_directory(source, limits)?;
        source.rewind().map_err(|_| damaged())?;
        let archive = ZipArchive::new(source).map_err(|_| damaged())?;
        let entries: HashMap<_, _> = archive
            .file_names()
            .enumerate()
            .filter_map(|(place, name)| Some((key(&name.ok()?), place)))
            .collect();
        Ok(Self { archive, entries })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(&key(name))
    }

    /// What the archive is, if it is no workbook of this form.
    pub(crate) fn judge(&self) -> Result<(), Unreadable> {
        let begins = |prefix: &str| self.entries.keys().any(|name| name.starts_with(prefix));
        if self.has("xl/workbook.xml") {
            Ok(())
        } else if self.has("xl/workbook.bin") {
            Err(seems("二进制工作簿（xlsb）", "a binary workbook (xlsb)"))
        } else if begins("word/") {
            Err(seems("Word 文档（docx）", "a Word document (docx)"))
        } else if begins("ppt/") {
            Err(seems("演示文稿（pptx）", "a presentation (pptx)"))
        } else if self.has("ofd.xml") {
            Err(seems("OFD 版式文件", "an OFD document"))
        } else if self.has("content.xml") {
            Err(seems("OpenDocument 文件（ods）", "an OpenDocument file (ods)"))
        } else {
            Err(seems("压缩包（zip），请先解压", "an archive (zip); unpack it first"))
        }
    }

    /// One part, to be read within the caller's budget.
    pub(crate) fn part(&mut self, name: &str) -> Result<ZipFile<'_, &'a mut R>, Unreadable> {
        let place = self.entries.get(&key(name)).copied().ok_or_else(damaged)?;
        self.archive.by_index(place).map_err(|_| damaged())
    }
}

/// Names are compared without case; some writers begin them with a slash or write `\`.
fn key(name: &str) -> String {
    name.trim_start_matches('/').replace('\\', "/").to_lowercase()
}

/// Refuses a directory of too many entries before any is kept. Every end record in the tail is judged: a reader may choose any.
fn bounded_directory<R: Read + Seek>(source: &mut R, limits: &Limits) -> Result<(), Unreadable> {
    const TAIL: u64 = (64 << 10) + 256;
    let size = source.seek(SeekFrom::End(0)).map_err(|_| damaged())?;
    source
        .seek(SeekFrom::Start(size.saturating_sub(TAIL)))
        .map_err(|_| damaged())?;
    let mut tail = Vec::new();
    source
        .by_ref()
        .take(TAIL)
        .read_to_end(&mut tail)
        .map_err(|_| damaged())?;
    let too_many = || Unreadable::over("压缩包内文件过多", "the archive has too many entries");
    let most = u64::try_from(limits.entries).unwrap_or(u64::MAX);
    let number = |at: usize, bytes: usize| {
        let field = tail.get(at..at + bytes)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte)),
        )
    };
    for (count, at) in memchr::memmem::find_iter(&tail, b"PK\x05\x06").enumerate() {
        // The last sixteen bits all set mean that the large form (ZIP64) holds the number.
        if number(at + 10, 2).is_some_and(|entries| entries > most && entries != 0xffff) || count > 16 {
            return Err(too_many());
        }
    }
    for at in memchr::memmem::find_iter(&tail, b"PK\x06\x06") {
        if number(at + 32, 8).is_some_and(|entries| entries > most) {
            return Err(too_many());
        }
    }
    Ok(())
}

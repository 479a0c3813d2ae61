//! Reads departments' files as they come: what they are, headers, units, merged cells, and the fate of every row.
//!
//! [`read`] judges a file by its content (CSV in any usual encoding, or xlsx), finds the header, and gives every non-blank
//! row below it exactly one fate. What is read is bounded while it is read: no header's claim is believed, no entity is
//! expanded, no formula is evaluated. Workbooks (ECMA-376) and CSV (RFC 4180, with blank lines counted) are read as
//! streams, so that merged cells, hidden rows and row numbers survive and memory stays bounded. Storing the rows is
//! `sanku-store`'s matter.

mod cell;
mod code;
mod dates;
mod delimited;
mod format;
mod header;
mod lines;
mod package;
mod people;
mod report;
mod rows;
mod sheet;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod workbook;
mod xml;

use std::io::{Read, Seek, SeekFrom};

pub use code::{Code, Unreadable};
pub use report::{AcceptedRow, Limits, Notice, Progress, Reading, Refused};
use sanku_catalogue::Category;
use sanku_values::Date;

/// Reads a file that is in memory. `today` bounds birth dates.
///
/// # Errors
/// The file is refused whole: another format, no header, over a limit.
pub fn read(
    bytes: &[u8],
    category: &Category,
    limits: &Limits,
    today: Date,
    progress: &mut dyn FnMut(Progress),
) -> Result<Reading, Unreadable> {
    let mut accepted = Vec::new();
    let mut source = std::io::Cursor::new(bytes);
    let mut reading = read_each(&mut source, category, limits, today, progress, &mut |row| {
        accepted.push(row)
    })?;
    reading.accepted = accepted;
    Ok(reading)
}

/// Reads a file row by row in bounded memory; `each` takes the accepted rows as they come.
///
/// An error can come after rows were handed out: the caller drops what it took (one import is one commit).
///
/// # Errors
/// The file is refused whole: another format, no header, over a limit.
pub fn read_each<R: Read + Seek>(
    source: &mut R,
    category: &Category,
    limits: &Limits,
    today: Date,
    progress: &mut dyn FnMut(Progress),
    each: &mut dyn FnMut(AcceptedRow),
) -> Result<Reading, Unreadable> {
    let size = source.seek(SeekFrom::End(0)).map_err(|_| text::cannot_be_read())?;
    if size > limits.file_bytes {
        return Err(Unreadable::over(
            "文件过大，请分成几个",
            "the file is too large; split it",
        ));
    }
    let sha256 = digest(source)?;
    source.rewind().map_err(|_| text::cannot_be_read())?;
    let mut head = Vec::new();
    source
        .by_ref()
        .take(HEAD)
        .read_to_end(&mut head)
        .map_err(|_| text::cannot_be_read())?;
    let mut judge = rows::Judge::new(category, limits, today, progress, each);
    match format::judge(&head)? {
        format::Format::Archive => workbook::read(source, size, limits, &mut judge)?,
        format::Format::Text => delimited::read(source, &head, category, limits, &mut judge)?,
    }
    let mut reading = judge.finish()?;
    // The file was read more than once: what was judged must be what the digest says.
    if digest(source)? != sha256 {
        return Err(Unreadable::new(
            Code::Unreadable,
            "读取时文件被改动，请重试 the file changed while it was read; try again",
        ));
    }
    reading.sha256 = sha256;
    reading.checked()
}

/// Bytes by which a file is judged: an old workbook's directory may stand some way in.
const HEAD: u64 = 64 << 10;

/// SHA-256 of the file's bytes.
fn digest<R: Read + Seek>(source: &mut R) -> Result<String, Unreadable> {
    let unreadable = |_| text::cannot_be_read();
    source.rewind().map_err(unreadable)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match source.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hex::encode(context.finish())),
            read => context.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

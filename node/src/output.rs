//! What a person reads in a terminal: tables that hold Chinese text, money and dates as people write them.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// A table with a header, wrapped to the terminal.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width());
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// Columns of the terminal; 110 where there is none.
fn width() -> u16 {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let seen = || Some(rustix::termios::tcgetwinsize(std::io::stdout()).ok()?.ws_col);
    told.or_else(seen).filter(|columns| *columns >= 40).unwrap_or(110)
}

/// What became of standard output: `OPEN`, `CLOSED` by its reader, or `LOST` to a full disk and the like.
static STATE: AtomicU8 = AtomicU8::new(OPEN);
const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const LOST: u8 = 2;

/// One line on standard output. A closed pipe is quiet, as in `sanku … | head`: the work goes on to its end and exit code.
pub(crate) fn say(line: impl AsRef<str>) {
    if STATE.load(Ordering::Relaxed) != OPEN {
        return;
    }
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => STATE.store(CLOSED, Ordering::Relaxed),
        Err(error) => {
            STATE.store(LOST, Ordering::Relaxed);
            remark(format!(
                "sanku: 结果写不出去 the result could not be written to standard output: {error}"
            ));
        }
    }
}

/// Whether whoever read standard output has gone.
pub(crate) fn reader_has_gone() -> bool {
    STATE.load(Ordering::Relaxed) != OPEN
}

/// Whether something that was said never arrived, though its reader waits: then a command has failed.
pub(crate) fn was_lost() -> bool {
    STATE.load(Ordering::Relaxed) == LOST
}

/// A command was called in a way that cannot be meant: exit code 2. Says what to write instead.
#[derive(Debug)]
pub(crate) struct WrongUse(pub(crate) String);

impl fmt::Display for WrongUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}

/// The error of a command that was called wrongly.
pub(crate) fn wrong_use(words: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(WrongUse(words.into()))
}

/// One JSON document on standard output.
pub(crate) fn say_json(value: &Value) {
    say(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// One line on standard error: progress and remarks, so that standard output stays what a script reads.
pub(crate) fn remark(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}

/// Fen as yuan: `1234567` is `12,345.67`.
pub(crate) fn yuan(fen: i64) -> String {
    let digits = (fen.unsigned_abs() / 100).to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!(
        "{}{grouped}.{:02}",
        if fen < 0 { "-" } else { "" },
        fen.unsigned_abs() % 100
    )
}

#[cfg(test)]
mod tests {
    use super::yuan;

    #[test]
    fn fen_are_read_as_yuan() {
        assert_eq!(yuan(123_456_789), "1,234,567.89");
        assert_eq!(yuan(-5), "-0.05");
        assert_eq!(yuan(100_000), "1,000.00");
    }
}

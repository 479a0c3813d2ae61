//! What the tests of this crate share: people, readings, and workbooks made by hand.

use std::io::{Cursor, Write};

use crate::{Code, Limits, Reading, Unreadable};
use sanku_catalogue::{Catalogue, Category};
use sanku_values::{Date, IdentityNumber};

pub(crate) fn category(id: &str) -> &'static Category {
    Catalogue::current().category(&id.parse().unwrap()).unwrap()
}

pub(crate) fn today() -> Date {
    Date::new(2026, 11, 24).unwrap()
}

/// The number of this division, birth date and sequence.
pub(crate) fn number_of(division: &str, birth: &str, sequence: u16) -> String {
    let first = format!("{division}{birth}{sequence:03}");
    "0123456789X"
        .chars()
        .map(|check| format!("{first}{check}"))
        .find(|number| IdentityNumber::parse(number, today()).is_ok())
        .unwrap()
}

pub(crate) fn number(sequence: u16) -> String {
    number_of("421002", "19800101", sequence)
}

pub(crate) fn read(bytes: &[u8], id: &str) -> Result<Reading, Unreadable> {
    crate::read(bytes, category(id), &Limits::default(), today(), &mut |_| {})
}

pub(crate) fn good(bytes: &[u8], id: &str) -> Reading {
    let reading = read(bytes, id).unwrap();
    assert!(reading.adds_up());
    assert_eq!(u64::try_from(reading.accepted.len()).unwrap(), reading.accepted_count);
    reading
}

pub(crate) fn refused(reading: &Reading) -> Vec<(u64, Code)> {
    reading
        .refused
        .iter()
        .map(|refused| (refused.row, refused.code))
        .collect()
}

pub(crate) fn skipped(reading: &Reading) -> Vec<(Option<u64>, Code)> {
    reading.skipped.iter().map(|notice| (notice.row, notice.code)).collect()
}

pub(crate) fn warned(reading: &Reading) -> Vec<(Option<u64>, Code)> {
    reading
        .warnings
        .iter()
        .map(|notice| (notice.row, notice.code))
        .collect()
}

pub(crate) fn fields(reading: &Reading, place: usize) -> String {
    reading.accepted[place].fields.canonical()
}

const BOOK: &str = r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
const RELATIONS: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="x/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#;

/// A workbook of these parts, beside a plain workbook.xml and its relations.
pub(crate) fn archive(parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("xl/workbook.xml", BOOK.as_bytes().to_vec()),
        ("xl/_rels/workbook.xml.rels", RELATIONS.as_bytes().to_vec()),
    ];
    all.retain(|(name, _)| !parts.iter().any(|(other, _)| other == name));
    for (name, bytes) in all.iter().chain(parts) {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A workbook of one sheet with these rows, as XML.
pub(crate) fn one_sheet(rows: &str) -> Vec<u8> {
    archive(&[("xl/worksheets/sheet1.xml", sheet(rows))])
}

pub(crate) fn sheet(rows: &str) -> Vec<u8> {
    format!("<worksheet><sheetData>{rows}</sheetData></worksheet>").into_bytes()
}

/// A row of inline texts.
pub(crate) fn row(number: u64, texts: &[&str]) -> String {
    let cells: String = texts
        .iter()
        .map(|text| format!("<c t=\"inlineStr\"><is><t>{text}</t></is></c>"))
        .collect();
    format!("<row r=\"{number}\">{cells}</row>")
}

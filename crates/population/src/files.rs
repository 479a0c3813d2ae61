//! Department files (部门数据文件) as they come: a title, headers in the second or fourth row, 序号, text numbers, dates and
//! amounts in each department's habit, a line 合计; xlsx, UTF-8 and GBK.

use std::path::{Path, PathBuf};

use rust_xlsxwriter::Workbook;
use sanku_catalogue::{Catalogue, Field, FieldKind};
use sanku_values::Date;

use crate::{PopulationError, Row};

/// A file that a department sent.
#[derive(Clone, Debug)]
pub struct DepartmentFile {
    /// The node that it is meant for.
    pub node: u32,
    /// Where it lies.
    pub path: PathBuf,
    /// Its category.
    pub category: &'static str,
    /// The department that vouches for it.
    pub source: String,
    /// The date it vouches for.
    pub as_of: Date,
}

/// A department's habit of writing (格式).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// xlsx; the header in the fourth row; `2023年5月1日`, `12,345.60`.
    Workbook,
    /// CSV in GBK; long headers without units; `2023/05/01`, `202305`, `￥12345.60`.
    Gbk,
    /// CSV in UTF-8 with a mark; ISO dates.
    Utf8,
}

impl Form {
    /// The header of a field.
    fn header(self, field: &Field) -> String {
        match (self, &field.kind) {
            (Self::Gbk, _) => {
                let longest = field.aliases.iter().max_by_key(|alias| alias.chars().count());
                longest
                    .filter(|alias| alias.chars().count() > field.label.chars().count())
                    .unwrap_or(&field.label)
                    .clone()
            }
            (_, FieldKind::Money) => format!("{}(元)", field.label),
            (_, FieldKind::Area) => format!("{}(㎡)", field.label),
            _ => field.label.clone(),
        }
    }

    /// A cell of a field; `plain` is the ISO form.
    fn cell(self, field: &Field, plain: &str) -> String {
        let date = || plain.parse::<Date>();
        match (self, &field.kind) {
            (_, _) if plain.is_empty() => String::new(),
            (Self::Workbook, FieldKind::Date) => date().map_or_else(
                |_| plain.to_owned(),
                |date| format!("{}年{}月{}日", date.year(), date.month(), date.day()),
            ),
            (Self::Workbook, FieldKind::Money) => thousands(plain),
            (Self::Gbk, FieldKind::Date) => plain.replace('-', "/"),
            (Self::Gbk, FieldKind::Month) => plain.replace('-', ""),
            (Self::Gbk, FieldKind::Money) => format!("￥{plain}"),
            _ => plain.to_owned(),
        }
    }
}

/// `12345.60` as `12,345.60`.
fn thousands(plain: &str) -> String {
    let (whole, rest) = plain.split_once('.').unwrap_or((plain, "00"));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{out}.{rest}")
}

/// Writes one department's rows of one category for one node.
pub(crate) fn write(
    directory: &Path,
    node: u32,
    category: &'static str,
    rows: &[&Row],
    as_of: Date,
    form: Form,
) -> Result<DepartmentFile, PopulationError> {
    let about = category
        .parse()
        .ok()
        .and_then(|id| Catalogue::current().category(&id))
        .ok_or(PopulationError::Value("category"))?;
    let department = Catalogue::current()
        .department(&about.department)
        .ok_or(PopulationError::Value("department"))?;
    let mut header = vec!["序号".to_owned(), "姓名".to_owned(), "身份证号".to_owned()];
    header.extend(about.fields.iter().map(|field| form.header(field)));
    header.extend(about.as_of_column.clone());
    let lines: Vec<Vec<String>> = (1..)
        .zip(rows)
        .map(|(place, row)| {
            let mut line = vec![
                place.to_string(),
                row.name.original().to_owned(),
                row.number.as_str().to_owned(),
            ];
            line.extend(about.fields.iter().map(|field| {
                row.values
                    .iter()
                    .find(|(id, _)| *id == field.id)
                    .map(|(_, plain)| form.cell(field, plain))
                    .unwrap_or_default()
            }));
            if about.as_of_column.is_some() {
                line.push(as_of.to_string());
            }
            line
        })
        .collect();
    let title = format!("{}{}数据", department.label, about.label);
    let folder = directory.join(node.to_string());
    std::fs::create_dir_all(&folder)?;
    let extension = if form == Form::Workbook { "xlsx" } else { "csv" };
    let path = folder.join(format!("{category}.{extension}"));
    match form {
        Form::Workbook => xlsx(&path, &title, as_of, &header, &lines)?,
        Form::Gbk | Form::Utf8 => std::fs::write(&path, text(&title, &header, &lines, form)?)?,
    }
    Ok(DepartmentFile {
        node,
        path,
        category,
        source: format!("{}部门", department.label),
        as_of,
    })
}

fn xlsx(
    path: &Path,
    title: &str,
    as_of: Date,
    header: &[String],
    lines: &[Vec<String>],
) -> Result<(), PopulationError> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let columns = u16::try_from(header.len()).unwrap_or(1);
    sheet.merge_range(0, 0, 0, columns - 1, title, &rust_xlsxwriter::Format::new())?;
    sheet.write_string(1, 0, format!("数据截至：{as_of}"))?;
    for (column, name) in (0_u16..).zip(header) {
        sheet.write_string(3, column, name)?;
    }
    for (row, line) in (4_u32..).zip(lines) {
        for (column, cell) in (0_u16..).zip(line).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(row, column, cell)?;
        }
    }
    let last = 4 + u32::try_from(lines.len()).unwrap_or(0);
    sheet.write_string(last, 0, "合计")?;
    sheet.write_number(last, 1, lines.len() as f64)?;
    book.save(path)?;
    Ok(())
}

fn text(title: &str, header: &[String], lines: &[Vec<String>], form: Form) -> Result<Vec<u8>, PopulationError> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    writer.write_record([title])?;
    writer.write_record(header)?;
    for line in lines {
        writer.write_record(line)?;
    }
    writer.write_record(["合计", &lines.len().to_string()])?;
    let bytes = writer.into_inner().map_err(|_| PopulationError::Value("file"))?;
    if form == Form::Utf8 {
        return Ok([b"\xef\xbb\xbf".as_slice(), &bytes].concat());
    }
    let whole = String::from_utf8(bytes).map_err(|_| PopulationError::Value("file"))?;
    let (encoded, _, lossy) = encoding_rs::GBK.encode(&whole);
    if lossy {
        Err(PopulationError::Value("a character that GBK lacks"))
    } else {
        Ok(encoded.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_writes_in_its_habit() {
        let category = Catalogue::current().category(&"subsidy".parse().unwrap()).unwrap();
        let field = |id: &str| category.field(id).unwrap();
        assert_eq!(Form::Workbook.cell(field("paid_on"), "2025-03-09"), "2025年3月9日");
        assert_eq!(Form::Workbook.cell(field("amount"), "1234567.05"), "1,234,567.05");
        assert_eq!(Form::Workbook.cell(field("amount"), "123.05"), "123.05");
        assert_eq!(Form::Workbook.cell(field("amount"), ""), "");
        assert_eq!(Form::Workbook.header(field("amount")), "金额(元)");
        assert_eq!(Form::Gbk.cell(field("paid_on"), "2025-03-09"), "2025/03/09");
        assert_eq!(Form::Gbk.header(field("paid_on")), "发放日期");
        assert_eq!(Form::Utf8.cell(field("amount"), "1234.50"), "1234.50");
    }
}

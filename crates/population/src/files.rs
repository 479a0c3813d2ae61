//! Department files (部门数据文件) as they come: a title, headers under it, 序号, text numbers, a line 合计; xlsx, UTF-8 and GBK.

use std::path::{Path, PathBuf};

use rust_xlsxwriter::Workbook;
use sanku_catalogue::{Catalogue, FieldKind};
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

/// Writes one department's rows of one category for one node.
pub(crate) fn write(
    directory: &Path,
    node: u32,
    category: &'static str,
    rows: &[&Row],
    as_of: Date,
    form: usize,
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
    header.extend(about.fields.iter().map(|field| match field.kind {
        FieldKind::Money => format!("{}(元)", field.label),
        FieldKind::Area => format!("{}(㎡)", field.label),
        _ => field.label.clone(),
    }));
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
                    .map(|(_, shown)| shown.clone())
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
    let path = folder.join(format!("{category}.{}", if form == 0 { "xlsx" } else { "csv" }));
    match form {
        0 => xlsx(&path, &title, &header, &lines)?,
        form => std::fs::write(&path, text(&title, &header, &lines, form == 1)?)?,
    }
    Ok(DepartmentFile {
        node,
        path,
        category,
        source: format!("{}部门", department.label),
        as_of,
    })
}

fn xlsx(path: &Path, title: &str, header: &[String], lines: &[Vec<String>]) -> Result<(), PopulationError> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let columns = u16::try_from(header.len()).unwrap_or(1);
    sheet.merge_range(0, 0, 0, columns - 1, title, &rust_xlsxwriter::Format::new())?;
    for (column, name) in (0_u16..).zip(header) {
        sheet.write_string(1, column, name)?;
    }
    for (row, line) in (2_u32..).zip(lines) {
        for (column, cell) in (0_u16..).zip(line).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(row, column, cell)?;
        }
    }
    sheet.write_string(2 + u32::try_from(lines.len()).unwrap_or(0), 0, "合计")?;
    sheet.write_number(2 + u32::try_from(lines.len()).unwrap_or(0), 1, lines.len() as f64)?;
    book.save(path)?;
    Ok(())
}

fn text(title: &str, header: &[String], lines: &[Vec<String>], gbk: bool) -> Result<Vec<u8>, PopulationError> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    writer.write_record([title])?;
    writer.write_record(header)?;
    for line in lines {
        writer.write_record(line)?;
    }
    writer.write_record(["合计", &lines.len().to_string()])?;
    let bytes = writer.into_inner().map_err(|_| PopulationError::Value("file"))?;
    if !gbk {
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

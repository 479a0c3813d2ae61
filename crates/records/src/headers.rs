//! Finding the header under its title, and which column is what.

use sanku_catalogue::Category;

use crate::cells::{Cell, Scale, plain};
use crate::{Code, Unreadable};

const NUMBER: [&str; 8] = [
    "身份证号",
    "身份证号码",
    "公民身份号码",
    "公民身份证号码",
    "证件号码",
    "证件号",
    "居民身份证号",
    "居民身份证号码",
];
const NAME: [&str; 4] = ["姓名", "人员姓名", "权利人姓名", "户主姓名"];

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Number,
    Name,
    AsOf,
    Field(usize, Scale),
    /// 序号 and blank headers.
    Nothing,
    Unknown(String),
}

/// A header that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) columns: Vec<Column>,
    pub(crate) texts: Vec<String>,
}

/// Whether a row is the header: it names the number and the name, or the number and a field.
pub(crate) fn find(row: &[Cell], category: &Category) -> Result<Option<Header>, Unreadable> {
    let texts: Vec<String> = row.iter().map(|cell| plain(&cell.text)).collect();
    let columns = texts
        .iter()
        .map(|text| column(text, category))
        .collect::<Result<Vec<_>, _>>()?;
    let count = |wanted: &dyn Fn(&Column) -> bool| columns.iter().filter(|column| wanted(column)).count();
    let numbers = count(&|column| *column == Column::Number);
    if numbers == 0 || count(&|column| matches!(column, Column::Name | Column::Field(..))) == 0 {
        return Ok(None);
    }
    let twice = numbers > 1
        || count(&|column| *column == Column::Name) > 1
        || count(&|column| *column == Column::AsOf) > 1
        || (0..category.fields.len())
            .any(|field| count(&|column| matches!(column, Column::Field(of, _) if *of == field)) > 1);
    if twice {
        return Err(Unreadable::new(
            Code::AmbiguousHeader,
            "有两列对应同一项，请只保留一列 two columns stand for one field; keep one of them",
        ));
    }
    if count(&|column| *column == Column::Name) == 0 {
        return Err(Unreadable::new(
            Code::MissingHeader,
            "缺少“姓名”列 the column 姓名 (name) is missing",
        ));
    }
    Ok(Some(Header { columns, texts }))
}

fn column(text: &str, category: &Category) -> Result<Column, Unreadable> {
    let (name, scale) = split_unit(text)?;
    if name.is_empty() || matches!(name.as_str(), "序号" | "编号" | "行号") {
        return Ok(Column::Nothing);
    }
    if NUMBER.contains(&name.as_str()) || name == "id_number" {
        return Ok(Column::Number);
    }
    if category.as_of_column.as_deref() == Some(name.as_str()) || (category.as_of_column.is_some() && name == "as_of") {
        return Ok(Column::AsOf);
    }
    let is = |known: &String| plain(known).replace(' ', "") == name;
    let fields = || category.fields.iter().enumerate();
    let exact = fields().find(|(_, field)| field.label == name || field.id == name);
    if let Some((place, _)) = exact.or_else(|| fields().find(|(_, field)| field.aliases.iter().any(is))) {
        return Ok(Column::Field(place, scale));
    }
    // 名称 of a company is a field; the person's own name comes after it.
    if NAME.contains(&name.as_str()) || name == "name" {
        return Ok(Column::Name);
    }
    Ok(Column::Unknown(text.to_owned()))
}

/// Takes the unit in brackets off a header: `金额(万元)`.
fn split_unit(text: &str) -> Result<(String, Scale), Unreadable> {
    let joined: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    let (name, unit) = match joined.split_once('(') {
        Some((name, rest)) => (name.to_owned(), rest.trim_end_matches(')').to_owned()),
        None => (joined, String::new()),
    };
    let scale = match unit.trim_start_matches("单位:").trim_start_matches("单位") {
        "" => Scale::NONE,
        "元" | "元/月" | "元/年" | "人民币" => Scale {
            money: true,
            ..Scale::NONE
        },
        "万元" | "万" => Scale {
            factor: 10_000,
            money: true,
            area: false,
        },
        "㎡" | "平方米" | "m2" | "平米" => Scale {
            area: true,
            ..Scale::NONE
        },
        "%" | "必填" | "选填" | "月" | "个月" => Scale::NONE,
        other if other.contains("元") || other.contains("亩") || other.contains("公顷") || other.contains("美") => {
            return Err(Unreadable::new(
                Code::BadUnit,
                "表头中的单位不能换算，请换成元或平方米 a unit in the header cannot be converted; use 元 or 平方米",
            ));
        }
        _ => Scale::NONE,
    };
    Ok((name, scale))
}

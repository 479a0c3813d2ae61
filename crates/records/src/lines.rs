//! Lines of a table that are no records: totals, and what stands below the data.

use crate::cell::Row;
use crate::values::plain;

const TOTALS: [&str; 9] = [
    "合计",
    "总计",
    "小计",
    "共计",
    "本页合计",
    "本页小计",
    "累计",
    "total",
    "subtotal",
];

const FOOTERS: [&str; 24] = [
    "制表",
    "填表",
    "填报",
    "审核",
    "复核",
    "经办",
    "负责人",
    "单位负责人",
    "打印",
    "导出",
    "备注:",
    "注:",
    "注1",
    "说明:",
    "以下空白",
    "以上空白",
    "联系人",
    "联系电话",
    "盖章",
    "(盖章",
    "(公章",
    "数据来源",
    "截止日期:",
    "单位(盖章",
];

/// A line of totals: its first cell, or the one behind 序号, says so.
pub(crate) fn is_total(row: &Row) -> bool {
    row.cells
        .iter()
        .filter(|placed| !placed.merged)
        .filter_map(|placed| placed.cell.as_text())
        .take(2)
        .any(|text| {
            let text = plain(text).to_lowercase();
            TOTALS.iter().any(|word| {
                text.strip_prefix(word).is_some_and(|rest| {
                    // 合计三人 is a total; 合计 as the beginning of a longer name is not.
                    rest.is_empty()
                        || rest.starts_with([':', '(', ',', '共'])
                        || rest.starts_with(|c: char| c.is_ascii_digit())
                        || rest.ends_with(['人', '元', '户', '条'])
                })
            })
        })
}

/// A line below the data: few cells, the first of which begins as such lines do.
pub(crate) fn is_footer(row: &Row) -> bool {
    let texts: Vec<String> = row
        .cells
        .iter()
        .filter_map(|placed| placed.cell.as_text())
        .map(plain)
        .collect();
    let Some(first) = row.first_text().map(plain) else {
        return false;
    };
    let page = first.starts_with('第') && first.contains('页')
        || first.starts_with('共') && first.ends_with(['页', '条', '人', '户', '行']);
    // A real row has a number or more cells; the line names its own words and a colon or stands alone.
    let alone = texts.len() == 1
        || texts.iter().filter(|text| text.contains(':')).count() * 2 >= texts.len()
        || texts.len() <= 4;
    alone && row.cells.len() <= 8 && (page || FOOTERS.iter().any(|word| first.starts_with(word)))
}

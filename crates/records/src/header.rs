//! Headers: which column is which field, and in what unit.

use std::collections::BTreeMap;

use sanku_catalogue::{Category, FieldKind};

use crate::cell::{Cell, Row, letters};
use crate::values::{Unit, plain, unit};
use crate::{Code, Unreadable};

const NUMBER: [&str; 16] = [
    "身份证号",
    "身份证号码",
    "公民身份号码",
    "公民身份证号码",
    "公民身份证号",
    "证件号码",
    "证件号",
    "居民身份证号码",
    "居民身份证号",
    "身份证件号码",
    "身份证件号",
    "身份号码",
    "身份证",
    "id_number",
    "identity_number",
    "id_card",
];
const NAME: [&str; 6] = ["姓名", "人员姓名", "居民姓名", "权利人姓名", "名字", "person_name"];
const AS_OF: [&str; 8] = [
    "日期",
    "as_of",
    "余额日期",
    "数据日期",
    "截止日期",
    "截至日期",
    "统计日期",
    "查询日期",
];

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Number,
    Name,
    AsOf,
    /// A field, by its place in the category.
    Field(usize),
}

/// One column that is read.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) place: usize,
    pub(crate) role: Role,
    /// As the file writes it, on one line.
    pub(crate) text: String,
    pub(crate) unit: Option<Unit>,
}

/// A header that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) columns: Vec<Column>,
    pub(crate) ignored: Vec<String>,
    /// All its texts by column, to know a repetition.
    pub(crate) texts: BTreeMap<usize, String>,
    pub(crate) width: Option<usize>,
}

impl Header {
    pub(crate) fn column(&self, role: Role) -> Option<&Column> {
        self.columns.iter().find(|column| column.role == role)
    }

    /// Whether it names at least one column of the natural key: else it is another category's.
    pub(crate) fn belongs_to(&self, category: &Category) -> Result<(), Unreadable> {
        let keys = || category.fields.iter().enumerate().filter(|(_, field)| field.key);
        if keys().any(|(place, _)| self.column(Role::Field(place)).is_some()) {
            return Ok(());
        }
        let wanted: Vec<_> = keys().map(|(_, field)| field.label.as_str()).collect();
        Err(Unreadable::new(
            Code::MissingHeader,
            format!(
                "表头中没有“{}”类别的关键列（{}），请核对类别是否选对 the header has none of the key columns of this category ({}); is it the right category?",
                category.label,
                wanted.join("、"),
                category.id
            ),
        ))
    }
}

/// Columns of a row that the category knows: what the separator of a CSV file is judged by.
pub(crate) fn score(row: &Row, category: &Category) -> usize {
    row.cells
        .iter()
        .filter_map(|placed| placed.cell.as_text())
        .filter(|text| named(text, category).is_some())
        .count()
}

/// Reads a row as a header; none if it does not name both number and name. `money` is a unit that stood above, such as 单位：万元.
pub(crate) fn find(
    texts: BTreeMap<usize, String>,
    width: Option<usize>,
    category: &Category,
    money: Option<Unit>,
) -> Result<Option<Header>, Unreadable> {
    let mut roles: BTreeMap<Role, usize> = BTreeMap::new();
    let mut columns = Vec::new();
    let mut ignored = Vec::new();
    let mut twice = None;
    let mut late_names = Vec::new();
    for (place, text) in &texts {
        let Some(found) = named(text, category) else {
            ignored.push(shown(text, *place));
            continue;
        };
        if found.role == Role::Name && found.shared {
            late_names.push((*place, text));
            continue;
        }
        if roles.insert(found.role, *place).is_some() {
            twice = Some(*place);
        }
        columns.push((*place, found.role, text, found.units));
    }
    // `name` is the person's, unless another column is and the category has a field of that name.
    for (place, text) in late_names {
        let field = category
            .fields
            .iter()
            .position(|field| field.id == "name")
            .map(Role::Field);
        let role = match field {
            Some(field) if roles.contains_key(&Role::Name) => field,
            _ => Role::Name,
        };
        if roles.insert(role, place).is_some() {
            twice = Some(place);
        }
        columns.push((place, role, text, Vec::new()));
    }
    if !roles.contains_key(&Role::Number) || !roles.contains_key(&Role::Name) {
        return Ok(None);
    }
    if let Some(place) = twice {
        return Err(Unreadable::new(
            Code::AmbiguousHeader,
            format!(
                "{0} 列与另一列对应同一项，请只保留一列 column {0} stands for the same field as another; keep one of them",
                letters(place)
            ),
        ));
    }
    columns.sort_by_key(|(place, ..)| *place);
    let columns = columns
        .into_iter()
        .map(|(place, role, text, notes)| {
            Ok(Column {
                place,
                role,
                text: shown(text, place),
                unit: unit_of(place, role, &notes, category, money)?,
            })
        })
        .collect::<Result<_, Unreadable>>()?;
    Ok(Some(Header {
        columns,
        ignored,
        texts,
        width,
    }))
}

/// The unit that a header names, if its field has one.
fn unit_of(
    place: usize,
    role: Role,
    notes: &[String],
    category: &Category,
    money: Option<Unit>,
) -> Result<Option<Unit>, Unreadable> {
    let Role::Field(field) = role else {
        return Ok(None);
    };
    let Some(field) = category.fields.get(field) else {
        return Ok(None);
    };
    let fits = |unit: Unit| {
        matches!(
            (&field.kind, unit),
            (FieldKind::Money, Unit::Money(_))
                | (FieldKind::Area, Unit::Area(_))
                | (FieldKind::BasisPoints, Unit::Share(_))
        )
    };
    let measured = matches!(field.kind, FieldKind::Money | FieldKind::Area | FieldKind::BasisPoints);
    let mut found = None;
    for note in notes {
        match unit(note) {
            Some(Ok(unit)) if fits(unit) => found = Some(unit),
            Some(_) if measured => {
                return Err(Unreadable::new(
                    Code::BadUnit,
                    format!(
                        "{0} 列表头中的单位不能换算，请换成元、万元或平方米 the unit in the header of column {0} cannot be converted; use 元, 万元 or 平方米",
                        letters(place)
                    ),
                ));
            }
            _ => {}
        }
    }
    let above = money.filter(|_| field.kind == FieldKind::Money);
    let bare_points =
        (field.kind == FieldKind::BasisPoints && notes.iter().any(|note| note == "id")).then_some(Unit::Share(1));
    Ok(found.or(above).or(bare_points))
}

struct Found {
    role: Role,
    /// What stood in brackets or behind the words.
    units: Vec<String>,
    /// The plain English `name`, which a field may bear too.
    shared: bool,
}

/// What a header's text names, with and without its brackets and unit.
fn named(text: &str, category: &Category) -> Option<Found> {
    let whole = plain(text).to_lowercase().trim_matches(['*', ':']).to_owned();
    let (bare, mut units) = without_brackets(&whole);
    let candidates = [whole.as_str(), bare.as_str()];
    let mut role = candidates.iter().find_map(|name| role_of(name, category));
    if role.is_none() {
        let tail = ["万元", "千元", "亿元", "元", "m2", "平方米"]
            .iter()
            .find(|tail| bare.ends_with(**tail) && role_of(bare.trim_end_matches(**tail), category).is_some())?;
        role = role_of(bare.trim_end_matches(tail), category);
        units.push((*tail).to_owned());
    }
    let role = role?;
    if let Role::Field(field) = role
        && category.fields.get(field).is_some_and(|field| field.id == bare)
    {
        units.push("id".to_owned());
    }
    Some(Found {
        role,
        units,
        shared: bare == "name",
    })
}

fn role_of(name: &str, category: &Category) -> Option<Role> {
    if NUMBER.contains(&name) {
        return Some(Role::Number);
    }
    if NAME.contains(&name) || name == "name" {
        return Some(Role::Name);
    }
    if category.as_of_column.is_some() && AS_OF.contains(&name) {
        return Some(Role::AsOf);
    }
    let same = |word: &str| plain(word).to_lowercase() == name;
    let field = category
        .fields
        .iter()
        .position(|field| same(&field.label) || field.id == name)
        .or_else(|| {
            category
                .fields
                .iter()
                .position(|field| field.aliases.iter().any(|alias| same(alias)))
        })?;
    Some(Role::Field(field))
}

/// A text without its brackets, and what stood in them.
fn without_brackets(text: &str) -> (String, Vec<String>) {
    let mut bare = String::new();
    let mut notes = Vec::new();
    let mut note: Option<String> = None;
    for character in text.chars() {
        match (character, &mut note) {
            ('(' | '[' | '【' | '〔', None) => note = Some(String::new()),
            (')' | ']' | '】' | '〕', Some(_)) => notes.extend(note.take()),
            (other, Some(note)) => note.push(other),
            (other, None) => bare.push(other),
        }
    }
    notes.extend(note);
    (bare, notes)
}

/// A header on one line, for the report; one that holds a number may be no header at all and is named by its letters.
fn shown(text: &str, place: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let digits = line.chars().filter(|character| character.is_numeric()).count();
    if digits > 6 || line.chars().count() > 60 {
        format!("{} 列", letters(place))
    } else {
        line
    }
}

/// A unit for all amounts that stands above the header: 单位：万元.
pub(crate) fn unit_above(row: &Row) -> Option<Result<Unit, Code>> {
    row.cells
        .iter()
        .filter_map(|placed| placed.cell.as_text())
        .find_map(|text| {
            let text = plain(text);
            let (_, after) = text.rsplit_once("单位:")?;
            let word = after.split([')', ',', '，', ';']).next().unwrap_or_default();
            // 单位 is an organisation as often: only a word that is a unit and nothing else counts.
            match unit(word) {
                Some(Ok(unit @ Unit::Money(_))) => Some(Ok(unit)),
                Some(Err(code)) if word.chars().count() <= 4 => Some(Err(code)),
                _ => None,
            }
        })
}

/// The texts of a row by column.
pub(crate) fn texts(row: &Row) -> BTreeMap<usize, String> {
    row.cells
        .iter()
        .filter_map(|placed| match &placed.cell {
            Cell::Text(text) => Some((placed.column, text.clone())),
            _ => None,
        })
        .collect()
}

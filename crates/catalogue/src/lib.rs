//! The catalogue of the sixteen departments (核对数据目录): categories, fields, natural keys, and the closed types of a record.
//!
//! The data stand in `catalogue.toml`, so that a centre can align them with its national data-element standard
//! (MZ/T 073-2024). Reading departments' files is `sanku-records`' matter.

pub mod canonical;
mod fields;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

pub use fields::{Fields, FieldsError, LONGEST_TEXT, UnjudgedFields, Value};
use serde::Deserialize;

/// One version of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    version: u32,
    #[serde(rename = "department")]
    departments: Vec<Department>,
    #[serde(rename = "category")]
    categories: Vec<Category>,
}

/// A department that shares data (部门).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Department {
    /// Its number in the regulation, 1 to 16.
    pub number: u8,
    /// Stable id.
    pub id: String,
    /// Chinese name.
    pub label: String,
    /// Names since or beside.
    pub aliases: Vec<String>,
}

/// A category of records (类别).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// Stable id, such as `real_estate`.
    #[serde(deserialize_with = "unchecked_id")]
    pub id: CategoryId,
    /// Chinese name.
    pub label: String,
    /// The department's id.
    pub department: String,
    /// Who may see it.
    pub sensitivity: Sensitivity,
    /// The column that carries the record's own `as_of`, where there is one (日期 of deposits and securities).
    #[serde(default)]
    pub as_of_column: Option<String>,
    /// Its fields, in the catalogue's order.
    pub fields: Vec<Field>,
}

/// How sensitive a category is (敏感级别).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Public register.
    Public,
    /// Restricted.
    Restricted,
    /// Secret: amounts, accounts, health, children.
    Secret,
}

/// A field of a category.
#[derive(Debug, Deserialize)]
#[serde(from = "FieldRow")]
pub struct Field {
    /// Stable id.
    pub id: String,
    /// Chinese name.
    pub label: String,
    /// Other headers that departments write.
    pub aliases: Vec<String>,
    /// What its values are.
    pub kind: FieldKind,
    /// Part of the natural key.
    pub key: bool,
}

/// What a field's values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Free text.
    Text,
    /// Money, in fen.
    Money,
    /// An area, in 0.01 m².
    Area,
    /// `2023-05-01`.
    Date,
    /// `2023-05`.
    Month,
    /// `2023`.
    Year,
    /// A count.
    Integer,
    /// A share, 0 to 10,000.
    BasisPoints,
    /// Yes or no.
    Boolean,
    /// One of a closed list.
    Code(Vec<Code>),
    /// A unified social credit code.
    CreditCode,
    /// An identity number (a spouse's).
    IdentityNumber,
}

/// One value of a closed list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Stable id: the value that is stored.
    pub id: String,
    /// Chinese name.
    pub label: String,
    /// Other words that departments write for it.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// A field as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldRow {
    id: String,
    label: String,
    kind: KindWord,
    #[serde(default)]
    key: bool,
    #[serde(default)]
    codes: Vec<Code>,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindWord {
    Text,
    Money,
    Area,
    Date,
    Month,
    Year,
    Integer,
    BasisPoints,
    Boolean,
    Code,
    CreditCode,
    IdentityNumber,
}

impl From<FieldRow> for Field {
    fn from(row: FieldRow) -> Self {
        let kind = match row.kind {
            KindWord::Text => FieldKind::Text,
            KindWord::Money => FieldKind::Money,
            KindWord::Area => FieldKind::Area,
            KindWord::Date => FieldKind::Date,
            KindWord::Month => FieldKind::Month,
            KindWord::Year => FieldKind::Year,
            KindWord::Integer => FieldKind::Integer,
            KindWord::BasisPoints => FieldKind::BasisPoints,
            KindWord::Boolean => FieldKind::Boolean,
            KindWord::Code => FieldKind::Code(row.codes),
            KindWord::CreditCode => FieldKind::CreditCode,
            KindWord::IdentityNumber => FieldKind::IdentityNumber,
        };
        Self {
            id: row.id,
            label: row.label,
            aliases: row.aliases,
            kind,
            key: row.key,
        }
    }
}

/// The id of a category that the catalogue has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryId(String);

/// The catalogue has no such category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("没有这个类别，见 sanku records categories no such category; `sanku records categories` lists them")]
pub struct NoSuchCategory;

fn unchecked_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<CategoryId, D::Error> {
    String::deserialize(deserializer).map(CategoryId)
}

/// The data are part of the program: a test reads them, and a broken build ends here.
static CURRENT: LazyLock<Catalogue> = LazyLock::new(|| match toml::from_str(include_str!("../catalogue.toml")) {
    Ok(catalogue) => catalogue,
    Err(error) => unreachable!("catalogue.toml: {error}"),
});

impl Catalogue {
    /// The newest version.
    pub fn current() -> &'static Self {
        &CURRENT
    }

    /// A version that a question names.
    pub fn by_version(version: u32) -> Option<&'static Self> {
        (version == CURRENT.version).then_some(&*CURRENT)
    }

    /// Its number.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// A category by an id that this catalogue has.
    pub fn category(&self, id: &CategoryId) -> Option<&Category> {
        self.categories.iter().find(|category| category.id == *id)
    }

    /// All categories, in the regulation's order of departments.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// All departments.
    pub fn departments(&self) -> &[Department] {
        &self.departments
    }

    /// A department by its id.
    pub fn department(&self, id: &str) -> Option<&Department> {
        self.departments.iter().find(|department| department.id == id)
    }
}

impl Category {
    /// A field by its id.
    pub fn field(&self, id: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }
}

impl CategoryId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CategoryId {
    type Err = NoSuchCategory;

    fn from_str(text: &str) -> Result<Self, NoSuchCategory> {
        CURRENT
            .categories
            .iter()
            .find(|category| category.id.0 == text)
            .map(|category| category.id.clone())
            .ok_or(NoSuchCategory)
    }
}

impl fmt::Display for CategoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for CategoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl serde::Serialize for CategoryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CategoryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn category(id: &str) -> &'static Category {
        Catalogue::current().category(&id.parse().unwrap()).unwrap()
    }

    #[test]
    fn all_sixteen_departments_and_their_categories_are_there() {
        let catalogue = Catalogue::current();
        assert_eq!(catalogue.departments().len(), 16);
        assert_eq!(catalogue.categories().len(), 26);
        for category in catalogue.categories() {
            assert!(catalogue.department(&category.department).is_some(), "{}", category.id);
            assert!(
                category.fields.iter().any(|field| field.key),
                "{} has no natural key",
                category.id
            );
            let headers: Vec<_> = category
                .fields
                .iter()
                .flat_map(|field| std::iter::once(&field.label).chain(&field.aliases).chain([&field.id]))
                .collect();
            assert_eq!(
                headers.iter().collect::<BTreeSet<_>>().len(),
                headers.len(),
                "{} has a header twice",
                category.id
            );
            for field in &category.fields {
                let FieldKind::Code(codes) = &field.kind else { continue };
                let words: Vec<_> = codes
                    .iter()
                    .flat_map(|code| std::iter::once(&code.label).chain(&code.aliases).chain([&code.id]))
                    .collect();
                assert!(!codes.is_empty(), "{}.{}", category.id, field.id);
                assert_eq!(
                    words.iter().collect::<BTreeSet<_>>().len(),
                    words.len(),
                    "{}.{} has a word for two codes",
                    category.id,
                    field.id
                );
            }
        }
    }

    #[test]
    fn headers_that_departments_write_lead_to_their_fields() {
        let field_of = |in_category: &str, header: &str| {
            category(in_category)
                .fields
                .iter()
                .find(|field| field.label == header || field.aliases.iter().any(|alias| alias == header))
                .map(|field| field.id.as_str())
        };
        for (in_category, header, field) in [
            ("subsidy", "发放金额", "amount"),
            ("vehicle", "号牌号码", "plate"),
            ("vehicle", "登记日期", "first_registered_on"),
            ("business_interest", "企业名称", "name"),
            ("business_interest", "统一社会信用代码", "credit_code"),
            ("employment", "统一社会信用代码", "employer_code"),
            ("employment", "起始日期", "start_date"),
            ("marriage", "登记日期", "date"),
            ("real_estate", "登记日期", "registered_on"),
            ("assistance", "起始日期", "since"),
            ("transport_operation", "号牌号码", "plate"),
        ] {
            assert_eq!(field_of(in_category, header), Some(field), "{in_category} {header}");
        }
        // Words of a neighbouring meaning must not be taken for a field: where the owner lives is not where the house stands.
        for (in_category, header) in [
            ("real_estate", "家庭住址"),
            ("real_estate", "征地面积"),
            ("land_compensation", "房屋面积"),
            ("business_interest", "注册资本"),
            ("subsidy", "成交金额"),
        ] {
            assert_eq!(field_of(in_category, header), None, "{in_category} {header}");
        }
    }

    #[test]
    fn fields_are_judged_against_their_category() {
        let estate = category("real_estate");
        let fields = estate
            .fields_of([
                ("certificate_no".to_owned(), Value::Text("A-1".to_owned())),
                ("area".to_owned(), Value::Integer(8950)),
                ("ownership".to_owned(), Value::Text("sole".to_owned())),
            ])
            .unwrap();
        assert_eq!(estate.natural_key(&fields), "[\"A-1\"]");
        let read: UnjudgedFields = serde_json::from_str(&fields.canonical()).unwrap();
        assert_eq!(estate.judge(read), Ok(fields.clone()));
        assert_eq!(serde_json::to_string(&fields).unwrap(), fields.canonical());
        assert!(!format!("{fields:?}").contains("8950"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let estate = category("real_estate");
        let with = |field: &str, value: Value| estate.fields_of([(field.to_owned(), value)]);
        assert!(matches!(with("colour", Value::Null), Err(FieldsError::Unknown { .. })));
        for (field, value) in [
            ("area", Value::Text("89".to_owned())),
            ("area", Value::Integer(-1)),
            ("ownership", Value::Text("单独".to_owned())),
            ("registered_on", Value::Text("2023-02-30".to_owned())),
            ("mortgaged", Value::Integer(1)),
            ("address", Value::Text("e\u{301}".to_owned())),
            ("address", Value::Text(String::new())),
            ("share_bp", Value::Integer(10_001)),
        ] {
            assert!(matches!(with(field, value), Err(FieldsError::Kind { .. })), "{field}");
        }
        let absent: UnjudgedFields = serde_json::from_str("{\"area\":1}").unwrap();
        assert!(matches!(estate.judge(absent), Err(FieldsError::Absent { .. })));
        assert!(serde_json::from_str::<UnjudgedFields>("{\"area\":1,\"area\":2}").is_err());
        assert!(serde_json::from_str::<UnjudgedFields>("{\"area\":1.5}").is_err());
        assert!(serde_json::from_str::<UnjudgedFields>("{\"area\":[1]}").is_err());
    }

    #[test]
    fn an_empty_key_field_is_a_value() {
        let marriage = category("marriage");
        let fields = marriage
            .fields_of([("event".to_owned(), Value::Text("divorce".to_owned()))])
            .unwrap();
        assert_eq!(marriage.natural_key(&fields), "[\"divorce\",null,null]");
    }
}

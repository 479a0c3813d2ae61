//! The fields of a record: values of closed types, judged against their category.

use std::collections::BTreeMap;
use std::fmt;

use sanku_values::{Area, BasisPoints, CreditCode, Date, Fen, INTEGER_BOUND, IdentityNumber, Month, Year};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use unicode_normalization::is_nfc;

use crate::canonical::{array, boolean, integer, null, object, text};
use crate::{Category, Field, FieldKind};

/// The value of one field. A secret: `Debug` shows only its shape.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Empty in the department's file: never nought.
    Null,
    /// A text, date, month, year, code, credit code or identity number in its canonical form.
    Text(String),
    /// Money in fen, an area in 0.01 m², basis points, or a count.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

/// All fields of one record, each present, judged against the category.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fields(BTreeMap<String, Value>);

/// Fields as they were read, not yet judged; repeated keys are already refused.
#[derive(Clone, PartialEq, Eq)]
pub struct UnjudgedFields(BTreeMap<String, Value>);

/// Why fields do not fit their category. Names fields, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// The category has no such field.
    #[error("{category} has no field of that name")]
    Unknown {
        /// The category's id.
        category: String,
    },
    /// A field of the category is absent.
    #[error("{category}.{field} is absent")]
    Absent {
        /// The category's id.
        category: String,
        /// The field's id.
        field: String,
    },
    /// The value is not of the field's kind.
    #[error("{category}.{field} is not of its kind")]
    Kind {
        /// The category's id.
        category: String,
        /// The field's id.
        field: String,
    },
}

/// Longest text of a field, in bytes.
pub const LONGEST_TEXT: usize = 4096;

impl Field {
    /// Whether `value` is of this field's kind. Null always is.
    pub fn admits(&self, value: &Value) -> bool {
        match (&self.kind, value) {
            (_, Value::Null) | (FieldKind::Boolean, Value::Boolean(_)) => true,
            (FieldKind::Text, Value::Text(text)) => {
                !text.is_empty()
                    && text.len() <= LONGEST_TEXT
                    && text.trim() == text
                    && is_nfc(text)
                    && !text.chars().any(char::is_control)
            }
            (FieldKind::Date, Value::Text(text)) => text.parse::<Date>().is_ok(),
            (FieldKind::Month, Value::Text(text)) => text.parse::<Month>().is_ok(),
            (FieldKind::Year, Value::Text(text)) => text.parse::<Year>().is_ok(),
            (FieldKind::Code(codes), Value::Text(text)) => codes.iter().any(|code| code.id == *text),
            (FieldKind::CreditCode, Value::Text(text)) => text.parse::<CreditCode>().is_ok(),
            (FieldKind::IdentityNumber, Value::Text(text)) => text.parse::<IdentityNumber>().is_ok(),
            (FieldKind::Money, Value::Integer(number)) => Fen::try_from(*number).is_ok(),
            (FieldKind::Area, Value::Integer(number)) => Area::try_from(*number).is_ok(),
            (FieldKind::BasisPoints, Value::Integer(number)) => BasisPoints::try_from(*number).is_ok(),
            (FieldKind::Integer, Value::Integer(number)) => number.abs() < INTEGER_BOUND,
            _ => false,
        }
    }
}

impl Category {
    /// Judges fields that were read: every field of the category present, none else, each of its kind.
    pub fn judge(&self, read: UnjudgedFields) -> Result<Fields, FieldsError> {
        let category = || self.id.to_string();
        if read.0.keys().any(|key| self.field(key).is_none()) {
            return Err(FieldsError::Unknown { category: category() });
        }
        for field in &self.fields {
            let value = read.0.get(&field.id).ok_or_else(|| FieldsError::Absent {
                category: category(),
                field: field.id.clone(),
            })?;
            if !field.admits(value) {
                return Err(FieldsError::Kind {
                    category: category(),
                    field: field.id.clone(),
                });
            }
        }
        Ok(Fields(read.0))
    }

    /// Fields from values; those that are not named are null.
    pub fn fields_of(&self, values: impl IntoIterator<Item = (String, Value)>) -> Result<Fields, FieldsError> {
        let mut all: BTreeMap<_, _> = self
            .fields
            .iter()
            .map(|field| (field.id.clone(), Value::Null))
            .collect();
        all.extend(values);
        self.judge(UnjudgedFields(all))
    }

    /// The natural key: the canonical array of the starred fields' values in the catalogue's order. An empty key field is a value.
    pub fn natural_key(&self, fields: &Fields) -> String {
        let mut out = String::new();
        let starred = self.fields.iter().filter(|field| field.key);
        array(&mut out, starred, |out, field| fields.get(&field.id).write_to(out));
        out
    }
}

impl Value {
    /// Appends the canonical text.
    pub fn write_to(&self, out: &mut String) {
        match self {
            Self::Null => null(out),
            Self::Text(value) => text(out, value),
            Self::Integer(number) => integer(out, *number),
            Self::Boolean(value) => boolean(out, *value),
        }
    }
}

impl Fields {
    /// A field's value; null for a field that the category does not have.
    pub fn get(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }

    /// All fields by the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(field, value)| (field.as_str(), value))
    }

    /// Appends the canonical text.
    pub fn write_to(&self, out: &mut String) {
        object(out, |members| {
            for (field, value) in &self.0 {
                value.write_to(members.member(field));
            }
        });
    }

    /// The canonical text: facts are equal if these bytes are.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out);
        out
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Boolean(value) => serializer.serialize_bool(*value),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value) in &self.0 {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneValue;
        impl Visitor<'_> for OneValue {
            type Value = Value;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("null, a text, an integer, true or false")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Boolean(value))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Integer(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
                i64::try_from(number)
                    .map(Value::Integer)
                    .map_err(|_| E::custom("an integer beyond its bound"))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(OneValue)
    }
}

impl<'de> Deserialize<'de> for UnjudgedFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneObject;
        impl<'de> Visitor<'de> for OneObject {
            type Value = UnjudgedFields;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<UnjudgedFields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((field, value)) = access.next_entry::<String, Value>()? {
                    if fields.insert(field, value).is_some() {
                        return Err(A::Error::custom("a repeated field"));
                    }
                }
                Ok(UnjudgedFields(fields))
            }
        }
        deserializer.deserialize_map(OneObject)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Null => "Null",
            Self::Text(_) => "Text(…)",
            Self::Integer(_) => "Integer(…)",
            Self::Boolean(_) => "Boolean(…)",
        })
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(&self.0).finish()
    }
}

impl fmt::Debug for UnjudgedFields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(&self.0).finish()
    }
}

//! The one writer of JSON whose bytes are compared: facts and merged results.
//!
//! Keys sorted by code point, no spaces, escapes `\b \t \n \f \r \" \\` and lower-case `\u00xx` for other controls,
//! nothing else escaped, integers only.

use std::collections::BTreeMap;

/// A JSON value without floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A text.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// An object; `String` orders by code point, since UTF-8 keeps that order.
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// An object of these members.
    pub fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    /// A text.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass what they show, by value or by reference"
    )]
    pub fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// The canonical text.
    pub fn write(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out);
        out
    }

    /// Appends the canonical text.
    pub fn write_to(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => out.push_str(&value.to_string()),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    item.write_to(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write_to(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a text with its quotes and escapes.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_escape_is_as_the_rule_says() {
        let text = Json::text("\u{8}\t\n\u{c}\r\"\\\u{1}\u{1f}\u{7f}/é中\u{2028}");
        assert_eq!(
            text.write(),
            "\"\\b\\t\\n\\f\\r\\\"\\\\\\u0001\\u001f\u{7f}/é中\u{2028}\""
        );
    }

    #[test]
    fn keys_stand_in_the_order_of_code_points() {
        let object = Json::object([
            ("ｂ", Json::Null),
            ("b", Json::Integer(-1)),
            ("😀", Json::Boolean(true)),
            ("a", Json::Array(vec![])),
        ]);
        assert_eq!(object.write(), "{\"a\":[],\"b\":-1,\"ｂ\":null,\"😀\":true}");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(text in ".*", number in -(1_i64 << 53)..(1_i64 << 53)) {
            let written = Json::object([("t", Json::text(&text)), ("n", Json::Integer(number))]).write();
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            proptest::prop_assert_eq!(read["t"].as_str(), Some(text.as_str()));
            proptest::prop_assert_eq!(read["n"].as_i64(), Some(number));
        }
    }
}

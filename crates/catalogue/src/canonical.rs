//! The one writer of JSON whose bytes are compared: facts and merged results.
//!
//! Keys sorted by code point, no spaces, escapes `\b \t \n \f \r \" \\` and lower-case `\u00xx` for other controls,
//! nothing else escaped, integers only.

use std::fmt::Write as _;

/// Appends an object, whose members are written in the order of their keys by code point.
pub fn object(out: &mut String, write: impl FnOnce(&mut Members<'_>)) {
    out.push('{');
    write(&mut Members { out, last: None });
    out.push('}');
}

/// The members of an object that is written.
#[derive(Debug)]
pub struct Members<'a> {
    out: &'a mut String,
    /// Where the last key stands.
    last: Option<(usize, usize)>,
}

impl Members<'_> {
    /// Begins a member: its value is what is appended next.
    ///
    /// # Panics
    /// If the key does not follow the last one: two programs would write other bytes.
    pub fn member(&mut self, key: &str) -> &mut String {
        if let Some((from, to)) = self.last {
            assert!(self.out[from..to] < *key, "the keys of an object rise");
            self.out.push(',');
        }
        let from = self.out.len() + 1;
        text(self.out, key);
        self.last = Some((from, self.out.len() - 1));
        self.out.push(':');
        self.out
    }
}

/// Appends an array.
pub fn array<T>(out: &mut String, items: impl IntoIterator<Item = T>, write: impl Fn(&mut String, T)) {
    out.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// Appends an integer.
pub fn integer(out: &mut String, value: i64) {
    let _ = write!(out, "{value}");
}

/// Appends yes or no.
pub fn boolean(out: &mut String, value: bool) {
    out.push_str(if value { "true" } else { "false" });
}

/// Appends nothing.
pub fn null(out: &mut String) {
    out.push_str("null");
}

/// Appends a text with its quotes and escapes.
pub fn text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(place) = rest
        .bytes()
        .position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'))
    {
        out.push_str(&rest[..place]);
        match rest.as_bytes()[place] {
            8 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            12 => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            control => drop(write!(out, "\\u{control:04x}")),
        }
        rest = &rest[place + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends what is shown, as a text.
pub fn shown(out: &mut String, value: impl std::fmt::Display) {
    text(out, &value.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_escape_is_as_the_rule_says() {
        let mut out = String::new();
        text(&mut out, "\u{8}\t\n\u{c}\r\"\\\u{1}\u{1f}\u{7f}/é中\u{2028}");
        assert_eq!(out, "\"\\b\\t\\n\\f\\r\\\"\\\\\\u0001\\u001f\u{7f}/é中\u{2028}\"");
    }

    #[test]
    fn keys_stand_in_the_order_of_code_points() {
        let mut out = String::new();
        object(&mut out, |members| {
            array(members.member("a"), [1, 2], integer);
            integer(members.member("b"), -1);
            null(members.member("ｂ"));
            boolean(members.member("😀"), true);
        });
        assert_eq!(out, "{\"a\":[1,2],\"b\":-1,\"ｂ\":null,\"😀\":true}");
    }

    #[test]
    #[should_panic(expected = "rise")]
    fn a_key_out_of_its_order_is_never_written() {
        object(&mut String::new(), |members| {
            null(members.member("b"));
            null(members.member("a"));
        });
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(said in ".*", number in -(1_i64 << 53)..(1_i64 << 53)) {
            let mut written = String::new();
            object(&mut written, |members| {
                integer(members.member("n"), number);
                text(members.member("t"), &said);
            });
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            proptest::prop_assert_eq!(read["t"].as_str(), Some(said.as_str()));
            proptest::prop_assert_eq!(read["n"].as_i64(), Some(number));
        }
    }
}

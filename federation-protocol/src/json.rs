//! Reading one line of JSON strictly, before any type sees it.
//!
//! Refused: another beginning than `{` or end than `}`, invalid UTF-8, text that is not NFC, lone surrogates, repeated
//! keys, depth over 16, floats and `-0`, integers of 2^53 and more. Unknown keys are refused by the types.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use sanku_values::INTEGER_BOUND;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use unicode_normalization::is_nfc;

/// Deepest nesting of objects and arrays.
const DEEPEST: u8 = 16;

/// Why a line is refused. Says nothing of what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a line of the protocol: {0}")]
pub struct NotALine(String);

impl NotALine {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Reads a line as `T`.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, NotALine> {
    if line.first() != Some(&b'{') || line.last() != Some(&b'}') || line.contains(&b'\n') {
        return Err(NotALine::because("it does not begin with { and end with }"));
    }
    let mut reader = serde_json::Deserializer::from_slice(line);
    Strict(DEEPEST)
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| NotALine(without_values(&error)))?;
    serde_json::from_slice(line).map_err(|error| NotALine(without_values(&error)))
}

/// serde's messages quote what they met: only the place and our own words go further.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let known = [
        "missing field",
        "unknown field",
        "unknown variant",
        "repeated key",
        "not NFC",
        "too deep",
        "integer beyond",
        "float",
    ];
    let what = known
        .iter()
        .find(|words| text.starts_with(*words))
        .copied()
        .unwrap_or("a value of another form");
    match (what, text.split('`').nth(1)) {
        // The name of a field that our own types lack in the line is no value.
        ("missing field", Some(field)) => format!("missing field {field}"),
        _ => format!("{what} at column {}", error.column()),
    }
}

/// Walks everything and keeps nothing. Holds how much deeper it may go.
struct Strict(u8);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<u8, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("too deep"))
    }
}

fn normal<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.is_ascii() || is_nfc(text) {
        Ok(())
    } else {
        Err(E::custom("not NFC"))
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON without floats")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        if number > -INTEGER_BOUND {
            Ok(())
        } else {
            Err(E::custom("integer beyond its bound"))
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        if number < INTEGER_BOUND.unsigned_abs() {
            Ok(())
        } else {
            Err(E::custom("integer beyond its bound"))
        }
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom("float or -0"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        normal(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        while access.next_element_seed(Self(deeper))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        // Our objects have few keys: looking through them costs less than hashing. Many go into a set.
        let (mut few, mut many) = (Vec::new(), HashSet::new());
        while let Some(Key(key)) = access.next_key()? {
            normal(&key)?;
            if few.contains(&key) || !(few.len() < FEW || many.insert(key.clone())) {
                return Err(A::Error::custom("repeated key"));
            }
            if few.len() < FEW {
                few.push(key);
            }
            access.next_value_seed(Self(deeper))?;
        }
        Ok(())
    }
}

/// Keys of one object that are looked through.
const FEW: usize = 24;

/// A key, borrowed from the line where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Arrays of codes and categories rise strictly.
pub(crate) fn rises<T: Ord>(items: &[T]) -> bool {
    items.windows(2).all(|pair| pair[0] < pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct One {
        #[allow(dead_code, reason = "only read")]
        a: serde_json::Value,
    }

    #[test]
    fn what_the_protocol_forbids_is_refused() {
        // Thirty keys, and one more that stands at `place` already.
        let many = |place: usize| {
            let keys: Vec<_> = (0..30).chain([place]).map(|key| format!("\"k{key}\":1")).collect();
            format!("{{\"a\":{{{}}}}}", keys.join(","))
        };
        assert!(parse::<One>(many(30).as_bytes()).is_ok());
        assert!(parse::<One>(many(3).as_bytes()).is_err());
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse::<One>(deep(15).as_bytes()).is_ok());
        for bad in [
            deep(16).as_str(),
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            many(29).as_str(),
            "{\"a\":1,\"b\":1}",
            "{\"a\":1.0}",
            "{\"a\":1e3}",
            "{\"a\":-0}",
            "{\"a\":9007199254740992}",
            "{\"a\":-9007199254740992}",
            "{\"a\":\"e\\u0301\"}",
            "{\"a\":\"\\ud800\"}",
            " {\"a\":1}",
            "{\"a\":1} ",
            "{\"a\":1}\n",
            "[1]",
            "",
        ] {
            assert!(parse::<One>(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse::<One>(b"{\"a\":\"\xff\"}").is_err());
        assert!(parse::<One>("{\"a\":\"é\",\"a \":1}".as_bytes()).is_err());
    }

    #[test]
    fn an_error_holds_no_value() {
        let error = parse::<One>("{\"a\":1,\"张三\":\"11010519491231002X\"}".as_bytes())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("张三") && !error.contains("1101"), "{error}");
    }
}

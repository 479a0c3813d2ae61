//! Trace context (W3C Trace Context, level 1): one id for everything that one question causes, at every node it touches.
//!
//! Only `traceparent` is read and written. It is random, says nothing about a person, and decides nothing: a header that
//! does not hold is as good as none.

use std::fmt;
use std::str::FromStr;

/// Where a question is on its way: the trace that all hops share, and the span of whoever hands it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// Not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATrace;

impl Trace {
    /// A fresh trace, sampled.
    pub fn generate() -> Self {
        Self {
            id: uuid::Uuid::new_v4().into_bytes(),
            span: span(),
            flags: 1,
        }
    }

    /// The trace that a caller's header names; a fresh one if it names none.
    pub fn received(header: &str) -> Self {
        header.parse().unwrap_or_else(|_| Self::generate())
    }

    /// The same trace, one step on.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: span(), ..*self }
    }

    /// The id that all hops share: 32 lower-case hex digits.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }
}

/// Eight random bytes, of the end of a random UUID; its variant bits keep it from being zero.
fn span() -> [u8; 8] {
    uuid::Uuid::new_v4().as_u64_pair().1.to_be_bytes()
}

/// As the header `traceparent`.
impl fmt::Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "00-{}-{}-{:02x}",
            hex::encode(self.id),
            hex::encode(self.span),
            self.flags
        )
    }
}

impl FromStr for Trace {
    type Err = NotATrace;

    fn from_str(text: &str) -> Result<Self, NotATrace> {
        let mut parts = text.split('-');
        let [version] = bytes(parts.next())?;
        let (id, span, [flags]) = (bytes(parts.next())?, bytes(parts.next())?, bytes(parts.next())?);
        // Later versions may add parts; this one has four.
        let whole = version != 0xff && (version != 0 || parts.next().is_none());
        if !whole || id == [0; 16] || span == [0; 8] {
            return Err(NotATrace);
        }
        Ok(Self { id, span, flags })
    }
}

fn bytes<const LENGTH: usize>(part: Option<&str>) -> Result<[u8; LENGTH], NotATrace> {
    let part = part.filter(|part| !part.bytes().any(|byte| byte.is_ascii_uppercase()));
    let mut bytes = [0; LENGTH];
    hex::decode_to_slice(part.unwrap_or_default(), &mut bytes).map_err(|_| NotATrace)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_standards_example_is_read_and_written_alike() {
        let trace: Trace = EXAMPLE.parse().unwrap();
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.to_string(), EXAMPLE);
    }

    #[test]
    fn a_child_shares_the_trace_and_has_a_span_of_its_own() {
        let trace: Trace = EXAMPLE.parse().unwrap();
        let child = trace.child();
        assert_eq!(child.id(), trace.id());
        assert_ne!(child.to_string(), trace.to_string());
        assert_eq!(child.to_string().parse(), Ok(child));
    }

    #[test]
    fn what_does_not_hold_begins_a_new_trace() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "00-11010519491231002X0000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<Trace>(), Err(NotATrace), "{text}");
            assert_eq!(Trace::received(text).id().len(), 32);
        }
        // A later version with more parts is read by its first four.
        let later = format!("01{}-new", &EXAMPLE[2..]);
        assert_eq!(later.parse::<Trace>().unwrap().id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}

//! The log of operations (运行日志): a line for each event on standard error, JSON for machines or text for people.
//!
//! No personal data: only fields that are listed here are written with their values, whichever crate logs; and no value
//! or message keeps digits that could be an identity or account number. Within a question every line bears its `trace`.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use sanku_values::{Clock, SystemClock};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Fields that are written with their values: codes, closed words, numbers, times, places in our own code, errors of ours.
const FIELDS: &[&str] = &[
    "address",
    "again",
    "asker",
    "attempt",
    "before",
    "breaker",
    "category",
    "code",
    "complete",
    "count",
    "detail",
    "error",
    "fork",
    "from",
    "id",
    "import",
    "in_hand",
    "index",
    "kind",
    "known",
    "lead",
    "log",
    "mandate",
    "milliseconds",
    "neighbour",
    "node",
    "number",
    "open",
    "operations",
    "origin",
    "outcome",
    "peer",
    "what",
    "peers",
    "place",
    "purpose",
    "question",
    "refused",
    "row",
    "since",
    "size",
    "socket",
    "state",
    "trace",
    "unfit",
    "until",
    "waiting",
    "what",
    "why",
    "witness",
];
/// What stands in place of a value that is not written.
const WITHHELD: &str = "…";
/// As many digits in a row could be somebody's number.
const TOO_MANY_DIGITS: usize = 15;

/// Starts logging for a node that serves.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = Lines {
        form: log.format,
        to: std::io::stderr,
    };
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// Starts logging for a command: warnings only, for people.
pub(crate) fn start_for_command() {
    start(&Log {
        level: std::env::var("SANKU_LOG").unwrap_or_else(|_| "warn".to_owned()),
        format: LogFormat::Text,
    });
}

/// A panic is logged by its place and counted; its payload might quote somebody and is written nowhere.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()));
        metrics::counter!("sanku_panics_total").increment(1);
        tracing::error!(place, "a task ended in a panic");
    }));
}

/// Writes events as lines.
struct Lines<W> {
    form: LogFormat,
    to: W,
}

/// A span's trace.
struct TraceOf(Value);

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(trace), Some(span)) = (fields.0.remove("trace"), context.span(id)) {
            span.extensions_mut().insert(TraceOf(trace));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let of_span = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .find_map(|span| span.extensions().get::<TraceOf>().map(|trace| trace.0.clone()));
        if let Some(trace) = of_span {
            fields.insert("trace".to_owned(), trace);
        }
        let (time, level, target) = (
            SystemClock.now().to_string(),
            event.metadata().level().as_str(),
            event.metadata().target(),
        );
        let line = match self.form {
            LogFormat::Json => {
                fields.insert("time".to_owned(), time.into());
                fields.insert("level".to_owned(), level.into());
                fields.insert("target".to_owned(), target.into());
                Value::Object(fields).to_string()
            }
            LogFormat::Text => {
                let message = fields.remove("message").unwrap_or_default();
                let mut line = format!("{time} {level:5} {}", message.as_str().unwrap_or_default());
                for (name, value) in &fields {
                    let _ = match value {
                        Value::String(text) => write!(line, " {name}={text}"),
                        other => write!(line, " {name}={other}"),
                    };
                }
                line
            }
        };
        // One write a line, so that lines of several threads do not mix. Nobody to tell if it fails.
        let _ = self
            .to
            .make_writer_for(event.metadata())
            .write_all(format!("{line}\n").as_bytes());
    }
}

/// An event's fields, as they may be written.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // What `log` records carry beside their message says nothing more.
        if field.name().starts_with("log.") {
            return;
        }
        let listed = field.name() == "message" || FIELDS.contains(&field.name());
        let value = if listed { value } else { Value::from(WITHHELD) };
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(without_numbers(&format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let value = if field.name() == "trace" {
            value.to_owned()
        } else {
            without_numbers(value)
        };
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

/// The text with every long row of digits withheld.
fn without_numbers(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let end = digits
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(digits.len());
        let (number, after) = digits.split_at(end);
        kept.push_str(before);
        kept.push_str(if number.len() < TOO_MANY_DIGITS {
            number
        } else {
            WITHHELD
        });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(form: LogFormat, work: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = Lines {
            form,
            to: move || writer.clone(),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn s37_only_listed_fields_are_written_and_no_long_number_anywhere() {
        let name = "金丝雀";
        let said = logged(LogFormat::Json, || {
            tracing::warn!(subject = name, peer = %421_002, error = "11010519491231002X is wrong", "for 110105194912310021");
        });
        let line: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&line["subject"], &line["peer"], &line["level"]),
            (&"…".into(), &"421002".into(), &"WARN".into())
        );
        assert_eq!(
            (&line["error"], &line["message"]),
            (&"…X is wrong".into(), &"for …".into())
        );
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn every_line_within_a_question_bears_its_trace() {
        let trace = "12345678901234567890123456789012";
        for (form, expected) in [
            (LogFormat::Json, format!("\"trace\":\"{trace}\"")),
            (LogFormat::Text, format!("trace={trace}")),
        ] {
            let said = logged(form, || {
                let question = tracing::error_span!("question", trace);
                question.in_scope(|| tracing::info_span!("within").in_scope(|| tracing::info!(count = 3, "said")));
                tracing::info!("outside");
            });
            let lines: Vec<_> = said.lines().collect();
            assert!(lines[0].contains(&expected) && lines[0].contains('3'), "{said}");
            assert!(!lines[1].contains("trace"), "{said}");
        }
    }

    #[test]
    fn f44_a_panic_is_logged_by_its_place_alone() {
        quiet_panics();
        let said = logged(LogFormat::Json, || {
            let ended = std::panic::catch_unwind(|| panic!("金丝雀 {}", 42));
            assert!(ended.is_err());
        });
        let _ = std::panic::take_hook();
        assert!(
            said.contains("logging.rs:") && said.contains("a task ended in a panic"),
            "{said}"
        );
        assert!(!said.contains("金丝雀"), "{said}");
    }
}

//! The process log: what the program says about itself, on standard error.
//!
//! Text or JSON. Whatever values an event carries, they are escaped here, at the sink: no hostname,
//! file name or error text can begin a forged line or reach a terminal as a control sequence.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::escape;

/// How the process log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// Why the process log could not be set up.
#[derive(Debug)]
pub enum LogError {
    /// The level is neither a level nor a filter; the text says why.
    Level(String),
    /// It was set up already.
    AlreadySet,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(why) => write!(f, "not a log level or filter: {why}"),
            Self::AlreadySet => f.write_str("the process log was set up already"),
        }
    }
}

impl std::error::Error for LogError {}

/// Sets the process log up, once. `level` is a level such as `info`, or a filter such as
/// `info,proxy=debug`.
///
/// # Errors
/// When `level` cannot be read, or a log was set up before.
pub fn init(format: Format, level: &str, color: bool) -> Result<(), LogError> {
    // What clients do to a connection is the HTTP/2 library's to say only where it is asked:
    // otherwise they could write lines at will. What fails between us and an API server we say
    // ourselves, once.
    let level = match level {
        asked if asked.contains("h2") || asked.contains("kube") => asked.to_owned(),
        level => format!("{level},h2=error,kube_client=off"),
    };
    let filter = EnvFilter::try_new(level).map_err(|error| LogError::Level(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A line that cannot be written is lost. To tell it on standard error, which just failed,
        // would panic in whatever thread had something to say.
        .log_internal_errors(false);
    match format {
        Format::Text => builder.event_format(Line { color }).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    }
    .map_err(|_| LogError::AlreadySet)
}

/// Whether standard error should be coloured: it is a terminal and `NO_COLOR`, given as the
/// environment has it, is absent or empty.
#[must_use]
pub fn wants_color(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && io::stderr().is_terminal()
}

/// A value that is never shown, whatever it is formatted with.
#[derive(Clone, Copy, Default)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `2026-11-23T19:33:10Z INFO controller: serving routes=12 generation=…`
struct Line {
    color: bool,
}

impl Line {
    fn level(&self, level: Level) -> &'static str {
        match (self.color, level) {
            (true, Level::ERROR) => "\x1b[31mERROR\x1b[0m",
            (true, Level::WARN) => "\x1b[33m WARN\x1b[0m",
            (true, Level::INFO) => "\x1b[32m INFO\x1b[0m",
            (true, Level::DEBUG) => "\x1b[34mDEBUG\x1b[0m",
            (true, Level::TRACE) => "\x1b[35mTRACE\x1b[0m",
            (false, Level::ERROR) => "ERROR",
            (false, Level::WARN) => " WARN",
            (false, Level::INFO) => " INFO",
            (false, Level::DEBUG) => "DEBUG",
            (false, Level::TRACE) => "TRACE",
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let now = jiff::Timestamp::now();
        write!(writer, "{now:.3} {} ", self.level(*metadata.level()))?;
        let mut values = Values::default();
        event.record(&mut values);
        let target = metadata.target().split("::").next().unwrap_or_default();
        writeln!(writer, "{target}: {}{}", values.message, values.rest)
    }
}

/// The values of an event, escaped: the message first, then `name=value`.
#[derive(Default)]
struct Values {
    message: String,
    rest: String,
}

impl Values {
    fn add(&mut self, field: &Field, value: &str) {
        // Writing to a String cannot fail.
        if field.name() == "message" {
            let _ = escape::terminal(&mut self.message, value);
            return;
        }
        let _ = write!(self.rest, " {}=", field.name());
        let is_bare = !value.is_empty() && !value.contains([' ', '"', '=', '\\']);
        if is_bare {
            let _ = escape::terminal(&mut self.rest, value);
        } else {
            self.rest.push('"');
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = escape::terminal(&mut self.rest, &quoted);
            self.rest.push('"');
        }
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(color: bool, say: impl FnOnce()) -> String {
        let captured = Captured::default();
        let sink = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Line { color })
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_level_crate_message_and_values() {
        let line = logged(false, || tracing::info!(routes = 12, host = "a b", "serving"));
        let (_time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, " INFO telemetry: serving routes=12 host=\"a b\"\n");
    }

    #[test]
    fn values_cannot_forge_a_line_or_steer_a_terminal() {
        let evil = "x\n2026 INFO forged \x1b[2J\u{9b}1m\"";
        let line = logged(false, || tracing::warn!(file = evil, error = %evil, "{evil}"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn colour_is_used_only_when_asked_for() {
        assert!(logged(true, || tracing::error!("x")).contains('\x1b'));
        assert!(!logged(false, || tracing::error!("x")).contains('\x1b'));
        assert!(!wants_color(Some(OsStr::new("1"))));
    }

    #[test]
    fn what_is_redacted_is_never_shown() {
        assert_eq!(format!("{0} {0:?}", Redacted("secret")), "[redacted] [redacted]");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(matches!(init(Format::Text, "=,=x", false), Err(LogError::Level(_))));
    }
}

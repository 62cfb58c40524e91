//! Colour for terminals, and text that cannot lie to them.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use model::Severity;

/// Whether to colour, decided once for each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paint {
    is_on: bool,
}

/// How a piece of text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// A remark.
    Info,
    /// What went well.
    Good,
    /// A heading.
    Strong,
    /// What frames the text.
    Frame,
}

impl Paint {
    /// Never.
    #[cfg(test)]
    pub(crate) const OFF: Self = Self { is_on: false };

    /// When standard output is a terminal and `NO_COLOR` is not set (no-color.org).
    pub(crate) fn stdout() -> Self {
        Self { is_on: std::io::stdout().is_terminal() && is_wanted() }
    }

    /// When standard error is a terminal and `NO_COLOR` is not set.
    pub(crate) fn stderr() -> Self {
        Self { is_on: std::io::stderr().is_terminal() && is_wanted() }
    }

    /// The text in this tone.
    pub(crate) fn tone<T: fmt::Display>(self, tone: Tone, text: T) -> Painted<T> {
        Painted { tone: self.is_on.then_some(tone), text }
    }
}

fn is_wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !is_dumb
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
            Severity::Info => Self::Info,
        }
    }
}

/// Text in a tone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painted<T> {
    tone: Option<Tone>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tone) = self.tone else { return self.text.fmt(f) };
        let code = match tone {
            Tone::Error => "1;31",
            Tone::Warning => "1;33",
            Tone::Info => "1;36",
            Tone::Good => "32",
            Tone::Strong => "1",
            Tone::Frame => "1;34",
        };
        write!(f, "\x1b[{code}m")?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// Text from outside with everything escaped that a terminal would obey: control characters, and
/// marks that reorder what is read.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || reorders(c) {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a mark changes the direction in which what follows is shown (Unicode bidirectional
/// algorithm, explicit formatting characters).
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(plain("naïve"), "naïve");
    }

    #[test]
    fn colour_is_there_or_not_there_at_all() {
        assert_eq!(Paint::OFF.tone(Tone::Error, "x").to_string(), "x");
        assert_eq!(Paint { is_on: true }.tone(Tone::Strong, "x").to_string(), "\x1b[1mx\x1b[0m");
    }
}

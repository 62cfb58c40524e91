//! Diagnostics for people and for programs.
//!
//! The text form is the one that compilers taught everybody to read: what, where, the line itself,
//! then whom it concerns, what was done and what to do. The JSON form carries a schema version.

use std::fmt::{self, Write as _};

use model::{Diagnostic, Effect, Severity};
use serde::Serialize;

use super::paint::{Paint, Tone, plain};

/// The schema of the JSON form; it changes when a field changes its meaning or goes away.
pub(crate) const SCHEMA: &str = "portcullis.diagnostics/v1";

/// A place in a file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The file as it was named.
    pub(crate) file: String,
    /// The line.
    pub(crate) line: usize,
    /// The column, in characters.
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A diagnostic and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Located<'d> {
    /// The diagnostic.
    pub(crate) diagnostic: &'d Diagnostic,
    /// Where its field was written, or its object.
    pub(crate) place: Option<Place>,
    /// The line at that place.
    pub(crate) excerpt: Option<&'d str>,
}

/// One diagnostic in the form of a compiler's, ending in a line feed.
pub(crate) fn text(located: &Located<'_>, paint: Paint) -> String {
    let diagnostic = located.diagnostic;
    let mut out = String::new();
    let tone = Tone::from(diagnostic.severity);
    let head = format!("{}[{}]", diagnostic.severity, diagnostic.code);
    let message = plain(&diagnostic.message);
    // Writing to a String cannot fail; so it is below.
    let _ = writeln!(
        out,
        "{}{} {}",
        paint.tone(tone, head),
        paint.tone(Tone::Strong, ":"),
        paint.tone(Tone::Strong, message)
    );
    let margin = located.place.as_ref().map_or(2, |place| place.line.to_string().len());
    if let Some(place) = &located.place {
        excerpt(&mut out, place, located.excerpt, margin, tone, paint);
    }
    let mut note = |name: &str, value: &str| {
        let _ = writeln!(
            out,
            "{:margin$} {} {name}: {}",
            "",
            paint.tone(Tone::Frame, "="),
            plain(value)
        );
    };
    note("object", &diagnostic.object.to_string());
    if !diagnostic.field.0.is_empty() {
        note("field", &diagnostic.field.0);
    }
    if diagnostic.effect != Effect::None {
        note("effect", &diagnostic.effect.to_string());
    }
    for related in &diagnostic.related {
        note("see", &format!("{} {}: {}", related.object, related.field, related.message));
    }
    note("help", diagnostic.remedy());
    out
}

/// `--> file:line:column` and the line with a mark below.
fn excerpt(
    out: &mut String,
    place: &Place,
    line: Option<&str>,
    margin: usize,
    tone: Tone,
    paint: Paint,
) {
    let _ = writeln!(
        out,
        "{:margin$}{} {}:{}:{}",
        "",
        paint.tone(Tone::Frame, "-->"),
        plain(&place.file),
        place.line,
        place.column
    );
    let Some(line) = line.filter(|line| line.chars().count() <= 200) else { return };
    let bar = paint.tone(Tone::Frame, "|");
    let before = place.column.saturating_sub(1);
    let width = mark_width(line, before);
    let _ = writeln!(out, "{:margin$} {bar}", "");
    let _ =
        writeln!(out, "{} {bar} {}", paint.tone(Tone::Frame, place.line), plain(line).trim_end());
    let mark = "^".repeat(width);
    let _ = writeln!(out, "{:margin$} {bar} {:before$}{}", "", "", paint.tone(tone, mark));
}

/// How much of the line the mark covers: to the end of the value, comments apart.
fn mark_width(line: &str, before: usize) -> usize {
    let rest: String = line.chars().skip(before).collect();
    let value = rest.split(" #").next().unwrap_or(&rest);
    value.trim_end().chars().count().max(1)
}

/// The last line: how much of what.
pub(crate) fn summary(report: &[Located<'_>], objects: usize, paint: Paint) -> String {
    let count = |severity| report.iter().filter(|l| l.diagnostic.severity == severity).count();
    let errors = count(Severity::Error);
    let warnings = count(Severity::Warning);
    let infos = count(Severity::Info);
    let what = plural(objects, "object");
    if errors + warnings + infos == 0 {
        return format!("{}: nothing to remark about {what}", paint.tone(Tone::Good, "ok"));
    }
    let tone = if errors > 0 {
        Tone::Error
    } else if warnings > 0 {
        Tone::Warning
    } else {
        Tone::Info
    };
    let counts = [(errors, "error"), (warnings, "warning"), (infos, "remark")];
    let told: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| plural(*n, word)).collect();
    format!("{} about {what}", paint.tone(tone, told.join(", ")))
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[derive(Serialize)]
struct JsonReport<'d> {
    schema: &'static str,
    errors: usize,
    warnings: usize,
    infos: usize,
    diagnostics: Vec<JsonDiagnostic<'d>>,
}

#[derive(Serialize)]
struct JsonDiagnostic<'d> {
    #[serde(flatten)]
    diagnostic: &'d Diagnostic,
    remedy: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

/// All diagnostics as one JSON document, ending in a line feed.
pub(crate) fn json(report: &[Located<'_>]) -> String {
    let count = |severity| report.iter().filter(|l| l.diagnostic.severity == severity).count();
    let document = JsonReport {
        schema: SCHEMA,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        infos: count(Severity::Info),
        diagnostics: report
            .iter()
            .map(|located| JsonDiagnostic {
                diagnostic: located.diagnostic,
                remedy: located.diagnostic.remedy(),
                file: located.place.as_ref().map(|place| place.file.as_str()),
                line: located.place.as_ref().map(|place| place.line),
                column: located.place.as_ref().map(|place| place.column),
            })
            .collect(),
    };
    super::to_json(&document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Code, FieldPath, ObjectRef, Related};

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: Code::ServiceNotFound,
            object: ObjectRef::new("Ingress", "default", "shop"),
            field: FieldPath("spec.rules[0].http.paths[0].backend.service.name".into()),
            message: "Service default/shpo does not exist".into(),
            help: None,
            related: vec![Related {
                object: ObjectRef::new("Service", "default", "shop"),
                field: FieldPath("metadata.name".into()),
                message: "is the nearest".into(),
            }],
            effect: Effect::RouteResponds(503),
        }
    }

    #[test]
    fn a_diagnostic_reads_like_a_compilers() {
        let diagnostic = diagnostic();
        let located = Located {
            diagnostic: &diagnostic,
            place: Some(Place { file: "shop.yaml".into(), line: 14, column: 13 }),
            excerpt: Some("      name: shpo # the shop"),
        };
        let expected = "\
error[service-not-found]: Service default/shpo does not exist
  --> shop.yaml:14:13
   |
14 |       name: shpo # the shop
   |             ^^^^
   = object: Ingress default/shop
   = field: spec.rules[0].http.paths[0].backend.service.name
   = effect: the route answers 503
   = see: Service default/shop metadata.name: is the nearest
   = help: create the Service, or mend the name
";
        assert_eq!(text(&located, Paint::OFF), expected);
    }

    #[test]
    fn a_diagnostic_without_a_place_says_the_rest() {
        let diagnostic = Diagnostic {
            field: FieldPath::default(),
            related: Vec::new(),
            effect: Effect::None,
            message: "x\x1b[2J".into(),
            ..diagnostic()
        };
        let located = Located { diagnostic: &diagnostic, place: None, excerpt: None };
        let expected = "\
error[service-not-found]: x\\u{1b}[2J
   = object: Ingress default/shop
   = help: create the Service, or mend the name
";
        assert_eq!(text(&located, Paint::OFF), expected);
    }

    #[test]
    fn the_json_form_has_a_schema_and_the_place() {
        let diagnostic = diagnostic();
        let located = Located {
            diagnostic: &diagnostic,
            place: Some(Place { file: "shop.yaml".into(), line: 14, column: 13 }),
            excerpt: None,
        };
        let parsed: serde_json::Value = serde_json::from_str(&json(&[located])).unwrap();
        assert_eq!(parsed["schema"], "portcullis.diagnostics/v1");
        assert_eq!(parsed["errors"], 1);
        let told = &parsed["diagnostics"][0];
        assert_eq!(told["code"], "service-not-found");
        assert_eq!(told["severity"], "error");
        assert_eq!(told["object"]["name"], "shop");
        assert_eq!(told["file"], "shop.yaml");
        assert_eq!((&told["line"], &told["column"]), (&14.into(), &13.into()));
        assert_eq!(told["remedy"], "create the Service, or mend the name");
        assert_eq!(told["effect"]["route-responds"], 503);
    }

    #[test]
    fn the_summary_counts() {
        let error = diagnostic();
        let located = Located { diagnostic: &error, place: None, excerpt: None };
        assert_eq!(summary(&[located], 3, Paint::OFF), "1 error about 3 objects");
        let good = summary(&[], 1, Paint::OFF);
        assert_eq!(good, "ok: nothing to remark about 1 object");
    }
}

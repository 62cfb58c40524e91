//! Checks a path pattern: syntax, what a linear-time engine cannot do, and what it would cost.
//!
//! The engine itself is asked, since a pattern that it refuses later would close the whole host.
//! Dear enough to be remembered.

use regex_syntax::ast::{self, ErrorKind};
use regex_syntax::hir::translate::Translator;
use routing::RegexProblem;

/// What is known about a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// It can be compared, has this many capture groups, and takes this many bytes.
    Valid { captures: usize, bytes: usize },
    /// It uses look-around or back-references.
    Unsupported { message: String },
    /// It would take too many bytes.
    TooLarge { message: String },
    /// It is no pattern.
    Invalid { message: String },
}

/// Patterns longer than this are refused.
const LENGTH_MAX: usize = 4096;

/// Patterns whose tables take more are refused: twenty letters can ask for a megabyte.
pub(crate) const BYTES_MAX: usize = 256 * 1024;

/// What the patterns of one Ingress may take together; those beyond are refused. Whoever may write
/// one must not be able to fill the memory of everybody's gateway with it.
pub(crate) const BYTES_OF_INGRESS_MAX: usize = 8 * 1024 * 1024;

pub(crate) fn check(pattern: &str) -> Pattern {
    if pattern.len() > LENGTH_MAX {
        return Pattern::Invalid { message: format!("the pattern is over {LENGTH_MAX} bytes") };
    }
    let tree = match ast::parse::Parser::new().parse(pattern) {
        Ok(tree) => tree,
        Err(error) => return problem(pattern, error.kind()),
    };
    match Translator::new().translate(pattern, &tree) {
        Ok(hir) => of_engine(pattern, hir.properties().explicit_captures_len()),
        Err(error) => Pattern::Invalid { message: format!("`{pattern}`: {}", error.kind()) },
    }
}

/// What the engine says of it, in both of the ways in which it may be compared.
fn of_engine(pattern: &str, captures: usize) -> Pattern {
    let bytes = |ignore_case| routing::check_regex(pattern, ignore_case);
    match bytes(false).and_then(|bytes_once| Ok(bytes(true)?.max(bytes_once))) {
        Ok(bytes) if bytes <= BYTES_MAX => Pattern::Valid { captures, bytes },
        Ok(_) | Err(RegexProblem::TooLarge) => Pattern::TooLarge {
            message: format!(
                "`{pattern}` is nested or repeated so much that its tables are too large"
            ),
        },
        Err(RegexProblem::LookAround) => {
            Pattern::Unsupported { message: format!("`{pattern}` uses look-around") }
        }
        Err(RegexProblem::BackReference) => {
            Pattern::Unsupported { message: format!("`{pattern}` uses a back-reference") }
        }
        Err(RegexProblem::Syntax(what)) => {
            Pattern::Invalid { message: format!("`{pattern}`: {what}") }
        }
    }
}

fn problem(pattern: &str, kind: &ErrorKind) -> Pattern {
    match kind {
        ErrorKind::UnsupportedLookAround => {
            Pattern::Unsupported { message: format!("`{pattern}` uses look-around") }
        }
        ErrorKind::UnsupportedBackreference => {
            Pattern::Unsupported { message: format!("`{pattern}` uses a back-reference") }
        }
        kind => Pattern::Invalid { message: format!("`{pattern}`: {kind}") },
    }
}

/// How to say the same without look-around, where that is simple: a negative look-ahead right after
/// a literal beginning is a path of its own for what is left out.
pub(crate) fn without_look_ahead(pattern: &str) -> Option<String> {
    let (before, rest) = pattern.split_once("(?!")?;
    let before = before.trim_start_matches('^');
    let (excluded, after) = rest.split_once(')')?;
    let plain = |text: &str| !text.contains(|c: char| is_meta(c) && c != '|');
    let excluded = excluded.trim_end_matches('$');
    if !plain(before) || before.contains('|') || !plain(excluded) || after.contains("(?") {
        return None;
    }
    let paths: Vec<String> =
        excluded.split('|').map(|part| format!("`{}`", join(before, part))).collect();
    let rest = if after.is_empty() { ".*" } else { after };
    Some(format!(
        "write the path as `{}`, and give {} to the backend that shall have it, as a path of its own",
        join(before, rest),
        paths.join(" and ")
    ))
}

fn join(before: &str, after: &str) -> String {
    match (before.ends_with('/') || before.is_empty(), after.strip_prefix('/')) {
        (true, Some(after)) if before.is_empty() => format!("/{after}"),
        (true, Some(after)) => format!("{before}{after}"),
        (true, None) if before.is_empty() => format!("/{after}"),
        _ => format!("{before}{after}"),
    }
}

/// Characters that mean something in a pattern; `.` too, but it is common in plain paths.
pub(crate) fn is_meta(c: char) -> bool {
    matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | '*' | '+' | '?' | '|' | '^' | '$' | '\\')
}

/// Whether a path was hardly meant as it is written: `+`, `?` and `$` alone may well have been.
pub(crate) fn looks_like_one(path: &str) -> bool {
    path.contains(|c| is_meta(c) && !matches!(c, '+' | '?' | '$'))
}

/// The whole path elements at the beginning of a pattern that hold for everything it matches.
pub(crate) fn literal_elements(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let end = pattern.find(|c| is_meta(c) || c == '.').unwrap_or(pattern.len());
    // A `|` at the top makes everything before it optional.
    if top_level_alternation(pattern) {
        return "";
    }
    match pattern[..end].rfind('/') {
        Some(slash) => &pattern[..=slash],
        None => "",
    }
}

/// Whether a pattern is `/` by another name, in the forms in which one is written.
pub(crate) fn matches_everything(pattern: &str) -> bool {
    let bare = pattern.chars().filter(|c| !"()^$?".contains(*c));
    matches!(&*bare.collect::<String>(), "/" | "/.*" | "/.+")
}

/// The text that begins everything a pattern matches: finer than [`literal_elements`], and may end
/// in the middle of an element.
pub(crate) fn literal_prefix(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    if top_level_alternation(pattern) {
        return "";
    }
    let end = pattern.find(|c| is_meta(c) || c == '.').unwrap_or(pattern.len());
    let prefix = &pattern[..end];
    // What may be repeated may also be absent.
    if pattern[end..].starts_with(['?', '*', '{']) {
        let last = prefix.char_indices().next_back().map_or(0, |(at, _)| at);
        return &prefix[..last];
    }
    prefix
}

fn top_level_alternation(pattern: &str) -> bool {
    let mut depth = 0_usize;
    for c in pattern.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_every_match_is_found() {
        assert_eq!(literal_prefix("/admin(?!x)"), "/admin");
        assert_eq!(literal_prefix("/secret(["), "/secret");
        assert_eq!(literal_prefix("^/ab?c"), "/a");
        assert_eq!(literal_prefix("/a|/b(?!c)"), "");
        assert_eq!(literal_prefix("/(?!api)"), "/");
    }

    #[test]
    fn captures_are_counted() {
        for (pattern, groups) in [("/something(/|$)(.*)", 2), ("/()(.*)", 2), ("/plain", 0)] {
            let found = check(pattern);
            assert!(matches!(found, Pattern::Valid { captures, .. } if captures == groups));
        }
    }

    #[test]
    fn what_no_linear_engine_can_do_is_told_from_bad_syntax() {
        assert!(matches!(check("/(?!api)(.*)"), Pattern::Unsupported { .. }));
        assert!(matches!(check(r"/(a)\1"), Pattern::Unsupported { .. }));
        assert!(matches!(check("/(a"), Pattern::Invalid { .. }));
    }

    #[test]
    fn whatever_is_called_valid_the_engine_takes() {
        let nested = format!("/{}a{}", "(".repeat(120), ")".repeat(120));
        assert!(matches!(check("/a++"), Pattern::Invalid { .. }));
        for refused in ["/(.*){1,9999}", "/[a-z]{1,4000}", &nested] {
            assert!(matches!(check(refused), Pattern::TooLarge { .. }), "{refused}");
        }
        for taken in ["/something(/|$)(.*)", r"/v[0-9]{1,3}/\p{L}+/(?i:x)*", r"/\d{1,8}-[^/]{1,64}"]
        {
            assert!(matches!(check(taken), Pattern::Valid { .. }), "{taken}: {:?}", check(taken));
        }
    }

    #[test]
    fn an_exclusion_is_proposed_as_two_paths() {
        assert_eq!(
            without_look_ahead("^(?!/api)/(.*)").unwrap(),
            "write the path as `/(.*)`, and give `/api` to the backend that shall have it, as a path of its own"
        );
        assert_eq!(
            without_look_ahead("/(?!api|admin).*").unwrap(),
            "write the path as `/.*`, and give `/api` and `/admin` to the backend that shall have it, as a path of its own"
        );
        assert_eq!(without_look_ahead("/a(?=b)"), None);
    }

    #[test]
    fn the_literal_elements_of_a_pattern_are_whole() {
        assert_eq!(literal_elements("/admin/us(er)?(?!x)"), "/admin/");
        assert_eq!(literal_elements("/(?!api)"), "/");
        assert_eq!(literal_elements("/a/x|/b"), "");
        assert_eq!(literal_elements("/v1.0/(x"), "/");
    }
}

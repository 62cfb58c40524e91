//! Reading of annotation values, one parser for each form, as ingress-nginx accepts them.

/// Lines are trimmed one by one; a value of nothing but space is empty.
pub(super) fn normalise(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n").trim().to_owned()
}

/// A boolean in the spellings of ingress-nginx; `yes` and `on` are none.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The characters of a path with captures: a path, and `$`.
pub(super) fn is_path_with_captures(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/' | ':' | '$' | ' ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_trimmed() {
        assert_eq!(normalise("  a \n  b\t\n"), "a\nb");
        assert_eq!(normalise(" \n "), "");
    }

    #[test]
    fn yes_is_no_boolean() {
        assert_eq!(flag("yes"), None);
        assert_eq!(flag("on"), None);
        assert_eq!(flag("T"), Some(true));
        assert_eq!(flag("False"), Some(false));
    }
}

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

/// Whether two lists have the same words, in whatever order.
pub(super) fn are_equal(one: &str, other: &str) -> bool {
    let words = |text: &'_ str| {
        let mut words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        words.sort_unstable();
        words
    };
    words(one) == words(other)
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
    fn the_order_of_a_list_and_its_blanks_do_not_matter() {
        assert!(are_equal("0.0.0.0/0,::/0", "::/0 , 0.0.0.0/0"));
        assert!(are_equal("false", "false"));
        assert!(!are_equal("0.0.0.0/0,::/0", "0.0.0.0/0"));
        assert!(!are_equal("0.0.0.0/0,::/0", "0.0.0.0/0,::/0,10.0.0.0/8"));
    }

    #[test]
    fn yes_is_no_boolean() {
        assert_eq!(flag("yes"), None);
        assert_eq!(flag("on"), None);
        assert_eq!(flag("T"), Some(true));
        assert_eq!(flag("False"), Some(false));
    }
}

//! `rewrite-target`: the path that the upstream sees.
//!
//! A target that cannot be followed closes the routes: sent on with the path as it came, a request
//! could reach what the rewrite was there to keep out of reach.

use model::policy::Rewrite;
use model::{ClosedReason, Code};

use super::{Reader, value};

/// Longer targets are refused, as longer patterns are.
const TARGET_BYTES_MAX: usize = 4096;

pub(super) fn read(reader: &Reader<'_>) -> (Option<Rewrite>, Option<ClosedReason>) {
    let Some(found) = reader.value("rewrite-target") else { return (None, None) };
    let target = found.text.as_str();
    let problem = if target.len() > TARGET_BYTES_MAX {
        // Every path of the Ingress has it.
        let message = format!("a target is at most {TARGET_BYTES_MAX} bytes");
        return (None, Some(reader.refuse(&found, Code::InvalidAnnotationValue, message)));
    } else if !value::is_path_with_captures(target) {
        "has characters that no path of ingress-nginx may have"
    } else if !(target.starts_with('/') || target.starts_with('$')) {
        "begins neither with `/` nor with a capture"
    } else if has_variable(target) {
        "uses a variable; only the captures `$1` to `$9` are known"
    } else {
        return (Some(Rewrite { target: target.into() }), None);
    };
    let message = format!("`{target}` {problem}");
    (None, Some(reader.refuse(&found, Code::InvalidAnnotationValue, message)))
}

/// Whether a `$` is followed by anything but a digit from 1 to 9.
fn has_variable(target: &str) -> bool {
    target.split('$').skip(1).any(|rest| !rest.starts_with(|c: char| ('1'..='9').contains(&c)))
}

/// The highest capture that a target names.
pub(crate) fn highest_capture(target: &str) -> usize {
    let digits = target.split('$').skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10));
    digits.max().unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_from_captures() {
        assert!(!has_variable("/$1/$9"));
        assert!(has_variable("/$host"));
        assert!(has_variable("/$"));
        assert!(has_variable("/$0"));
    }

    #[test]
    fn the_highest_capture_counts() {
        assert_eq!(highest_capture("/a/$2/$1"), 2);
        assert_eq!(highest_capture("/a"), 0);
    }
}

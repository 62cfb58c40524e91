//! "Did you mean": what the writer of an unknown annotation may have had in mind.

use super::keys::{self, Status};

/// Names that people carry over from elsewhere, and what to write in their place.
const KNOWN_STRAYS: &[(&str, &str)] = &[
    ("client-max-body-size", "write `proxy-body-size`"),
    ("client-body-timeout", "it is a global setting of ingress-nginx, never an annotation"),
    ("keepalive-timeout", "it is a global setting of ingress-nginx, never an annotation"),
    ("ssl-protocols", "it is a global setting of ingress-nginx, never an annotation"),
    ("large-client-header-buffers", "it is a global setting of ingress-nginx, never an annotation"),
    ("server-tokens", "it is a global setting of ingress-nginx, never an annotation"),
    ("secure-backends", "write `backend-protocol: HTTPS`"),
    ("grpc-backend", "write `backend-protocol: GRPC`"),
    ("secure-verify-ca-secret", "write `proxy-ssl-secret`"),
    ("rewrite-log", "write `enable-rewrite-log`"),
];

/// Families of removed names.
const KNOWN_FAMILIES: &[(&str, &str)] = &[
    ("global-rate-limit", "ingress-nginx removed it in 1.12; `limit-rps` counts per instance"),
    ("opentracing", "ingress-nginx removed it; write `enable-opentelemetry`"),
    ("enable-opentracing", "ingress-nginx removed it; write `enable-opentelemetry`"),
    ("influxdb", "ingress-nginx removed it"),
    ("enable-influxdb", "ingress-nginx removed it"),
    ("hsts", "it is a global setting of ingress-nginx, never an annotation"),
    ("gzip", "it is a global setting of ingress-nginx, never an annotation"),
];

/// Help for an unknown name, when there is any to give.
pub(super) fn for_unknown(name: &str) -> Option<String> {
    let name = &*name.trim().to_ascii_lowercase();
    if let Some((_, help)) = KNOWN_STRAYS.iter().find(|(stray, _)| *stray == name) {
        return Some((*help).to_owned());
    }
    if let Some((_, help)) = KNOWN_FAMILIES.iter().find(|(family, _)| name.starts_with(family)) {
        return Some((*help).to_owned());
    }
    nearest(name).map(|known| format!("did you mean `{known}`?"))
}

/// Whether a domain in small letters is this one, or at most two edits away from it.
pub(super) fn is_slip_of(domain: &str, known: &str) -> bool {
    distance(domain, known) <= 2
}

/// Words that begin or end the names of access control, known or not.
const ACCESS_BEGINNINGS: &[&str] = &["auth-", "limit-", "global-rate-limit"];
const ACCESS_ENDINGS: &[&str] = &["-source-range", "-snippet"];

/// Whether an unknown name was meant to restrict access: it is of such a family, or a slip away
/// from such a name.
pub(crate) fn means_access_control(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase().replace('_', "-");
    let restricts =
        |name: &str| matches!(keys::status(name), Status::Restricting { .. } | Status::Snippet);
    restricts(&name)
        || ACCESS_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ACCESS_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || nearest(&name).is_some_and(restricts)
}

/// The known name with the fewest edits, if they are few for its length.
fn nearest(name: &str) -> Option<&'static str> {
    let few = |known: &str| 1 + known.len() / 6;
    keys::annotations()
        .map(|info| info.name)
        .filter(|known| known.len().abs_diff(name.len()) <= few(known))
        .filter(|known| letters_apart(name, known) <= few(known))
        .map(|known| (distance(name, known), known))
        .filter(|(edits, known)| *edits <= few(known))
        .min()
        .map(|(_, known)| known)
}

/// The letters that one of two names has more than the other, wherever they stand: no fewer edits
/// lie between them. Most names need no further look.
fn letters_apart(a: &str, b: &str) -> usize {
    // Letters that share a place hide some of it, and never make more.
    let mut more = [0_i32; 32];
    a.bytes().for_each(|byte| more[usize::from(byte % 32)] += 1);
    b.bytes().for_each(|byte| more[usize::from(byte % 32)] -= 1);
    let (mut of_a, mut of_b) = (0, 0);
    for count in more {
        of_a += count.max(0);
        of_b -= count.min(0);
    }
    of_a.max(of_b).unsigned_abs() as usize
}

/// Edits between two names, a swap of neighbours counting as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Names far apart in length are far apart; this also bounds the work.
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX;
    }
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_mended() {
        assert_eq!(for_unknown("rewrite-tagret").unwrap(), "did you mean `rewrite-target`?");
        assert_eq!(for_unknown("ssl-redirct").unwrap(), "did you mean `ssl-redirect`?");
        assert_eq!(for_unknown("use-regexp").unwrap(), "did you mean `use-regex`?");
    }

    #[test]
    fn what_is_far_from_everything_gets_no_guess() {
        assert_eq!(for_unknown("entirely-made-up-by-me"), None);
    }

    #[test]
    fn names_from_elsewhere_are_led_home() {
        assert_eq!(for_unknown("client-max-body-size").unwrap(), "write `proxy-body-size`");
        assert!(for_unknown("global-rate-limit-window").unwrap().contains("removed"));
    }

    #[test]
    fn a_slip_in_access_control_still_means_it() {
        for name in [
            "whitelist-source-ranges",
            "auth_type",
            "AUTH-URL",
            " auth-type",
            "auth-made-up",
            "deny-source-range",
            "Configuration-Snippet",
            "satisfi",
            "global-rate-limit-window",
        ] {
            assert!(means_access_control(name), "{name}");
        }
        for name in ["rewrite-tagret", "client-max-body-size", "author", "hsts", "made-up", ""] {
            assert!(!means_access_control(name), "{name}");
        }
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(distance("tagret", "target"), 1);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}

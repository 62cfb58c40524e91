//! The forms in which requests for a written path are compared, so that a path keeps its place
//! however it is spelled.
//!
//! In the Kubernetes dialect that is the canonical form, in the nginx dialect the decoded one with
//! slashes merged. Who writes what an API server refuses may mean either.

use std::fmt::Write;

/// A literal path in the canonical form: dot segments resolved, unreserved octets decoded, hex
/// digits in upper case, what no request line may carry encoded. `None` where it is that already.
pub(crate) fn canonical(path: &str) -> Option<String> {
    let canonical = resolved(&unreserved(path), false);
    (canonical != path).then_some(canonical)
}

/// The path as requests for it are compared after decoding: slashes merged, dot segments resolved.
/// `None` where that is no text, and so no path of ours.
pub(super) fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octet = if byte == b'%' { octet(after) } else { None };
        bytes.push(octet.unwrap_or(byte));
        rest = if octet.is_some() { &after[2..] } else { after };
    }
    Some(resolved(std::str::from_utf8(&bytes).ok()?, true))
}

/// The decoded form, written canonically.
pub(super) fn decoded_canonical(path: &str) -> Option<String> {
    // What was decoded is data now: a `%` in it begins nothing.
    let decoded = decoded(path)?.replace('%', "%25");
    Some(unreserved(&decoded))
}

/// The path that a text means which does not begin with one: behind a space, a host, or what only a
/// configuration of nginx has there. `None` for a path, and for one that lacks its slash alone.
pub(super) fn meant(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return None;
    }
    let text = text.trim().replace('\\', "/");
    let behind = text.split_once("://").map_or(&*text, |(_, behind)| behind);
    let (first, _) = behind.split_once('/')?;
    let is_segment = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_path = !first.is_empty() && first.bytes().all(is_segment);
    (!is_path).then(|| resolved(&behind[first.len()..], true))
}

/// A pattern with its slashes merged; dots are no segments in it.
pub(super) fn with_slashes_merged(pattern: &str) -> String {
    let mut merged = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

/// Resolves dot segments (RFC 3986 section 5.2.4); above the root there is nothing to climb to.
fn resolved(path: &str, merge_slashes: bool) -> String {
    let mut out = String::with_capacity(path.len());
    out.push('/');
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    // Invariant: `out` ends with the slash after which the next segment is written.
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                out.pop();
                let parent = out.rfind('/').map_or(0, |slash| slash + 1);
                out.truncate(parent);
                if out.is_empty() {
                    out.push('/');
                }
            }
            "" if merge_slashes => {}
            _ => {
                out.push_str(segment);
                if segments.peek().is_some() {
                    out.push('/');
                }
            }
        }
    }
    out
}

/// Decodes unreserved octets, and encodes what no request line may carry.
fn unreserved(path: &str) -> String {
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let must_encode =
        |b: u8| b <= b' ' || b >= 0x7f || matches!(b, b'\"' | b'<' | b'>' | b'#' | b'?');
    let mut out = String::with_capacity(path.len() + 8);
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octet = if byte == b'%' { octet(after) } else { None };
        if octet.is_some() {
            rest = &after[2..];
        }
        match octet {
            Some(octet) if is_unreserved(octet) => out.push(char::from(octet)),
            Some(octet) => encode(&mut out, octet),
            None if must_encode(byte) => encode(&mut out, byte),
            None => out.push(char::from(byte)),
        }
    }
    out
}

/// The octet of two hexadecimal digits at the front.
fn octet(digits: &[u8]) -> Option<u8> {
    let hex = digits.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

fn encode(out: &mut String, octet: u8) {
    write!(out, "%{octet:02X}").expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_seen_behind_what_does_not_belong_to_it() {
        for text in [
            " /admin",
            "shop.test/admin",
            "https://shop.test/admin",
            "^~ /admin",
            "~* ^/admin",
            "\\admin",
            "shop.test//admin",
        ] {
            assert_eq!(meant(text).as_deref(), Some("/admin"), "{text}");
        }
        for text in ["/admin", "admin", "admin/x", "", "shop.test"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn a_literal_path_takes_the_form_of_requests() {
        assert_eq!(canonical("/plain/path"), None);
        assert_eq!(canonical("/a//b/"), None);
        assert_eq!(canonical("/a b").unwrap(), "/a%20b");
        assert_eq!(canonical("/%c3%a9%41").unwrap(), "/%C3%A9A");
        assert_eq!(canonical("/\u{e9}").unwrap(), "/%C3%A9");
        assert_eq!(canonical("/100%"), None);
        assert_eq!(canonical("/a/../b").unwrap(), "/b");
        assert_eq!(canonical("/a/%2e%2E/b").unwrap(), "/b");
        assert_eq!(canonical("/a/.").unwrap(), "/a/");
        assert_eq!(canonical("/../../b").unwrap(), "/b");
    }

    #[test]
    fn what_is_decoded_has_its_slashes_merged_first() {
        assert_eq!(decoded("/dd//x").unwrap(), "/dd/x");
        assert_eq!(decoded("/a%2Fb%20c").unwrap(), "/a/b c");
        assert_eq!(decoded("/a%2f..%2Fb").unwrap(), "/b");
        assert_eq!(decoded("/%ff"), None);
        assert_eq!(decoded_canonical("/a%2Fb%20c%2541").unwrap(), "/a/b%20c%2541");
        assert_eq!(with_slashes_merged("/a//b(/|$)///x"), "/a/b(/|$)/x");
    }
}

//! The one canonical path, and the decoded form.
//!
//! Match, policy, log and upstream all use one reading of a path, so that no request can be judged
//! as one resource and served as another. Both forms refuse the same input; they differ in what
//! they do with encoded slashes and repeated slashes, and where dot segments still lead above the
//! root in one of them.

use std::borrow::Cow;

use crate::Refusal;

/// The canonical form of a request path: dot segments resolved (also `%2e`), unreserved octets
/// decoded, hex in upper case; `//`, `;`, `+`, `%2F` stay. Borrowed when equal to what was sent.
pub type Canonical<'a> = Cow<'a, str>;

/// Canonicalises a path (no query). Refuses NUL, `%00`, bad percent-encoding, raw or encoded
/// backslash, raw control characters and blanks, raw non-ASCII, `#`, climbing above the root,
/// and a path that does not begin with `/` or holds `?`. Encoded control characters other than NUL
/// stay encoded. Canonicalising twice changes nothing.
pub fn canonical(path: &[u8]) -> Result<Canonical<'_>, Refusal> {
    let text = match check(path)? {
        Shape::Canonical => {
            return std::str::from_utf8(path)
                .map(Cow::Borrowed)
                .map_err(|_| Refusal::TargetNonAscii);
        }
        Shape::Dots | Shape::Encoded => unreserve(path),
    };
    let resolved = resolve(&text, Slashes::Keep)?;
    String::from_utf8(resolved).map(Cow::Owned).map_err(|_| Refusal::TargetNonAscii)
}

/// The form that ingress-nginx compares: canonical rules for refusal, then percent-decoded (`%2F`
/// becomes `/`), dot segments resolved after decoding, repeated slashes merged. May hold non-ASCII
/// bytes: invalid UTF-8 is kept lossless as bytes.
///
/// It can hold any byte but NUL and backslash: send it on only through [`encode_path`].
pub fn decoded(path: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    let shape = check(path)?;
    if shape == Shape::Canonical
        && memchr::memchr(b'%', path).is_none()
        && memchr::memmem::find(path, b"//").is_none()
    {
        return Ok(Cow::Borrowed(path));
    }
    if shape != Shape::Canonical {
        // Whatever the canonical form refuses is refused in both.
        resolve(&unreserve(path), Slashes::Keep)?;
    }
    resolve(&percent_decode(path), Slashes::Merge).map(Cow::Owned)
}

/// Percent-decodes; a `%` that two hexadecimal digits do not follow stays.
#[must_use]
pub fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%'
            && let Some(octet) = octet(after)
        {
            out.push(octet);
            rest = &after[2..];
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    out
}

/// Appends a decoded path so that it may stand in a request line: percent-encodes `%`, `?`, `#`,
/// backslash, blanks, control characters, non-ASCII bytes and what else RFC 3986 keeps out of
/// paths.
pub fn encode_path(decoded: &[u8], out: &mut Vec<u8>) {
    for byte in decoded {
        let is_plain = byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
            );
        if is_plain {
            out.push(*byte);
        } else {
            push_encoded(out, *byte);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The path is its own canonical form.
    Canonical,
    /// It has dot segments, but nothing to decode.
    Dots,
    /// It has percent-encoding that is not canonical.
    Encoded,
}

/// Refuses what may not stand in a path, and says what canonicalising has to do.
fn check(path: &[u8]) -> Result<Shape, Refusal> {
    if path.first() != Some(&b'/') {
        return Err(Refusal::PathRelative);
    }
    let mut shape = Shape::Canonical;
    for (index, byte) in path.iter().enumerate() {
        match byte {
            b'.' if shape == Shape::Canonical && begins_dot_segment(path, index) => {
                shape = Shape::Dots;
            }
            b'%' => match octet(&path[index + 1..]) {
                None => return Err(Refusal::PathPercent),
                Some(0) => return Err(Refusal::PathNul),
                Some(b'\\') => return Err(Refusal::PathBackslash),
                Some(octet) => {
                    let digits = &path[index + 1..index + 3];
                    if is_unreserved(octet) || digits.iter().any(u8::is_ascii_lowercase) {
                        shape = Shape::Encoded;
                    }
                }
            },
            0 => return Err(Refusal::PathNul),
            b'\\' => return Err(Refusal::PathBackslash),
            b'#' => return Err(Refusal::TargetFragment),
            b'?' => return Err(Refusal::TargetCharacter),
            0x80.. => return Err(Refusal::TargetNonAscii),
            0x01..=b' ' | 0x7f => return Err(Refusal::TargetControl),
            _ => {}
        }
    }
    Ok(shape)
}

/// Whether the dot at `index` begins a segment that is `.` or `..`.
fn begins_dot_segment(path: &[u8], index: usize) -> bool {
    let (before, from) = path.split_at(index);
    before.last() == Some(&b'/')
        && matches!(from, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// The octet of two hexadecimal digits at the front.
fn octet(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let (high, low) = (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?);
    u8::try_from(high << 4 | low).ok()
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Decodes unreserved octets and writes the others in upper case.
fn unreserve(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%'
            && let Some(octet) = octet(after)
        {
            if is_unreserved(octet) {
                out.push(octet);
            } else {
                push_encoded(&mut out, octet);
            }
            rest = &after[2..];
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slashes {
    Keep,
    Merge,
}

/// Resolves dot segments (RFC 3986 section 5.2.4), but refuses to climb above the root.
fn resolve(path: &[u8], slashes: Slashes) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(path.len());
    out.push(b'/');
    let mut segments = path.get(1..).unwrap_or_default().split(|byte| *byte == b'/').peekable();
    // Invariant: `out` ends with the slash after which the next segment is written.
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                out.pop();
                let parent = memchr::memrchr(b'/', &out).ok_or(Refusal::PathClimbs)?;
                out.truncate(parent + 1);
            }
            b"" if slashes == Slashes::Merge => {}
            _ => {
                out.extend_from_slice(segment);
                if !is_last {
                    out.push(b'/');
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(path: &str) -> Result<String, Refusal> {
        canonical(path.as_bytes()).map(Cow::into_owned)
    }

    fn decoded_of(path: &str) -> Result<Vec<u8>, Refusal> {
        decoded(path.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn canonical_paths_are_borrowed() {
        for path in [
            "/",
            "/a",
            "/a/b.c/d;x=1/+",
            "/a//b",
            "/a%2Fb",
            "/%20",
            "//",
            "/...",
            "/a.",
            "/.well-known/x",
        ] {
            assert!(matches!(canonical(path.as_bytes()), Ok(Cow::Borrowed(same)) if same == path));
        }
    }

    #[test]
    fn dot_segments_are_resolved_raw_and_encoded() {
        for (path, expected) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../b", "/b"),
            ("/a/b/../../c", "/c"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("/a/..b", "/a/..b"),
            ("/.a/..", "/"),
            ("//..", "/"),
            ("/a/.../b", "/a/.../b"),
        ] {
            assert_eq!(canonical_of(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn unreserved_octets_are_decoded_and_others_upper_cased() {
        assert_eq!(canonical_of("/%61%7e%2d%5F").as_deref(), Ok("/a~-_"));
        assert_eq!(canonical_of("/a%2fb%c3%a9%0a").as_deref(), Ok("/a%2Fb%C3%A9%0A"));
        assert_eq!(canonical_of("/%2541").as_deref(), Ok("/%2541"));
        assert_eq!(canonical_of("/a%2f../b").as_deref(), Ok("/a%2F../b"));
    }

    #[test]
    fn the_decoded_form_decodes_then_resolves_and_merges() {
        for (path, expected) in [
            ("/a", b"/a".as_slice()),
            ("/a%2Fb", b"/a/b"),
            ("/a%2f..%2fb", b"/b"),
            ("//a///b/", b"/a/b/"),
            ("/%c3%a9%FF", b"/\xc3\xa9\xff"),
            ("/%25%32%65", b"/%2e"),
            ("/a%20b%3f", b"/a b?"),
            ("/a/%2e%2e/b", b"/b"),
            ("/a/b/..", b"/a/"),
        ] {
            assert_eq!(decoded_of(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn both_forms_refuse_what_others_could_misread() {
        for (path, refusal) in [
            ("", Refusal::PathRelative),
            ("a", Refusal::PathRelative),
            ("*", Refusal::PathRelative),
            ("/\0", Refusal::PathNul),
            ("/%00", Refusal::PathNul),
            ("/%", Refusal::PathPercent),
            ("/%4", Refusal::PathPercent),
            ("/%4g", Refusal::PathPercent),
            ("/%u0041", Refusal::PathPercent),
            ("/%+1", Refusal::PathPercent),
            ("/a\\b", Refusal::PathBackslash),
            ("/a%5Cb", Refusal::PathBackslash),
            ("/a%5cb", Refusal::PathBackslash),
            ("/a b", Refusal::TargetControl),
            ("/a\tb", Refusal::TargetControl),
            ("/a\rb", Refusal::TargetControl),
            ("/a\nb", Refusal::TargetControl),
            ("/a\x7fb", Refusal::TargetControl),
            ("/a#b", Refusal::TargetFragment),
            ("/a?b", Refusal::TargetCharacter),
            ("/é", Refusal::TargetNonAscii),
            ("/..", Refusal::PathClimbs),
            ("/../a", Refusal::PathClimbs),
            ("/a/../..", Refusal::PathClimbs),
            ("/a/%2e%2e/%2e%2e/b", Refusal::PathClimbs),
            ("//../..", Refusal::PathClimbs),
            ("/a%2Fb/../..", Refusal::PathClimbs),
        ] {
            assert_eq!(canonical_of(path), Err(refusal), "{path:?}");
            assert_eq!(decoded_of(path), Err(refusal), "{path:?}");
        }
    }

    #[test]
    fn climbing_that_only_decoding_shows_is_refused_in_the_decoded_form() {
        assert_eq!(decoded_of("/a%2f..%2f..%2fb"), Err(Refusal::PathClimbs));
        assert_eq!(decoded_of("//.."), Err(Refusal::PathClimbs));
    }

    #[test]
    fn what_was_decoded_can_be_sent_on_encoded() {
        let mut out = Vec::new();
        encode_path(b"/a b?\xc3\xa9%\r\n|;+", &mut out);
        assert_eq!(out, b"/a%20b%3F%C3%A9%25%0D%0A%7C;+");
    }
}

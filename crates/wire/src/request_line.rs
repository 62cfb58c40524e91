//! The request line: method, target, version (RFC 9112 section 3).

use crate::authority::Authority;
use crate::text::is_token;
use crate::{HeadLimits, Refusal, Span, Target, Version};

/// A request line as ranges over the head's buffer.
#[derive(Debug)]
pub(crate) struct RequestLine {
    pub(crate) method: Span,
    pub(crate) target: Target,
    pub(crate) path: Span,
    pub(crate) query: Span,
    pub(crate) version: Version,
    /// Absolute-form's authority and the default port of its scheme.
    pub(crate) authority: Option<(Span, u16)>,
}

impl RequestLine {
    /// Reads `buf[start..end]`, a line without its CRLF.
    pub(crate) fn read(
        buf: &[u8],
        start: usize,
        end: usize,
        limits: &HeadLimits,
    ) -> Result<Self, Refusal> {
        let line = &buf[start..end];
        let mut spaces = memchr::memchr_iter(b' ', line);
        let (first, second) = (spaces.next(), spaces.next());
        let first = first.ok_or(Refusal::RequestLine)?;
        let method = &line[..first];
        if !is_token(method) {
            return Err(Refusal::MethodInvalid);
        }
        let Some(second) = second else {
            // `GET /` is HTTP/0.9.
            return Err(Refusal::VersionInvalid);
        };
        if spaces.next().is_some() || second == first + 1 {
            return Err(Refusal::RequestLine);
        }
        let version = read_version(&line[second + 1..])?;
        let target = &line[first + 1..second];
        if target.len() > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        if method == b"CONNECT" {
            return Err(Refusal::MethodConnect);
        }
        let offset = start + first + 1;
        let parts = read_target(target, method == b"OPTIONS")?;
        let span = |from: usize, to: usize| Span::new(offset + from, offset + to);
        Ok(Self {
            method: Span::new(start, start + first),
            target: parts.form,
            path: span(parts.path_start, parts.query_start),
            query: span(parts.query_start, target.len()),
            version,
            authority: parts.authority.map(|(from, to, port)| (span(from, to), port)),
        })
    }
}

/// What a request line that does not end within the limit is refused for.
pub(crate) fn too_large(line: &[u8], limits: &HeadLimits) -> Refusal {
    let Some(space) = memchr::memchr(b' ', line) else { return Refusal::HeadTooLarge };
    let target = &line[space + 1..];
    let length = memchr::memchr(b' ', target).unwrap_or(target.len());
    if length > limits.target_bytes_max { Refusal::TargetTooLong } else { Refusal::HeadTooLarge }
}

fn read_version(text: &[u8]) -> Result<Version, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Refusal::VersionUnsupported)
        }
        _ => Err(Refusal::VersionInvalid),
    }
}

/// The parts of a target as offsets into it.
struct TargetParts {
    form: Target,
    authority: Option<(usize, usize, u16)>,
    path_start: usize,
    query_start: usize,
}

fn read_target(target: &[u8], is_options: bool) -> Result<TargetParts, Refusal> {
    if target == b"*" {
        if !is_options {
            return Err(Refusal::TargetForm);
        }
        return Ok(TargetParts {
            form: Target::Asterisk,
            authority: None,
            path_start: 0,
            query_start: 1,
        });
    }
    if target.first() == Some(&b'/') {
        let query_start = check_path_and_query(target)?;
        return Ok(TargetParts {
            form: Target::Origin,
            authority: None,
            path_start: 0,
            query_start,
        });
    }
    let (scheme_end, port) = read_scheme(target).ok_or(Refusal::TargetForm)?;
    let rest = &target[scheme_end..];
    let length = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = Authority::parse(&rest[..length])?;
    if authority.host.is_empty() {
        return Err(Refusal::HostInvalid);
    }
    let path_start = scheme_end + length;
    let query_start = path_start + check_path_and_query(&target[path_start..])?;
    let is_bare = path_start == target.len();
    Ok(TargetParts {
        form: if is_options && is_bare { Target::Asterisk } else { Target::Origin },
        authority: Some((scheme_end, path_start, port)),
        path_start,
        query_start,
    })
}

/// Where the authority of an `http` or `https` URI begins, and the scheme's port.
fn read_scheme(target: &[u8]) -> Option<(usize, u16)> {
    let has = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if has(b"http://") {
        Some((7, 80))
    } else if has(b"https://") {
        Some((8, 443))
    } else {
        None
    }
}

/// Checks each character; returns where the query begins.
///
/// In the path only what RFC 3986 allows may stand raw. In the query `"<>\^{|}` and the back quote
/// pass too: browsers send them raw there, and no routing or file name depends on a query.
pub(crate) fn check_path_and_query(bytes: &[u8]) -> Result<usize, Refusal> {
    let path_length = memchr::memchr(b'?', bytes).unwrap_or(bytes.len());
    let (path, query) = bytes.split_at(path_length);
    if let Some(byte) = path.iter().find(|byte| CLASS[usize::from(**byte)] != PATH) {
        return Err(character_refusal(*byte));
    }
    if let Some(byte) = query.iter().find(|byte| CLASS[usize::from(**byte)] == NEVER) {
        return Err(character_refusal(*byte));
    }
    Ok(path_length)
}

fn character_refusal(byte: u8) -> Refusal {
    match byte {
        b'#' => Refusal::TargetFragment,
        b'\\' => Refusal::PathBackslash,
        0x80.. => Refusal::TargetNonAscii,
        0..=b' ' | 0x7f => Refusal::TargetControl,
        _ => Refusal::TargetCharacter,
    }
}

const NEVER: u8 = 0;
const QUERY: u8 = 1;
const PATH: u8 = 2;

const CLASS: [u8; 256] = {
    let mut table = [NEVER; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'#' => NEVER,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => QUERY,
            _ => PATH,
        };
        byte += 1;
    }
    table
};

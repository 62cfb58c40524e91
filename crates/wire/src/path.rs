//! The one canonical path, and the decoded form.

use std::borrow::Cow;
use crate::Refusal;

/// The canonical form of a request path: dot segments resolved (also `%2e`), unreserved octets
/// decoded, hex in upper case; `//`, `;`, `+`, `%2F` stay. Borrowed when equal to what was sent.
pub type Canonical<'a> = Cow<'a, str>;

/// Canonicalises a path (no query). Refuses NUL, `%00`, bad percent-encoding, raw or encoded
/// backslash, control characters (raw or encoded?: raw), raw non-ASCII, `#`, climbing above the root,
/// and a path that does not begin with `/`.
pub fn canonical(path: &[u8]) -> Result<Canonical<'_>, Refusal> { todo!() }

/// The form that ingress-nginx compares: canonical rules for refusal, then percent-decoded (`%2F`
/// becomes `/`), dot segments resolved after decoding, repeated slashes merged. May hold non-ASCII bytes: invalid UTF-8 is
/// kept lossless as bytes.
pub fn decoded(path: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> { todo!() }

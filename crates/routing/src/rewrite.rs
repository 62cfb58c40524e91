//! The path a rewrite gives: the target, with `$1` to `$9` replaced by what the pattern captured.
//!
//! The result is not canonical yet: the caller canonicalises and checks it again, because a
//! capture can hold dot segments or leave the prefix that a policy protects.

use std::ops::Range;

use model::PathForm;

use crate::{Found, RequestHead};

impl<T> Found<'_, T> {
    /// Appends `target` to `out`, with `$1` to `$9` replaced by the captures of the route's pattern
    /// over the path of `head`, which must be the head that was looked up. A group that took no
    /// part, and every group of a literal route, is empty. Any other `$` stays as it is.
    ///
    /// Captures of the decoded form are percent-encoded again where a path could not hold them.
    pub fn rewrite(&self, head: &RequestHead<'_>, target: &str, out: &mut String) {
        if memchr::memchr(b'$', target.as_bytes()).is_none() {
            out.push_str(target);
            return;
        }
        let path = head.text(self.path_form);
        let captures = self.regex.and_then(|regex| regex.captures(path));
        let mut rest = target;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(digit @ b'1'..=b'9') = after.as_bytes().first() {
                let group = usize::from(digit - b'0');
                let span = captures.as_ref().and_then(|captures| captures.get_group(group));
                if let Some(text) = span.and_then(|span| path.get(Range::from(span))) {
                    push_capture(text, self.path_form, out);
                }
                rest = &after[1..];
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
    }
}

/// Appends captured bytes as path text.
fn push_capture(text: &[u8], form: PathForm, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        // The canonical form is encoded already; there, a `%` introduces an encoded octet.
        let plain = match form {
            PathForm::Canonical => byte.is_ascii_graphic(),
            PathForm::Decoded => byte.is_ascii_graphic() && !matches!(byte, b'%' | b'#' | b'?'),
        };
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

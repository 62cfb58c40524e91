//! What of a request is matched: a borrowed view, computed once by the caller.

use model::PathForm;

/// What of a request is matched.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'r> {
    /// Lower-case host without port and trailing dot; `None` for HTTP/1.0 without Host.
    pub host: Option<&'r str>,
    /// The canonical path, without query.
    pub canonical: &'r str,
    /// The decoded form (bytes; equal to canonical where nothing is decoded).
    pub decoded: &'r [u8],
}

impl<'r> RequestHead<'r> {
    /// The path in the form that a host block compares.
    pub fn text(&self, form: PathForm) -> &'r [u8] {
        match form {
            PathForm::Canonical => self.canonical.as_bytes(),
            PathForm::Decoded => self.decoded,
        }
    }
}

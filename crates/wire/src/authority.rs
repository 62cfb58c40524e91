//! Host, `:authority` and absolute-form authorities.

use crate::Refusal;

/// A validated authority, without user information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as sent, brackets of an IPv6 literal included; never empty unless the field was.
    pub host: &'a str,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Validates `host[:port]`: reg-name characters of DNS names and `_`, IPv4, bracketed IPv6, port 0-65535.
    pub fn parse(text: &'a [u8]) -> Result<Self, Refusal> { todo!() }

    /// The host as it is matched: lower-case, one trailing dot dropped, written to `out` (cleared first).
    pub fn normalized<'o>(&self, out: &'o mut String) -> &'o str { todo!() }
}

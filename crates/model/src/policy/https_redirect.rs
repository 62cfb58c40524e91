//! Plain requests are sent to HTTPS.

use serde::{Deserialize, Serialize};

/// A redirect of `http` requests to the same host and target under `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpsRedirect {
    /// 301, 302, 307 or 308.
    pub status: u16,
    /// `/` alone is left out of the Location (nginx dialect).
    pub strip_bare_slash: bool,
}

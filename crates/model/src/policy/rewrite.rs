//! The path that the upstream sees.

use serde::{Deserialize, Serialize};

/// Replaces the whole request path; the query stays.
///
/// `target` is literal but for `$1` to `$9`, which stand for the captures of the route's regular
/// expression; a capture that took no part is empty. The result is made canonical again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The new path, beginning with `/` or a capture.
    pub target: Box<str>,
}

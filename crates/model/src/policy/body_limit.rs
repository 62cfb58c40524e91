//! The largest request body.

use serde::{Deserialize, Serialize};

/// Bodies over this size are answered 413.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyLimit {
    /// In bytes, framing not counted.
    pub bytes_max: u64,
}

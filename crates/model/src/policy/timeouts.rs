//! How long the upstream may take.

use serde::{Deserialize, Serialize};

/// Deadlines towards the upstream, in milliseconds; absent means the process-wide setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// To establish a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// From the request's end to the response's head, and between two reads of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_ms: Option<u32>,
}

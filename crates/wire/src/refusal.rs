//! The one table of what is not accepted.

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal { /* table: variant, status, kebab-case reason, sentence */ }

impl Refusal {
    /// The status for a client: 400, 413, 414, 417, 431, 501, 505, 405.
    #[must_use]
    pub fn status(self) -> u16 { todo!() }

    /// The stable kebab-case reason for log and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str { todo!() }
}

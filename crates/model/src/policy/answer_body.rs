//! The body of answers that are made here.

use serde::{Deserialize, Serialize};

/// What a client gets to read with an answer that no endpoint sent. Who asks for JSON gets JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerBody {
    /// A line of text.
    #[default]
    Text,
    /// A small page, with the titles that nginx has.
    Page,
}

impl AnswerBody {
    /// Whether it is what is assumed where nothing is said.
    #[must_use]
    pub fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

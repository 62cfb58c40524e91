//! Wanted behaviour, one file per policy.

mod answer_body;
mod body_limit;
mod https_redirect;
mod rewrite;
mod timeouts;

pub use answer_body::AnswerBody;
pub use body_limit::BodyLimit;
pub use https_redirect::HttpsRedirect;
pub use rewrite::Rewrite;
pub use timeouts::Timeouts;

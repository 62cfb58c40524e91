//! Style as a test: what reviewers would otherwise have to say again and again.
//!
//! Every rule reads the files of the repository and answers with all places that break it. The
//! exceptions are tables (`tables.rs`), each row with its reason; a row that no longer excepts
//! anything is itself a failure, so the tables only hold what is true.

mod dependencies;
mod files;
mod naming;
mod source;
mod tables;

use std::fmt::Write as _;

/// Fails with one line per place; passes when there is none.
fn expect_none(rule: &str, places: &[String]) {
    let mut message = format!("{rule}:\n");
    for place in places {
        let _ = writeln!(message, "  {place}");
    }
    assert!(places.is_empty(), "{message}");
}

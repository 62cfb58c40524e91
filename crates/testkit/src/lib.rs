//! The fakes and the spec runner: known only by tests.

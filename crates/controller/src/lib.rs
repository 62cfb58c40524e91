//! Watch and report.

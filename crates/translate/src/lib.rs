//! Kubernetes objects to a Model and diagnostics: pure.

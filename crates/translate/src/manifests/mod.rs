//! Manifests to objects.

//! The real program in front of a real control plane: a real API server over a real etcd, and the
//! `kubectl` that users have.
//!
//! Tests that look at objects of their own share one control plane; those that stop it, or look at
//! the whole cluster, have their own.

mod control_plane;

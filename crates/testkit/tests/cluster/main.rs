//! The real program in front of a real control plane: a real API server over a real etcd, and the
//! `kubectl` that users have.
//!
//! Tests that look at objects of their own share one control plane; those that stop it, or look at
//! the whole cluster, have their own.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails, helpers included")]

mod busy;
mod cert_manager;
mod check;
mod conformance;
mod control_plane;
mod faults;
mod load;
mod operating;
mod placement;
mod progressive;
mod replicas;
mod reporting;
mod rights;
mod rolling;
mod secrets;
mod tenants;
mod watching;
mod webhook;
mod world;

//! The program: settings, commands, the wiring of the gateway, and the admin listener.
//!
//! A library, so that tests start the gateway and the echo backend inside their own process.

pub mod admin;
pub mod cli;
pub mod control;
mod demo;
pub mod echo;
pub mod machine;
pub mod run;
pub mod settings;
pub mod signals;
mod webhook;
mod wiring;

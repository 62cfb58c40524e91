//! The program: settings, commands, the wiring of the gateway, and the admin listener.
pub mod echo;
pub mod machine;
pub mod settings;

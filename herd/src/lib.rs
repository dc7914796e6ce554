//! herd: init, service supervisor and sandbox in one binary.
//!
//! `supervisor` decides (pure), `daemon` acts, `prepare` turns a unit into what the sandbox starts,
//! `control` is how others talk to a running herd, `logs` where the words of services go, `cli` what
//! a user types.

pub mod control;
pub mod daemon;
pub mod logs;
pub mod prepare;
pub mod supervisor;
pub mod users;

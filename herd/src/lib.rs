//! herd: init, service supervisor and sandbox in one binary.
//!
//! `supervisor` decides (pure), `control` is how others talk to a running herd, `logs` where the
//! words of services go, `cli` what a user types.

pub mod control;
pub mod logs;
pub mod supervisor;

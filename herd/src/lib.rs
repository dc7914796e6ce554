//! herd: init, service supervisor and sandbox in one binary.
//!
//! `supervisor` decides (pure), `daemon` acts, `prepare` turns a unit into what the sandbox starts,
//! `control` is how others talk to a running herd, `logs` where the words of services go, `cli` what
//! a user types.

use std::ffi::OsString;

pub mod cli;
pub mod control;
pub mod daemon;
pub mod logs;
pub mod prepare;
pub mod supervisor;
pub mod users;

/// Claims that the binary was started to build a box: as `herd-exec`, or with that as its verb.
pub fn is_executor(mut first_two: impl Iterator<Item = OsString>) -> bool {
    first_two.any(|argument| argument == "herd-exec")
}

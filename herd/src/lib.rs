//! herd: init, service supervisor and sandbox in one binary.
//!
//! `control` is how others talk to a running herd, `logs` where the words of services go.

pub mod control;
pub mod logs;

//! System call filters: which calls a box may make, with which arguments.
//!
//! [`compile()`] is pure: walls in, the kernel's own filter encoding out. One program holds all of
//! it. The number is looked up by a balanced tree, so that a call costs about eight comparisons
//! and not one per listed call; a call that is allowed whatever its arguments costs nothing at all
//! on kernels that remember such (5.11).
//!
//! Words: a *verdict* is what a number gets before its arguments are looked at; a *rule* is what a
//! wall adds about the arguments of one call, and can only take away.
//!
//! Written here and not by a crate, because the one there is has a single action for all refusals,
//! kills for foreign architectures, does not see x32, and goes through its list one by one.
#![forbid(unsafe_code)]

mod bpf;
mod compile;
mod describe;
mod filter;
pub mod groups;
#[cfg(test)]
mod interpreter;
mod table;
#[cfg(test)]
mod tests;
mod walls;

pub use bpf::Program;
pub use compile::{CompileError, compile, filters};
pub use describe::{describe, notes};
pub use filter::{FilterError, check, default_filter};

//! System call filters: which calls a box may make, with which arguments.
//!
//! [`compile()`] is pure: walls in, the kernel's own filter encoding out. The lists and all walls
//! share one program, a profile has one of its own, and programs of the caller's are installed as
//! they are; where several answer, the kernel takes the strictest. The number is looked up by a
//! balanced tree, so that a call costs about eight comparisons and not one per listed call; a call
//! that is allowed whatever its arguments costs nothing at all on kernels that remember such (5.11).
//!
//! Words: an *ABI* is a way to call the kernel, of which an architecture has several; a *verdict* is
//! what a call gets before its arguments are looked at; a *rule* is what a wall adds about the
//! arguments of one call, and can only take away; an *answer* is what the filter returns.
//!
//! Written here and not by a crate, because the one there is has a single action for all refusals,
//! kills for foreign architectures, does not see x32, and goes through its list one by one.
#![forbid(unsafe_code)]

mod answer;
mod bpf;
mod compile;
mod describe;
mod filter;
#[cfg(test)]
mod fixture;
pub mod groups;
mod interpreter;
mod memory;
mod multiplexed;
mod numbers;
mod profile;
mod program;
mod table;
#[cfg(test)]
mod tests;
mod walls;

pub(crate) use compile::allow_mounts;
pub use compile::{CompileError, Filter, compile, filters};
pub use describe::notes;
pub use filter::{FilterError, check, default_filter};
pub use memory::Memory;
pub use profile::{ProfileError, parse as parse_profile};
pub use program::{Program, ProgramError};

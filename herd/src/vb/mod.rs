//! `vb`: bubblewrap's command line on our own engine, and some options beyond it.
//!
//! ```text
//! argv ──arguments──▶ Arguments ──check──▶ settled ──config──▶ sandbox::Config ──run──▶ exit code
//! ```
//!
//! Called as `bwrap` it is what programs in the world already call: the same options, messages,
//! descriptors, JSON and exit codes as bubblewrap 0.11.

pub mod arguments;
pub mod check;
pub mod environment;
pub mod errno;
pub mod numbers;
pub mod operation;
pub mod options;
pub mod own;

#[cfg(test)]
mod tests;

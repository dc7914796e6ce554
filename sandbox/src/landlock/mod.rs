//! Landlock (`landlock(7)`): rules that hold a process and all its descendants, root or not.
//!
//! Three things are told apart. *Requested* is what the config says. *Available* is what the ABI of
//! the host's kernel can deny; whether that is less is known when the plan is made, and then it is an
//! error that names the wall, or a `GivenUp` under `best_effort`. *Enforced* is what the kernel
//! does: after `landlock_restrict_self` the step tries things that now have to fail, and fails if one
//! does not.
//!
//! A box with rules handles **every** right that the ABI has, not only those that its rules are
//! about: what no rule grants is denied. So a single `read` rule denies writing everywhere, and no
//! rule at all denies everything. (A ruleset that handles only what its rules grant, which is how it
//! is often done, leaves all else allowed.)
//!
//! The rules are set after the mounts and as the user of the service: paths are those the service
//! sees. Written on raw system calls, as the main process may not allocate, and a plan is made for
//! hosts other than this one, which the crate `landlock` does not know of.

mod apply;
mod plan;
pub(crate) mod rights;
mod step;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use apply::{Ruleset, perform};
pub use plan::LandlockError;
pub(crate) use plan::{Circumstances, plan};
pub(crate) use step::LandlockStep;

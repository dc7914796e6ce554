//! `vb` called as `bwrap`, beside bubblewrap itself.
//!
//! A case is a script with `$B` for the launcher, and what has to come of it. It is run with ours and,
//! where this machine has bubblewrap 0.11, with that; both have to meet the same expectation. Where
//! it is absent, the expectation recorded here counts.

mod attacks;
mod callers;
mod case;
mod command_line;
mod descriptors;
mod files;
mod identity;
mod life;
mod namespaces;
mod overlays;
mod own;
mod surroundings;

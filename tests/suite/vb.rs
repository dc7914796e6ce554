//! `vb` called as `bwrap`, beside bubblewrap itself.
//!
//! A case is a script with `$B` for the launcher, and what has to come of it. It is run with ours and,
//! where this machine has bubblewrap 0.11, with that; both have to meet the same expectation. Where
//! it is absent, the expectation recorded here counts.
//!
//! Defects of the launcher whose options `vb` took over, each by its number there, and where it is tried:
//! ends of boxes with PID and user namespaces (1) in `life`; an unusable default root (2) in `own`; uids and
//! gids but 0 (3), capabilities (4) in `identity`; binds of files and data (5), links (6) in `files`;
//! overlays (7, 8) in `overlays`; Landlock that left writes open (9) in `own`; mounts below a read-only bind (10)
//! in `files`; an orphaned box (11) in `own`; ids of namespaces told too late (12) in `descriptors`; groups
//! left behind (13) in `own`; a terminal lost (17) in `surroundings`; the host's own name changed (18) in
//! `command_line`; descriptors closed (20) in `descriptors`; one error for everything (21) in every file; words
//! that the manual has and the parser not (22) beside the parser.

mod attacks;
mod bombs;
mod callers;
mod case;
mod command_line;
mod defects;
mod descriptors;
mod files;
mod identity;
mod life;
mod namespaces;
mod overlays;
mod own;
mod surroundings;
mod terminal;

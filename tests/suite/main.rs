//! One binary for every test through the real herd.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines; the rules are for herd itself"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected has failed"
)]
#![allow(unused_imports, reason = "the fixture shows all it has")]
#![allow(
    dead_code,
    reason = "the fixture serves files that are not all there on each machine"
)]

mod architecture;
mod fixture;
mod needs;
mod quickstart;
mod stack;
mod status;

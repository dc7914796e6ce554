//! One binary for all tests of the crate that go through its public face.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says by panicking what is wrong"
)]

mod diagnostics;
mod loading;
mod manual;
mod networks;
mod ordering;
mod parsing;
mod real_units;

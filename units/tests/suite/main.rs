//! One binary for all tests of the crate that go through its public face.
mod diagnostics;
mod loading;
mod ordering;
mod parsing;
mod real_units;

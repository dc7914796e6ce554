//! The supervisor, its daemon and its commands.
pub mod supervisor;

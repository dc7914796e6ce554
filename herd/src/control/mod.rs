//! The control socket: varlink's wire format, herd's own interface, and who may say what.
//!
//! ```text
//! bytes ──codec──▶ frame ──call──▶ Call ──access──▶ the daemon
//! bytes ◀──codec── frame ◀───────── Reply / Refusal ◀──┘
//! ```
//! `server` is the daemon's end and never blocks; `client` is the command line's end and does.

pub mod access;
pub mod call;
pub mod client;
pub mod codec;
mod connection;
pub mod protocol;
pub mod server;

pub use protocol::{Call, Refusal, Reply};
pub use server::{CallId, Server};

/// The socket's name in herd's runtime directory.
pub const SOCKET: &str = "control.sock";

#[cfg(test)]
mod tests;

//! Where the words of services go: captured, kept, shown.
//!
//! ```text
//! service ══pipe══▶ Capture ──▶ Sink (bounded queue) ──▶ writer thread ──▶ files, kmsg
//!                  (the loop)                                  └─────────▶ echo thread ──▶ terminal
//! ```
//! The loop only ever copies memory. A disk that blocks holds up the writer thread, a terminal that
//! is stopped holds up the echo thread; what the bounded queues cannot take meanwhile is dropped,
//! counted, and told in the log itself.

pub mod capture;
mod echo;
pub mod escape;
mod files;
pub mod follow;
pub mod read;
pub mod record;
pub mod sink;
pub mod timestamp;
mod writer;

pub use capture::{Capture, Drained};
pub use echo::Console;
pub use record::{Kind, Record};
pub use sink::Sink;
pub use timestamp::Timestamp;

#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod tests;

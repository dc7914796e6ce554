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
pub use echo::{Console, Format};
pub use record::{Kind, Record};
pub use sink::Sink;
pub use timestamp::Timestamp;

/// A line as JSON. Text that is not UTF-8 becomes an array of numbers, as journald has it.
pub fn json(at: Timestamp, unit: &str, kind: Kind, text: &[u8]) -> serde_json::Value {
    let text = match std::str::from_utf8(text) {
        Ok(text) => serde_json::json!(text),
        Err(_) => serde_json::json!(text),
    };
    serde_json::json!({
        "at": at.to_string(),
        "unit": unit,
        "kind": kind.as_str(),
        "text": text,
    })
}

#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod tests;

//! The isolation engine of herd.
pub mod config;
pub use config::Config;

//! The isolation engine of herd.
pub mod cgroup;
pub mod config;
pub mod host;
pub mod seccomp;
mod sys;
pub use config::Config;
pub use host::Host;

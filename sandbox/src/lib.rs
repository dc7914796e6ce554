//! The isolation engine of herd.

pub mod cgroup;
mod compile;
pub mod config;
mod executor;
mod failure;
mod filesystem;
pub mod host;
mod init;
mod launch;
mod main_process;
mod plan;
pub mod seccomp;
pub mod status;
mod step;
mod sys;
mod walk;

pub use compile::{CompileError, compile};
pub use config::Config;
pub use executor::herd_exec_main;
pub use failure::StepFailure;
pub use host::Host;
pub use launch::{Files, LaunchError, Launched, Launcher};
pub use plan::{Carrier, GivenUp, Plan};

//! What every unit that was made of a line of fstab does: it says which line it is of, waits for the line's device,
//! and runs one of the system's programs, whose words are the reason where it fails.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;

use clap::Args;

use super::{device, said, tell};

/// What each of them is told.
#[derive(Debug, Clone, Args)]
pub(super) struct Line {
    /// Of fstab, for what is said.
    #[arg(long)]
    line: usize,
    /// How long the device may take to come; without it nothing is waited for.
    #[arg(long)]
    timeout: Option<String>,
    /// What the line requires and cannot be had.
    #[arg(long)]
    missing: Vec<String>,
}

/// Why nothing came of a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("line {line} of /etc/fstab")]
    Device {
        line: usize,
        source: device::DeviceError,
    },
    #[error("line {line} of /etc/fstab: {what} requires {unit}, which cannot be had")]
    Requires {
        line: usize,
        what: String,
        unit: String,
    },
    #[error("line {line} of /etc/fstab: cannot {action}")]
    Own {
        line: usize,
        action: String,
        source: io::Error,
    },
    #[error("line {line} of /etc/fstab: cannot {action}: {said}")]
    Failed {
        line: usize,
        action: String,
        said: String,
    },
}

impl Line {
    /// Comes back once the line can be acted on: `what` it is about, and the device it needs.
    pub(super) fn ready(&self, what: impl Display, device: &str) -> Result<(), LineError> {
        let line = self.line;
        if let Some(unit) = self.missing.first().cloned() {
            let what = what.to_string();
            return Err(LineError::Requires { line, what, unit });
        }
        let Some(timeout) = &self.timeout else {
            return Ok(());
        };
        device::timeout(timeout)
            .and_then(|timeout| device::wait_and_tell(device, timeout))
            .map(drop)
            .map_err(|source| LineError::Device { line, source })
    }

    /// Something of our own has failed: `cannot ACTION`.
    pub(super) fn failed(&self, action: String) -> impl FnOnce(io::Error) -> LineError {
        let line = self.line;
        move |source| LineError::Own {
            line,
            action,
            source,
        }
    }

    /// Runs a program of section 8 that is to do this.
    pub(super) fn run(
        &self,
        program: &OsStr,
        words: &[&OsStr],
        action: impl FnOnce() -> String,
    ) -> Result<(), LineError> {
        let name = program.to_string_lossy();
        let (status, said) =
            said::run(program, words).map_err(self.failed(format!("run {name}(8)")))?;
        match (status.success(), said.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => {
                tell(&said);
                Ok(())
            }
            (false, is_silent) => Err(LineError::Failed {
                line: self.line,
                action: action(),
                said: if is_silent { status.to_string() } else { said },
            }),
        }
    }
}

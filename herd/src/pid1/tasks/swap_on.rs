//! One line of fstab, swapped to by swapon(8).
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;

use clap::Args;

use super::{TaskError, device, said, tell};

/// The words of the unit that was made of the line.
#[derive(Debug, Clone, Args)]
pub struct Order {
    /// Of fstab, for what is said.
    #[arg(long)]
    line: usize,
    /// How long the device may take to come; without it nothing is waited for.
    #[arg(long)]
    timeout: Option<String>,
    /// What the line requires and cannot be had.
    #[arg(long)]
    missing: Vec<String>,
    /// swapon(8) and its words, the device last.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Why nothing is swapped there.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error("line {line} of /etc/fstab")]
    Device {
        line: usize,
        source: device::DeviceError,
    },
    #[error("line {line} of /etc/fstab: {device} requires {unit}, which cannot be had")]
    Requires {
        line: usize,
        device: String,
        unit: String,
    },
    #[error("line {line} of /etc/fstab: cannot run swapon(8)")]
    Run { line: usize, source: io::Error },
    #[error("line {line} of /etc/fstab: cannot swap to {device}: {said}")]
    Failed {
        line: usize,
        device: String,
        said: String,
    },
}

pub(super) fn run(order: &Order) -> Result<(), TaskError> {
    let line = order.line;
    let words: Vec<&OsStr> = order.command.iter().map(OsString::as_os_str).collect();
    let (program, words) = words.split_first().ok_or_else(|| SwapError::Run {
        line,
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let device = words.last().map(|word| word.to_string_lossy().into_owned());
    let device = device.unwrap_or_default();
    if let Some(unit) = order.missing.first().cloned() {
        return Err(SwapError::Requires { line, device, unit }.into());
    }
    if let Some(timeout) = &order.timeout {
        device::timeout(timeout)
            .and_then(|timeout| device::wait(&device, timeout))
            .map_err(|source| SwapError::Device { line, source })?;
    }
    let (status, said) =
        said::run(program, words).map_err(|source| SwapError::Run { line, source })?;
    if status.success() {
        if !said.is_empty() {
            tell(&said);
        }
        return Ok(());
    }
    let said = match said.is_empty() {
        true => status.to_string(),
        false => said,
    };
    Err(SwapError::Failed { line, device, said }.into())
}

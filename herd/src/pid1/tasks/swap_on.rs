//! One line of fstab, swapped to by swapon(8).
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;

use clap::Args;

use super::TaskError;
use super::line::Line;

/// The words of the unit that was made of the line.
#[derive(Debug, Clone, Args)]
pub struct Order {
    #[command(flatten)]
    line: Line,
    /// swapon(8) and its words, the device last.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

pub(super) fn run(order: &Order) -> Result<(), TaskError> {
    let words: Vec<&OsStr> = order.command.iter().map(OsString::as_os_str).collect();
    let (program, words) = words.split_first().ok_or_else(|| {
        order.line.failed("run swapon(8)".to_owned())(io::ErrorKind::InvalidInput.into())
    })?;
    let device = words.last().map(|word| word.to_string_lossy());
    let device = device.unwrap_or_default();
    order.line.ready(&device, &device)?;
    Ok(order
        .line
        .run(program, words, || format!("swap to {device}"))?)
}

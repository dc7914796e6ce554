//! The few numbers that the kernel tells in text files under `/proc`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use super::HostError;

/// What `/proc/self/status` says of us.
pub(super) struct Status {
    /// `CapEff`.
    pub(super) effective: u64,
    /// `Groups`.
    pub(super) groups: Vec<u32>,
    /// How many CPUs we may run on.
    pub(super) cpus: u32,
}

pub(super) fn read(path: &Path) -> Result<Status, HostError> {
    let text = text(path)?;
    let field = |name: &'static str| {
        field(&text, name).ok_or_else(|| HostError::Missing {
            path: path.to_owned(),
            what: name,
        })
    };
    let effective = field("CapEff:")?;
    let cpus = field("Cpus_allowed:")?;
    let groups = field("Groups:")?;
    Ok(Status {
        groups: groups
            .split_whitespace()
            .filter_map(|group| group.parse().ok())
            .collect(),
        effective: u64::from_str_radix(effective, 16).map_err(|_| HostError::Missing {
            path: path.to_owned(),
            what: "CapEff:",
        })?,
        cpus: cpus
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(u32::count_ones)
            .sum(),
    })
}

pub(super) fn memory_bytes(path: &Path) -> Result<u64, HostError> {
    let text = text(path)?;
    field(&text, "MemTotal:")
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .and_then(|kib| kib.checked_mul(1024))
        .ok_or_else(|| HostError::Missing {
            path: path.to_owned(),
            what: "MemTotal:",
        })
}

/// A file that holds one number.
pub(super) fn number(path: &Path) -> Result<u64, HostError> {
    text(path)?.trim().parse().map_err(|_| HostError::Missing {
        path: path.to_owned(),
        what: "a number",
    })
}

/// The lines that are text. A mount point's name, a group's or a program's need not be, and a stranger may have given it;
/// nothing that is looked for here has such a name.
pub(super) fn text(path: &Path) -> Result<String, HostError> {
    let bytes = fs::read(path).map_err(|source| HostError::Read {
        path: path.to_owned(),
        source,
    })?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

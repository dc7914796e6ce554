//! One line of fstab, mounted by mount(8).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{TaskError, device, said, tell};
use crate::mount_table::unescaped_path;

/// The words of the unit that was made of the line.
#[derive(Debug, Clone, Args)]
pub struct Order {
    /// Of fstab, for what is said.
    #[arg(long)]
    line: usize,
    /// How long the device may take to come; without it nothing is waited for.
    #[arg(long)]
    timeout: Option<String>,
    /// Fail rather than be read-only.
    #[arg(long)]
    only_writable: bool,
    /// What the line requires and cannot be had.
    #[arg(long)]
    missing: Vec<String>,
    #[arg(long)]
    kind: String,
    #[arg(long, default_value = "")]
    options: String,
    source: String,
    target: PathBuf,
}

/// Why nothing was mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("line {line} of /etc/fstab")]
    Device {
        line: usize,
        source: device::DeviceError,
    },
    #[error("line {line} of /etc/fstab: {path} requires {unit}, which cannot be had")]
    Requires {
        line: usize,
        path: PathBuf,
        unit: String,
    },
    #[error("line {line} of /etc/fstab: cannot make the mount point {path}")]
    Target {
        line: usize,
        path: PathBuf,
        source: io::Error,
    },
    #[error("line {line} of /etc/fstab: cannot run mount(8)")]
    Run { line: usize, source: io::Error },
    #[error("line {line} of /etc/fstab: cannot mount {device} on {target}: {said}")]
    Failed {
        line: usize,
        device: String,
        target: PathBuf,
        said: String,
    },
}

pub(super) fn run(order: &Order) -> Result<(), TaskError> {
    let line = order.line;
    if let Some(unit) = order.missing.first().cloned() {
        let path = order.target.clone();
        return Err(MountError::Requires { line, path, unit }.into());
    }
    if let Some(timeout) = &order.timeout {
        device::timeout(timeout)
            .and_then(|timeout| device::wait(&order.source, timeout))
            .map_err(|source| MountError::Device { line, source })?;
    }
    let is_mounted = is_mounted(&order.target);
    if is_mounted && order.has("bind") {
        tell(&format!("{} is mounted already", order.target.display()));
        return Ok(());
    }
    fs::create_dir_all(&order.target)
        .or_else(|error| match fs::metadata(&order.target) {
            // A file can be bound on a file.
            Ok(_) => Ok(()),
            Err(_) => Err(error),
        })
        .map_err(|source| MountError::Target {
            line,
            path: order.target.clone(),
            source,
        })?;
    let options = match (is_mounted, order.options.as_str()) {
        (false, options) => options.to_owned(),
        // An initramfs has mounted it for us.
        (true, "") => "remount".to_owned(),
        (true, options) => format!("remount,{options}"),
    };
    let mut words: Vec<&OsStr> = Vec::new();
    let is_plain = ["none", "auto", ""].contains(&order.kind.as_str());
    if !is_plain {
        words.extend([OsStr::new("-t"), OsStr::new(&order.kind)]);
    }
    if !options.is_empty() {
        words.extend([OsStr::new("-o"), OsStr::new(&options)]);
    }
    if order.only_writable {
        words.push(OsStr::new("-w"));
    }
    words.extend([
        OsStr::new("--"),
        OsStr::new(&order.source),
        order.target.as_os_str(),
    ]);
    let (status, said) = said::run(OsStr::new("mount"), &words)
        .map_err(|source| MountError::Run { line, source })?;
    if status.success() {
        if !said.is_empty() {
            tell(&said);
        }
        return Ok(());
    }
    Err(MountError::Failed {
        line,
        device: order.source.clone(),
        target: order.target.clone(),
        said: if said.is_empty() {
            status.to_string()
        } else {
            said
        },
    }
    .into())
}

impl Order {
    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|have| have == option)
    }
}

fn is_mounted(target: &Path) -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(unescaped_path).any(|point| point == target)
}

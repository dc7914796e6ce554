//! One line of fstab, mounted by mount(8).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::line::Line;
use super::{TaskError, tell};
use crate::mount_table::{self, mount_points};

/// The words of the unit that was made of the line.
#[derive(Debug, Clone, Args)]
pub struct Order {
    #[command(flatten)]
    line: Line,
    /// Fail rather than be read-only.
    #[arg(long)]
    only_writable: bool,
    #[arg(long)]
    kind: String,
    #[arg(long, default_value = "")]
    options: String,
    source: String,
    target: PathBuf,
}

pub(super) fn run(order: &Order) -> Result<(), TaskError> {
    let target = order.target.display();
    order.line.ready(&target, &order.source)?;
    let is_mounted = is_mounted(&order.target);
    if is_mounted && order.has("bind") {
        tell(&format!("{target} is mounted already"));
        return Ok(());
    }
    fs::create_dir_all(&order.target)
        .or_else(|error| match fs::metadata(&order.target) {
            // A file can be bound on a file.
            Ok(_) => Ok(()),
            Err(_) => Err(error),
        })
        .map_err(order.line.failed(format!("make the mount point {target}")))?;
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
    let action = || format!("mount {} on {target}", order.source);
    Ok(order.line.run(OsStr::new("mount"), &words, action)?)
}

impl Order {
    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|have| have == option)
    }
}

fn is_mounted(target: &Path) -> bool {
    let text = mount_table::read(Path::new("/proc/self/mountinfo"));
    mount_points(&text).any(|point| point == target)
}

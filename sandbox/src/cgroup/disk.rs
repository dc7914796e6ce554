//! The disk behind a path, as the io controller names it.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::files::CgroupError;

/// `MAJOR:MINOR` of the block device at `path`, or of the one that holds the file there.
///
/// The controllers limit whole disks, so a partition counts as its disk.
pub(super) fn resolve(key: &str, path: &Path) -> Result<String, CgroupError> {
    let meta = fs::metadata(path).map_err(|source| CgroupError::Device {
        key: key.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    let number = if meta.file_type().is_block_device() {
        meta.rdev()
    } else {
        meta.dev()
    };
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    // Major 0 is a file system without a device: tmpfs, overlay, btrfs.
    if major == 0 {
        return Err(CgroupError::NoDevice {
            key: key.to_owned(),
            path: path.to_owned(),
        });
    }
    Ok(disk_of_partition(major, minor).unwrap_or_else(|| format!("{major}:{minor}")))
}

fn disk_of_partition(major: u32, minor: u32) -> Option<String> {
    let device: PathBuf = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    if !device.join("partition").exists() {
        return None;
    }
    let disk = fs::read_to_string(device.parent()?.join("dev")).ok()?;
    Some(disk.trim().to_owned())
}

//! The namespaces of a process, by their ids.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The inode numbers under `/proc/PID/ns` (`namespaces(7)`): two processes with the same number are
/// in the same namespace. `None` where the kernel has no such namespace, or no `/proc` told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespaceIds {
    pub user: Option<u64>,
    pub mnt: Option<u64>,
    pub pid: Option<u64>,
    pub net: Option<u64>,
    pub ipc: Option<u64>,
    pub uts: Option<u64>,
    pub cgroup: Option<u64>,
    pub time: Option<u64>,
}

impl NamespaceIds {
    /// Those of the calling process.
    pub fn of_self() -> Self {
        Self::under(Path::new("/proc/self/ns"))
    }

    fn under(directory: &Path) -> Self {
        let id = |name: &str| fs::metadata(directory.join(name)).map(|of| of.ino()).ok();
        Self {
            user: id("user"),
            mnt: id("mnt"),
            pid: id("pid"),
            net: id("net"),
            ipc: id("ipc"),
            uts: id("uts"),
            cgroup: id("cgroup"),
            time: id("time"),
        }
    }
}

//! What the kernel's tables say of file systems and swap that are to be let go.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::mount_table::unescaped_path;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) target: PathBuf,
    pub(super) kind: String,
    pub(super) is_read_only: bool,
}

impl Mounted {
    /// The kernel's own file systems hold nothing that could be lost, and are needed until the end.
    fn is_of_the_kernel(&self) -> bool {
        const KINDS: [&str; 18] = [
            "proc",
            "sysfs",
            "devtmpfs",
            "devpts",
            "cgroup",
            "cgroup2",
            "mqueue",
            "hugetlbfs",
            "securityfs",
            "debugfs",
            "tracefs",
            "configfs",
            "fusectl",
            "pstore",
            "bpf",
            "efivarfs",
            "binfmt_misc",
            "rpc_pipefs",
        ];
        KINDS.contains(&self.kind.as_str())
    }

    pub(super) fn is_of_network(&self) -> bool {
        const KINDS: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs"];
        KINDS.contains(&self.kind.as_str())
    }

    pub(super) fn can_go(&self) -> bool {
        let is_kept = ["/", "/run", "/dev"]
            .iter()
            .any(|kept| self.target == Path::new(kept));
        !is_kept && !self.is_of_the_kernel()
    }

    pub(super) fn holds_data(&self) -> bool {
        !self.is_read_only
            && !self.is_of_the_kernel()
            && self.kind != "tmpfs"
            && self.kind != "ramfs"
    }
}

pub(super) fn mounts() -> Vec<Mounted> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// proc_pid_mountinfo(5). Lines that are none are passed over.
fn parse_mounts(text: &str) -> Vec<Mounted> {
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let target = front.nth(4)?;
        let mut back = back.split(' ');
        let kind = back.next()?.to_owned();
        let of_file_system = back.nth(1).unwrap_or_default();
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Mounted {
            target: unescaped_path(target),
            kind,
            // Not the mount's own options: a read-only bind shows a file system that others write to.
            is_read_only: has_ro(of_file_system),
        })
    };
    text.lines().filter_map(parse).collect()
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) path: PathBuf,
    pub(super) is_file: bool,
    /// KiB.
    pub(super) used: u64,
}

impl Swap {
    /// A file system, a mapping, an array or a loop device cannot go while it is there.
    pub(super) fn pins(&self) -> bool {
        let name = self.path.strip_prefix("/dev").ok();
        let is_stacked = |name: &Path| {
            let name = name.to_string_lossy();
            ["dm-", "mapper/", "md", "loop"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        self.is_file || name.is_some_and(is_stacked)
    }

    /// Whether what lies in it has a place in so many KiB. Otherwise process 1 would be out of memory.
    pub(super) fn fits(&self, available: Option<u64>) -> bool {
        self.used == 0 || available.is_some_and(|available| self.used < available)
    }
}

/// proc_meminfo(5): KiB that can be had without swapping.
pub(super) fn available(text: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// proc_swaps(5): a line of titles, then one each: path, kind, size, used, priority.
pub(super) fn swaps(text: &str) -> Vec<Swap> {
    let swap = |line: &str| {
        let mut words = line.split_whitespace();
        let path = unescaped_path(words.next()?);
        let is_file = words.next()? == "file";
        let used = words.nth(1)?.parse().ok()?;
        Some(Swap {
            path,
            is_file,
            used,
        })
    };
    text.lines().skip(1).filter_map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_with_data_are_let_go_and_the_kernels_stay() {
        let text = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                    23 22 0:21 / /proc rw - proc proc rw\n\
                    24 22 8:2 / /srv/my\\040data rw - xfs /dev/sda2 rw\n\
                    25 22 8:3 / /mnt ro - ext4 /dev/sda3 ro\n\
                    26 22 0:25 / /run rw - tmpfs tmpfs rw\n\
                    27 22 8:4 / /bound ro - ext4 /dev/sda4 rw\n\
                    nonsense\n";
        let mounts = parse_mounts(text);
        let go: Vec<_> = mounts
            .iter()
            .filter(|m| m.can_go())
            .map(|m| &m.target)
            .collect();
        assert_eq!(
            go,
            [
                Path::new("/srv/my data"),
                Path::new("/mnt"),
                Path::new("/bound")
            ]
        );
        let data: Vec<_> = mounts
            .iter()
            .filter(|m| m.holds_data())
            .map(|m| &m.target)
            .collect();
        assert_eq!(
            data,
            [
                Path::new("/"),
                Path::new("/srv/my data"),
                Path::new("/bound")
            ]
        );
    }

    #[test]
    fn only_swap_that_keeps_something_busy_and_fits_into_memory_is_let_go() {
        let text = "Filename\tType\tSize\tUsed\tPriority\n\
                    /dev/sda2                               partition\t8\t0\t-2\n\
                    /my\\040swap                              file\t800\t500\t-3\n\
                    /dev/dm-1                               partition\t8\t0\t-4\n";
        let swaps = swaps(text);
        let paths: Vec<_> = swaps.iter().map(|swap| swap.path.as_path()).collect();
        let names = ["/dev/sda2", "/my swap", "/dev/dm-1"].map(Path::new);
        assert_eq!(paths, names);
        let pins: Vec<_> = swaps.iter().map(Swap::pins).collect();
        assert_eq!(pins, [false, true, true]);
        let fits = |kib| swaps.iter().map(|swap| swap.fits(kib)).collect::<Vec<_>>();
        assert_eq!(fits(Some(500)), [true, false, true]);
        assert_eq!(fits(Some(501)), [true, true, true]);
        assert_eq!(fits(None), [true, false, true]);
        assert!(super::swaps("").is_empty());
    }

    #[test]
    fn memory_that_can_be_had_is_read_from_the_kernels_table() {
        let text = "MemTotal:  500 kB\nMemAvailable:   120 kB\n";
        assert_eq!(available(text), Some(120));
        assert_eq!(available("nonsense"), None);
    }
}

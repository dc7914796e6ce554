//! What the kernel's table says of file systems that are to be let go.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::super::fstab;
use crate::mount_table::{self, unescaped_path};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) target: PathBuf,
    pub(super) kind: String,
    source: PathBuf,
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
        fstab::is_of_network(&self.kind)
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
    parse_mounts(&mount_table::read(Path::new("/proc/self/mountinfo")))
}

/// The device that the root file system was mounted from, as `/dev/mapper/root`. Of file systems of several devices, as
/// btrfs, it is one of them; none where a root has no device, as an overlay or a share.
pub(super) fn root_source(mounts: Vec<Mounted>) -> Option<PathBuf> {
    let is_root_device =
        |mounted: &Mounted| mounted.target == Path::new("/") && mounted.source.starts_with("/dev");
    // What was mounted over an initramfs comes later.
    let root = mounts.into_iter().rfind(is_root_device);
    root.map(|root| root.source)
}

/// proc_pid_mountinfo(5). Lines that are none are passed over.
fn parse_mounts(text: &str) -> Vec<Mounted> {
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let target = front.nth(4)?;
        let mut back = back.split(' ');
        let kind = back.next()?.to_owned();
        let source = back.next().unwrap_or_default();
        let of_file_system = back.next().unwrap_or_default();
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Mounted {
            target: unescaped_path(target),
            kind,
            source: unescaped_path(source),
            // Not the mount's own options: a read-only bind shows a file system that others write to.
            is_read_only: has_ro(of_file_system),
        })
    };
    text.lines().filter_map(parse).collect()
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
    fn the_device_of_the_root_is_found_whatever_its_number() {
        let source = |text: &str| root_source(parse_mounts(text));
        let text = "1 1 0:2 / / rw - rootfs rootfs rw\n\
                    22 1 0:21 /@ / rw,relatime shared:1 - btrfs /dev/mapper/my\\040root rw,subvol=/@\n\
                    23 22 8:2 / /srv rw - xfs /dev/sda2 rw\n";
        assert_eq!(source(text), Some("/dev/mapper/my root".into()));
        assert_eq!(source("22 1 0:21 / / rw - overlay overlay rw\n"), None);
        assert_eq!(source(""), None);
    }
}

//! Attributes of mounts: of a whole tree at once by `mount_setattr(2)`, and on kernels before 5.12 of one
//! mount after the other, found in `mountinfo`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};

use super::apply::{Mounts, attach};
use super::resolve::open_below;
use crate::sys::mount::{Attributes, forbid, stop_propagation};
use crate::sys::{Errno, files};

impl Mounts {
    /// Nothing spreads out of this mount namespace any more.
    pub(super) fn cut_off(&self, root: BorrowedFd<'_>, from_host: bool) -> Result<(), Errno> {
        if self.whole_trees {
            return stop_propagation(root, from_host);
        }
        let how = if from_host {
            MountPropagationFlags::DOWNSTREAM
        } else {
            MountPropagationFlags::PRIVATE
        };
        Ok(mount_change(c"/", how | MountPropagationFlags::REC)?)
    }

    /// Adds attributes to the mount whose root `mount` is, with every mount below where `recursive`.
    /// `EINVAL` when `mount` is not the root of a mount.
    pub(super) fn forbid(
        &self,
        mount: BorrowedFd<'_>,
        attributes: Attributes,
        recursive: bool,
    ) -> Result<(), Errno> {
        if self.whole_trees {
            forbid(mount, attributes, recursive)
        } else {
            one_by_one(mount, attributes, recursive)
        }
    }

    /// Attaches a tree that forbids this much, with every mount below.
    pub(super) fn attach_forbidding(
        &self,
        tree: BorrowedFd<'_>,
        on: BorrowedFd<'_>,
        attributes: Attributes,
    ) -> Result<(), Errno> {
        if self.whole_trees {
            forbid(tree, attributes, true)?;
            return attach(tree, on);
        }
        // Only what is attached is in mountinfo.
        attach(tree, on)?;
        one_by_one(tree, attributes, true)
    }
}

fn one_by_one(mount: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> Result<(), Errno> {
    let (id, is_root) = identify(mount)?;
    if !is_root {
        return Err(Errno(libc::EINVAL));
    }
    let text = read_own_mountinfo()?;
    let tree = descend(&text, id).ok_or(Errno(libc::EINVAL))?;
    let prefix = tree.first().map(|first| first.path.clone());
    let prefix = prefix.unwrap_or_default();
    for (index, entry) in tree.iter().enumerate() {
        let flags = entry.flags | flags_of(attributes);
        if index == 0 {
            remount(mount, flags)?;
        } else if recursive {
            let below = entry.path.strip_prefix(&prefix).unwrap_or(&entry.path);
            let opened = open_below(mount, below, OFlags::PATH, ResolveFlags::NO_SYMLINKS)?;
            // Else another mount stands on top of it, which is in the list itself.
            if identify(opened.as_fd())? == (entry.id, true) {
                remount(opened.as_fd(), flags)?;
            }
        }
    }
    Ok(())
}

fn remount(mount: BorrowedFd<'_>, flags: MountFlags) -> Result<(), Errno> {
    let name = format!("/proc/self/fd/{}", mount.as_raw_fd());
    Ok(mount_remount(name, MountFlags::BIND | flags, c"")?)
}

/// The id of the mount behind `fd`, and whether `fd` is its root.
pub(super) fn identify(fd: BorrowedFd<'_>) -> Result<(u64, bool), Errno> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let is_root = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((stat.stx_mnt_id, is_root))
}

fn read_own_mountinfo() -> Result<Vec<u8>, Errno> {
    let file = files::open(c"/proc/self/mountinfo", libc::O_RDONLY)?;
    let mut text = Vec::new();
    loop {
        text.reserve(1 << 16);
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return Ok(text),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One line of `mountinfo` (`proc_pid_mountinfo(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: u64,
    parent: u64,
    path: PathBuf,
    flags: MountFlags,
}

/// The mount `id` and those below it, however deep, parents first.
fn descend(mountinfo: &[u8], id: u64) -> Option<Vec<Entry>> {
    let entries: Vec<Entry> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(entry)
        .collect();
    let mut tree = vec![entries.iter().find(|entry| entry.id == id)?.clone()];
    let mut next = 0;
    while let Some(above) = tree.get(next).map(|entry| entry.id) {
        let below = entries
            .iter()
            .filter(|entry| entry.parent == above && entry.id != above);
        tree.extend(below.cloned());
        next += 1;
    }
    Some(tree)
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let path = unescape(fields.nth(2)?);
    let options = fields.next()?.split(|byte| *byte == b',');
    let flags = options.fold(MountFlags::empty(), |flags, option| {
        flags
            | match option {
                b"ro" => MountFlags::RDONLY,
                b"nosuid" => MountFlags::NOSUID,
                b"nodev" => MountFlags::NODEV,
                b"noexec" => MountFlags::NOEXEC,
                b"noatime" => MountFlags::NOATIME,
                b"nodiratime" => MountFlags::NODIRATIME,
                b"relatime" => MountFlags::RELATIME,
                b"nosymfollow" => MountFlags::NOSYMFOLLOW,
                _ => MountFlags::empty(),
            }
    });
    Some(Entry {
        id,
        parent,
        path,
        flags,
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Spaces and their like are written as `\040`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 8).ok()
            });
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn flags_of(attributes: Attributes) -> MountFlags {
    [
        (Attributes::READ_ONLY, MountFlags::RDONLY),
        (Attributes::NO_SUID, MountFlags::NOSUID),
        (Attributes::NO_DEVICES, MountFlags::NODEV),
        (Attributes::NO_PROGRAMS, MountFlags::NOEXEC),
    ]
    .into_iter()
    .filter(|(attribute, _)| attributes.contains(*attribute))
    .fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MOUNTINFO: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:20 / /srv rw,nosuid,nodev,noexec,noatime - tmpfs tmpfs rw
31 30 0:21 / /srv/a\\040b\\134c ro,nodiratime,nosymfollow - tmpfs tmpfs rw
32 31 0:22 / /srv/a\\040b\\134c/deep rw - tmpfs tmpfs rw
40 22 0:23 / /srv rw - tmpfs tmpfs rw
41 40 0:24 / /srv/other rw - tmpfs tmpfs rw
";

    #[test]
    fn a_tree_of_mounts_is_found_by_ids_and_not_by_paths() {
        let tree = descend(MOUNTINFO, 30).unwrap();
        let ids: Vec<u64> = tree.iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [30, 31, 32]);
        assert_eq!(tree[1].path, Path::new("/srv/a b\\c"));
        assert_eq!(descend(MOUNTINFO, 99), None);
    }

    #[test]
    fn what_a_mount_forbids_already_is_kept() {
        let tree = descend(MOUNTINFO, 30).unwrap();
        let of = |index: usize| tree[index].flags;
        assert_eq!(
            of(0),
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME
        );
        assert_eq!(
            of(1),
            MountFlags::RDONLY | MountFlags::NODIRATIME | MountFlags::NOSYMFOLLOW
        );
        assert_eq!(of(2), MountFlags::empty());
    }

    #[test]
    fn lines_cut_short_are_no_mounts() {
        let whole = "22 1 254:0 / / ".len();
        for end in 0..MOUNTINFO.len() {
            assert_eq!(entry(&MOUNTINFO[..end]).is_none(), end < whole, "{end}");
        }
    }
}

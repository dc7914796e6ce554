//! What is in a private `/dev`.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, makedev};
use rustix::mount::{
    MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_set_string, move_mount, open_tree,
};

use super::apply::{finish, open_file_system};
use crate::sys::Errno;
use crate::sys::mount::{Attributes, forbid};

/// Name, path on the host, major and minor (`Documentation/admin-guide/devices.txt`).
const NODES: [(&CStr, &CStr, u32, u32); 6] = [
    (c"null", c"/dev/null", 1, 3),
    (c"zero", c"/dev/zero", 1, 5),
    (c"full", c"/dev/full", 1, 7),
    (c"random", c"/dev/random", 1, 8),
    (c"urandom", c"/dev/urandom", 1, 9),
    (c"tty", c"/dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];

/// Where the nodes of a `/dev` come from.
#[derive(Debug)]
pub(super) enum Nodes {
    Made,
    /// The host's, copied as mounts, in the order of [`NODES`].
    Held(Vec<OwnedFd>),
    /// The host's, whose `/dev` is not covered: each is held when it is its turn.
    OfHost,
}

/// The host's nodes, before they are covered.
pub(super) fn hold() -> Result<Nodes, Errno> {
    let all = NODES.iter().map(of_host);
    Ok(Nodes::Held(all.collect::<Result<_, _>>()?))
}

fn of_host((_, path, major, minor): &(&CStr, &CStr, u32, u32)) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let copy = open_tree(CWD, *path, flags)?;
    match is_device(copy.as_fd(), makedev(*major, *minor))? {
        true => Ok(copy),
        false => Err(Errno(libc::ENODEV)),
    }
}

/// Fills the new `/dev` of a wall: with nodes of its own, or with the ones held.
pub(super) fn fill(dev: BorrowedFd<'_>, from: Nodes, whole_trees: bool) -> Result<(), Errno> {
    nodes(dev, from, whole_trees).map_err(|(errno, _)| errno)?;
    for (to, name) in LINKS {
        rustix::fs::symlinkat(to, dev, name)?;
    }
    for name in [c"pts", c"shm", c"mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

/// For a `/dev` that is asked for by name: devices can be opened in it where its nodes are its own.
pub(super) fn tmpfs(made: bool) -> Result<OwnedFd, Errno> {
    let file_system = open_file_system(c"tmpfs")?;
    fsconfig_set_string(file_system.as_fd(), c"mode", c"0755")?;
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID;
    if !made {
        flags |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    finish(&file_system, flags)
}

/// Fills it, as bubblewrap's users know it: `shm` is a directory, and `core` leads to the kernel's.
/// An error names what could not be made.
pub(super) fn fill_as_asked(
    dev: BorrowedFd<'_>,
    made: bool,
    whole_trees: bool,
) -> Result<(), (Errno, &'static str)> {
    let from = if made { Nodes::Made } else { Nodes::OfHost };
    nodes(dev, from, whole_trees)?;
    let core = (c"/proc/kcore", c"core");
    for (to, name) in LINKS.iter().chain([&core]) {
        rustix::fs::symlinkat(*to, dev, *name)
            .map_err(|errno| (errno.into(), name.to_str().unwrap_or_default()))?;
    }
    for (name, text) in [(c"shm", "shm"), (c"pts", "pts")] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))
            .map_err(|errno| (errno.into(), text))?;
    }
    terminals(dev).map_err(|errno| (errno, "pts"))
}

fn terminals(dev: BorrowedFd<'_>) -> Result<(), Errno> {
    let file_system = open_file_system(c"devpts")?;
    fsconfig_set_string(file_system.as_fd(), c"ptmxmode", c"0666")?;
    fsconfig_set_string(file_system.as_fd(), c"mode", c"0620")?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    put(&finish(&file_system, flags)?, dev, c"pts")
}

fn nodes(dev: BorrowedFd<'_>, from: Nodes, whole_trees: bool) -> Result<(), (Errno, &'static str)> {
    let failed = |name: &'static CStr| move |errno| (errno, name.to_str().unwrap_or_default());
    let are_mounts = !matches!(from, Nodes::Made);
    match from {
        Nodes::Made => {
            for (name, _, major, minor) in NODES {
                let mode = Mode::from_raw_mode(0o666);
                let device = makedev(major, minor);
                rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, device)
                    .map_err(Errno::from)
                    .map_err(failed(name))?;
            }
        }
        Nodes::OfHost => {
            for node in &NODES {
                of_host(node)
                    .and_then(|held| bind(dev, node.0, &held))
                    .map_err(failed(node.0))?;
            }
        }
        Nodes::Held(nodes) => {
            for ((name, ..), node) in NODES.iter().zip(nodes) {
                bind(dev, name, &node).map_err(failed(name))?;
            }
        }
    }
    // No node can be executed; where it costs one call, their mounts say so too.
    if are_mounts && whole_trees {
        forbid(dev, Attributes::NO_SUID, true).map_err(failed(c"null"))?;
    }
    Ok(())
}

/// Puts a node on a new, empty file.
fn bind(dev: BorrowedFd<'_>, name: &CStr, node: &OwnedFd) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o444);
    rustix::fs::mknodat(dev, name, FileType::RegularFile, mode, 0)?;
    put(node, dev, name)
}

/// Nobody else can reach a `/dev` that is being filled: a name in it is what we made of it. (No link is
/// followed in any case.)
pub(super) fn put(mount: &OwnedFd, dev: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount, c"", dev, name, flags)?)
}

pub(super) fn is_null(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_device(fd, makedev(1, 3))
}

fn is_device(fd: BorrowedFd<'_>, device: Dev) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(character && stat.st_rdev == device)
}

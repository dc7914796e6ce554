//! What is in a private `/dev`.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags, makedev};

use super::apply::{attach, clone_of};
use crate::sys::{Errno, files};

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

/// The host's nodes, copied as mounts, in the order of [`NODES`].
pub(super) fn hold() -> Result<Vec<OwnedFd>, Errno> {
    NODES
        .iter()
        .map(|(_, path, major, minor)| {
            let node = files::open(path, libc::O_PATH | libc::O_NOFOLLOW)?;
            if !is_device(node.as_fd(), makedev(*major, *minor))? {
                return Err(Errno(libc::ENODEV));
            }
            clone_of(node.as_fd(), false)
        })
        .collect()
}

/// Fills the new `/dev`: with nodes of its own, or with the ones held.
pub(super) fn fill(dev: BorrowedFd<'_>, held: Option<Vec<OwnedFd>>) -> Result<(), Errno> {
    match held {
        None => {
            for (name, _, major, minor) in NODES {
                let mode = Mode::from_raw_mode(0o666);
                let device = makedev(major, minor);
                rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, device)?;
            }
        }
        Some(nodes) => {
            for ((name, ..), node) in NODES.iter().zip(nodes) {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(rustix::fs::openat(
                    dev,
                    *name,
                    flags,
                    Mode::from_raw_mode(0o600),
                )?);
                let place = files::open_at(dev, name, libc::O_PATH | libc::O_NOFOLLOW)?;
                attach(node.as_fd(), place.as_fd())?;
            }
        }
    }
    for (to, name) in LINKS {
        rustix::fs::symlinkat(to, dev, name)?;
    }
    for name in [c"pts", c"shm", c"mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

pub(super) fn is_null(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_device(fd, makedev(1, 3))
}

fn is_device(fd: BorrowedFd<'_>, device: Dev) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(character && stat.st_rdev == device)
}

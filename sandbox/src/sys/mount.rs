//! `mount_setattr(2)` (Linux 5.12), which rustix lacks.
#![allow(unsafe_code, reason = "one system call on a live struct")]

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, done};

/// What a mount forbids: `MOUNT_ATTR_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes(u64);

impl Attributes {
    pub(crate) const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    pub(crate) const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    pub(crate) const NO_DEVICES: Self = Self(libc::MOUNT_ATTR_NODEV);
    pub(crate) const NO_PROGRAMS: Self = Self(libc::MOUNT_ATTR_NOEXEC);
    /// Read-only, and neither setuid programs, nor devices, nor programs at all.
    pub(crate) const INERT: Self = Self(
        libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
    );
}

impl Attributes {
    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Attributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Adds attributes to the mount whose root `mount` is; `recursive` includes every mount below.
/// `EINVAL` when `mount` is not the root of a mount.
pub(crate) fn forbid(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    set(mount, attributes.0, 0, recursive)
}

/// No mount or unmount below `mount` is seen elsewhere; those made elsewhere are seen here only
/// `from_host`.
pub(crate) fn stop_propagation(mount: BorrowedFd<'_>, from_host: bool) -> Result<(), Errno> {
    let how = if from_host {
        libc::MS_SLAVE
    } else {
        libc::MS_PRIVATE
    };
    set(mount, 0, how, true)
}

/// Owners are those that `namespace`, a user namespace, makes of them. `EINVAL` when a file system of the
/// tree cannot, or when the tree is attached.
pub(crate) fn translate_owners(
    tree: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> Result<(), Errno> {
    let number = u64::try_from(namespace.as_raw_fd()).map_err(|_| Errno(libc::EBADF))?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: number,
    };
    call(tree, &attributes, recursive)
}

fn set(mount: BorrowedFd<'_>, add: u64, propagation: u64, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: add,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    call(mount, &attributes, recursive)
}

fn call(
    mount: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    recursive: bool,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a constant, the struct is live and of the size passed; a user namespace's
    // number in it is that of a descriptor borrowed by the caller, which the kernel checks.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    })
}

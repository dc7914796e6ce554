//! The three calls of landlock (Linux 5.13), which neither libc nor rustix wrap.
#![allow(unsafe_code, reason = "raw system calls on live structs")]

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::{Errno, descriptor, done};

/// `landlock_create_ruleset(2)`: the sets are `LANDLOCK_ACCESS_FS_*`, `LANDLOCK_ACCESS_NET_*` and
/// `LANDLOCK_SCOPE_*`. The kernel refuses bits it does not know. Close-on-exec.
pub(crate) fn create_ruleset(files: u64, tcp: u64, scopes: u64) -> Result<RawFd, Errno> {
    // struct landlock_ruleset_attr; an older kernel takes a longer one whose rest is zero.
    let attribute = [files, tcp, scopes];
    // SAFETY: pointer and size are those of one live array; no flag asks for another meaning.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attribute.as_ptr(),
            size_of_val(&attribute),
            0,
        )
    })
}

/// `LANDLOCK_RULE_PATH_BENEATH`. `ruleset` is a number that [`create_ruleset`] gave.
pub(crate) fn allow_path(ruleset: RawFd, path: BorrowedFd<'_>, rights: u64) -> Result<(), Errno> {
    const LANDLOCK_RULE_PATH_BENEATH: i32 = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    let attribute = PathBeneath {
        allowed_access: rights,
        parent_fd: path.as_raw_fd(),
    };
    // SAFETY: struct landlock_path_beneath_attr, packed as the kernel has it, lives for the call; the
    // descriptor in it is borrowed.
    done(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset,
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const attribute,
            0,
        )
    })
}

/// `LANDLOCK_RULE_NET_PORT`.
pub(crate) fn allow_port(ruleset: RawFd, port: u16, rights: u64) -> Result<(), Errno> {
    const LANDLOCK_RULE_NET_PORT: i32 = 2;
    // struct landlock_net_port_attr: the port in the machine's byte order.
    let attribute = [rights, u64::from(port)];
    // SAFETY: the struct is two u64s, which live for the call.
    done(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset,
            LANDLOCK_RULE_NET_PORT,
            attribute.as_ptr(),
            0,
        )
    })
}

/// Holds this process to the rules, for good.
pub(crate) fn restrict_self(ruleset: RawFd) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) })
}

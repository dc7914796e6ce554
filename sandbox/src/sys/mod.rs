//! The system calls nobody wraps, and all `unsafe` of the crate: typed, safe to call, no policy.
//!
//! Two kinds of caller use it: ordinary code, and the child of `clone3` of ours, between that call and
//! `execve`, which shares its parent's memory. For the second nothing here allocates, takes a
//! lock or touches the C library's own state: every call goes straight to the kernel.

pub(crate) mod bpf;
pub(crate) mod capabilities;
pub(crate) mod clone;
pub(crate) mod crash;
pub(crate) mod descriptors;
pub(crate) mod disks;
mod early;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod ipc;
pub(crate) mod landlock;
pub(crate) mod lend;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod probe_clone;
pub(crate) mod process;
pub(crate) mod signals;

use std::fmt;
use std::io;

/// What the kernel answered. Kept as a number so that it can cross a process boundary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const ENOENT: Self = Self(libc::ENOENT);
    pub(crate) const EACCES: Self = Self(libc::EACCES);
    pub(crate) const ENOTDIR: Self = Self(libc::ENOTDIR);
    pub(crate) const EEXIST: Self = Self(libc::EEXIST);
    pub(crate) const ELOOP: Self = Self(libc::ELOOP);
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", text_of(self.0))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<syscalls::Errno> for Errno {
    fn from(errno: syscalls::Errno) -> Self {
        Self(errno.into_raw())
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// The kernel's words for an error number, lower case, without Rust's "(os error N)".
pub(crate) fn text_of(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        // An abbreviation at the start ("RFS specific error") keeps its capitals.
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().collect::<String>() + characters.as_str()
        }
        _ => text.to_owned(),
    }
}

/// Turns the C library's −1 into the error number it stands for.
fn check(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned == -1 {
        Err(Errno(
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        ))
    } else {
        Ok(returned)
    }
}

/// Only success or failure matters.
fn done(returned: libc::c_long) -> Result<(), Errno> {
    check(returned).map(drop)
}

/// A descriptor the kernel has just made.
fn descriptor(returned: libc::c_long) -> Result<i32, Errno> {
    check(returned).map(|number| i32::try_from(number).unwrap_or(i32::MAX))
}

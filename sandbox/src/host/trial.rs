//! What only trying tells: whether the user namespaces that files promise are really to be had.
//!
//! A container's system call filter, AppArmor (Ubuntu lets some programs through its switch and not
//! others) or a `/proc` with something mounted over it refuse in their own ways, which no setting
//! shows. A box that is compiled with that knowledge names the wall; without it, it fails at a step.

use std::io;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::{Host, UserNamespaces};
use crate::sys::probe_clone::{Prepared, in_new_namespaces};

impl Host {
    /// The same host, where a user namespace and a `/proc` inside one were tried. Nothing is tried
    /// where boxes take none: by root. Starts up to two children that end at once; about a
    /// millisecond, not for every launch.
    #[must_use]
    pub fn tried(mut self) -> Self {
        if self.is_root {
            return self;
        }
        let own = own_maps(&self);
        let kinds = flags(&[libc::CLONE_NEWUSER, libc::CLONE_NEWNS]);
        match in_new_namespaces(kinds, settle, &own) {
            Ok(()) => self.user_namespaces = UserNamespaces::Allowed,
            Err(error) => {
                if self.user_namespaces == UserNamespaces::Allowed {
                    let why = format!("this system ({})", words(&error));
                    self.user_namespaces = UserNamespaces::Refused(why);
                }
                return self;
            }
        }
        let kinds = kinds | flags(&[libc::CLONE_NEWPID]);
        match in_new_namespaces(kinds, mount_proc, &own) {
            Ok(()) => self.no_new_proc = None,
            Err(error) => {
                let why = || format!("the kernel says: {}", words(&error));
                self.no_new_proc.get_or_insert_with(why);
            }
        }
        self
    }
}

fn words(error: &io::Error) -> String {
    crate::sys::text_of(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Nobody but ourselves, under our own numbers.
pub(super) fn own_maps(host: &Host) -> Prepared {
    Prepared {
        uid_map: format!("{0} {0} 1", host.uid),
        gid_map: format!("{0} {0} 1", host.gid),
        user_namespace: None,
    }
}

pub(super) fn flags(kinds: &[libc::c_int]) -> libc::c_ulong {
    // The constants are positive (the highest is 0x4000_0000).
    kinds.iter().fold(0, |all, kind| {
        all | libc::c_ulong::from(kind.unsigned_abs())
    })
}

/// In a child with namespaces of its own: takes its place in the user namespace, if it has one, and
/// leaves the outer mounts alone. System calls only.
pub(super) fn settle(own: &Prepared) -> io::Result<()> {
    if !own.uid_map.is_empty() {
        put(c"/proc/self/setgroups", "deny")?;
        put(c"/proc/self/uid_map", &own.uid_map)?;
        put(c"/proc/self/gid_map", &own.gid_map)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change(c"/", private)?)
}

/// The same, and its own `/proc`.
pub(super) fn mount_proc(own: &Prepared) -> io::Result<()> {
    settle(own)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount(c"proc", c"/proc", c"proc", flags, None)?)
}

fn put(path: &std::ffi::CStr, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

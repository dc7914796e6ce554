//! What only trying tells: whether the user namespaces that files promise are really to be had.
//!
//! A container's system call filter, AppArmor (Ubuntu lets some programs through its switch and not
//! others) or a `/proc` with something mounted over it refuse in their own ways, which no setting
//! shows. A box that is compiled with that knowledge names the wall; without it, it fails at a step.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::{Forbidder, Host, UserNamespaces};
use crate::capability::CAP_SETFCAP;
use crate::sys::probe_clone::{Prepared, in_new_namespaces, refused_mount_call};
use crate::sys::text_of;

impl Host {
    /// The same host, with what was tried. Behind a filter: the calls that make mounts, in a mount namespace. By
    /// who is not root and so takes a user namespace for a box: that namespace, and in one a host name and a
    /// `/proc`. By root without a filter nothing is.
    ///
    /// Each trial is a child that ends at once: up to three without a filter, which take about a millisecond, and
    /// behind one another, and up to five more to find the call that it refuses. Not for every launch.
    #[must_use]
    pub fn tried(mut self) -> Self {
        self.no_new_mounts = self.who_forbids_mounts();
        if self.is_root {
            return self;
        }
        let own = own_maps(&self);
        let kinds = flags(&[libc::CLONE_NEWUSER, libc::CLONE_NEWNS]);
        match in_new_namespaces(kinds, settle, &own) {
            Ok(()) => self.user_namespaces = UserNamespaces::Allowed,
            Err(error) => {
                if self.user_namespaces == UserNamespaces::Allowed {
                    let why = self.who_forbids(&error);
                    self.user_namespaces = UserNamespaces::Refused(why);
                }
                return self;
            }
        }
        let named = flags(&[libc::CLONE_NEWUSER, libc::CLONE_NEWUTS]);
        self.no_new_hostname = in_new_namespaces(named, set_hostname, &own)
            .err()
            .map(|error| format!("{} forbids it", forbidder(&error)));
        let kinds = kinds | flags(&[libc::CLONE_NEWPID]);
        match in_new_namespaces(kinds, mount_proc, &own) {
            Ok(()) => self.no_new_proc = None,
            Err(error) => {
                let why = || format!("the kernel says: {}", text_of(number(&error)));
                self.no_new_proc.get_or_insert_with(why);
            }
        }
        self
    }

    /// Behind a filter: the call for mounts that it refuses. docker's has no pivot_root(2), whatever the
    /// capabilities.
    fn who_forbids_mounts(&self) -> Option<String> {
        if !is_behind_filter() {
            return None;
        }
        let kinds = match self.is_root {
            true => flags(&[libc::CLONE_NEWNS]),
            false => flags(&[libc::CLONE_NEWUSER, libc::CLONE_NEWNS]),
        };
        // Without a namespace there is nothing to be asked: another wall says so.
        let (name, error) = refused_mount_call(kinds).ok()??;
        Some(format!("{} refuses {name}", forbidder(&error)))
    }

    /// Who keeps us from a user namespace with nobody but ourselves in it, where no setting does.
    fn who_forbids(&self, error: &io::Error) -> Forbidder {
        let alone = in_new_namespaces(
            flags(&[libc::CLONE_NEWUSER]),
            |_| Ok(()),
            &Prepared::default(),
        );
        // user_namespaces(7): since Linux 5.12 who maps user 0 holds this one.
        if alone.is_ok() && self.uid == 0 && !self.has_capability(CAP_SETFCAP) {
            return Forbidder::NoFileCapability;
        }
        forbidder(error)
    }
}

/// `/proc/pid/status` of proc_pid_status(5): 2 is a filter.
fn is_behind_filter() -> bool {
    super::status::text(Path::new("/proc/self/status"))
        .is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"))
}

/// Who refuses what the kernel itself lets the owner of a user namespace do.
fn forbidder(error: &io::Error) -> Forbidder {
    let errno = number(error);
    match is_behind_filter() {
        true => Forbidder::Filter(errno),
        false => Forbidder::System(errno),
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
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

/// In a UTS namespace of its own: gives it a name.
pub(super) fn set_hostname(_: &Prepared) -> io::Result<()> {
    Ok(rustix::system::sethostname(b"herd")?)
}

fn put(path: &std::ffi::CStr, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

//! Idmapped mounts (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`, Linux 5.12): owners on disk appear as others.
//!
//! The kernel takes the translation from a user namespace, whose ids inside are those on disk and whose
//! ids outside are those that the box sees. A process is started in one for as long as it takes to hold it.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::order::Surroundings;
use crate::compile::CompileError;
use crate::config::{IdMappedMount, IdRange};
use crate::host::KernelVersion;
use crate::identity::maps::{self, Ids};
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::mount::translate_owners;
use crate::sys::{Errno, process};

/// Ranges from ids on disk to ids in the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMap {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

const ID_MAPPED_MOUNTS: KernelVersion = KernelVersion {
    major: 5,
    minor: 12,
};

pub(super) fn plan(wanted: &IdMappedMount, launch: Surroundings) -> Result<IdMap, CompileError> {
    if launch.kernel < ID_MAPPED_MOUNTS {
        return Err(CompileError::Root("an idmapped mount takes Linux 5.12"));
    }
    if !launch.is_root || launch.in_user_namespace {
        return Err(CompileError::Root(
            "an idmapped mount takes root, and a box without a user namespace of its own",
        ));
    }
    maps::check(Ids::Users, &wanted.uids)?;
    maps::check(Ids::Groups, &wanted.gids)?;
    Ok(IdMap {
        uids: turned(&wanted.uids),
        gids: turned(&wanted.gids),
    })
}

/// Inside the namespace of the translation are the ids on disk.
fn turned(ranges: &[IdRange]) -> Vec<IdRange> {
    let turn = |range: &IdRange| IdRange {
        inside: range.outside,
        outside: range.inside,
        count: range.count,
    };
    ranges.iter().map(turn).collect()
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ranges: &[IdRange]| -> String {
            let word = |range: &IdRange| {
                let IdRange {
                    inside,
                    outside,
                    count,
                } = range;
                format!("{inside}-{} as {outside}", inside + count - 1)
            };
            ranges.iter().map(word).collect::<Vec<_>>().join(", ")
        };
        let (uids, gids) = (list(&self.uids), list(&self.gids));
        write!(f, ", users {uids}, groups {gids}")
    }
}

impl IdMap {
    /// Translates the owners of a tree that is attached nowhere yet.
    pub(super) fn apply(&self, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        let namespace = self
            .namespace()
            .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
        translate_owners(tree, namespace.as_fd(), true)
    }

    fn namespace(&self) -> io::Result<OwnedFd> {
        let child = match fork(
            Parent::Ourselves,
            u64::from(libc::CLONE_NEWUSER.unsigned_abs()),
        )? {
            Side::Parent(child) => child,
            Side::Child => stay(),
        };
        let namespace = self.fill(&child);
        rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL)?;
        rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        namespace
    }

    fn fill(&self, child: &Child) -> io::Result<OwnedFd> {
        let place = format!("/proc/{}", number_in_proc(child.pidfd.as_fd())?);
        fs::write(format!("{place}/uid_map"), maps::text(&self.uids))?;
        fs::write(format!("{place}/gid_map"), maps::text(&self.gids))?;
        Ok(fs::File::open(format!("{place}/ns/user"))?.into())
    }
}

/// The child's part: to be there.
fn stay() -> ! {
    if process::die_with_parent().is_ok() {
        loop {
            // Nothing ever arrives; only SIGKILL ends it.
            if rustix::event::poll(&mut [], None).is_err() {
                break;
            }
        }
    }
    process::exit_now(1)
}

/// The number of a process in the namespace of the mounted `/proc`, which is not always ours.
fn number_in_proc(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_is_told_from_the_disk_to_the_box() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let map = IdMap {
            uids: turned(&[range(0, 100_000, 1000), range(5000, 7, 1)]),
            gids: turned(&[range(0, 0, 1)]),
        };
        assert_eq!(
            map.to_string(),
            ", users 100000-100999 as 0, 7-7 as 5000, groups 0-0 as 0"
        );
        assert_eq!(maps::text(&map.uids), "100000 0 1000\n7 5000 1\n");
    }
}

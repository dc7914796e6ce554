//! How a group tells us things: that it is empty, that it ran out of memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};

use super::apply::MAX_DEPTH;
use super::files::{CgroupError, groups_below, is_gone, keyed, read_if_there, write};
use super::plan::CgroupPlan;
use crate::host::Cgroups;

/// `cgroup.events`, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    pub populated: bool,
    pub frozen: bool,
}

/// Reads the text of a `cgroup.events`; what is missing counts as 0.
pub fn parse_events(text: &str) -> Events {
    Events {
        populated: keyed(text, "populated") == Some(1),
        frozen: keyed(text, "frozen") == Some(1),
    }
}

/// Opens the v2 group's `cgroup.events`. The descriptor is ready for EPOLLPRI (mio's
/// `Interest::PRIORITY`) after each change; the reader then reads from offset 0 (`pread(2)`) and
/// takes ENODEV as "removed, so empty". `None` where there is no v2.
///
/// # Errors
/// [`CgroupError::Read`].
pub fn open_events(plan: &CgroupPlan) -> Result<Option<File>, CgroupError> {
    plan.v2
        .as_ref()
        .map(|leaf| open(leaf.path.join("cgroup.events")))
        .transpose()
}

/// A descriptor that becomes ready when the group ran out of memory.
#[derive(Debug)]
pub enum OomWatch {
    /// `memory.events`: ready for EPOLLPRI, at any of its changes; [`oom_kills`] tells which.
    V2(File),
    /// An eventfd: readable (EPOLLIN) after an out-of-memory, and when the group is removed.
    V1(OwnedFd),
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V2(file) => file.as_fd(),
            Self::V1(fd) => fd.as_fd(),
        }
    }
}

/// Watches for out-of-memory kills; `None` for a service without a memory group.
///
/// # Errors
/// [`CgroupError`] when the group is there and cannot be watched.
pub fn watch_oom(plan: &CgroupPlan) -> Result<Option<OomWatch>, CgroupError> {
    if let Some(leaf) = plan.has_v2("memory") {
        return Ok(Some(OomWatch::V2(open(leaf.path.join("memory.events"))?)));
    }
    let Some(leaf) = plan.v1_leaf("memory") else {
        return Ok(None);
    };
    let file = leaf.path.join("cgroup.event_control");
    let control = open(leaf.path.join("memory.oom_control"))?;
    let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| {
        CgroupError::Read {
            path: file.clone(),
            source: errno.into(),
        }
    })?;
    let pair = format!("{} {}", ready.as_raw_fd(), control.as_raw_fd());
    write(&file, &pair)?;
    Ok(Some(OomWatch::V1(ready)))
}

/// How many processes of the service, those of groups that it made included, the kernel killed for
/// want of memory; `None` where nobody counts, 0 when the group is gone.
///
/// # Errors
/// [`CgroupError::Read`].
pub fn oom_kills(plan: &CgroupPlan) -> Result<Option<u64>, CgroupError> {
    // v2 counts for all groups below, whoever's limit it was: the service's, its slice's, or the
    // whole machine's memory.
    if let Some(leaf) = &plan.v2
        && let Some(text) = read_if_there(&leaf.path.join("memory.events"))?
    {
        return Ok(Some(keyed(&text, "oom_kill").unwrap_or(0)));
    }
    match (plan.has_v2("memory"), plan.v1_leaf("memory")) {
        (Some(_), _) => Ok(Some(0)),
        (None, Some(leaf)) => oom_kills_v1(&leaf.path, MAX_DEPTH).map(Some),
        (None, None) => Ok(None),
    }
}

/// How many processes the kernel killed for want of memory in the caller's own group and below it, in a
/// container those of the container; `None` where nobody counts.
pub fn own_oom_kills(cgroups: &Cgroups) -> Option<u64> {
    let counted = |file: PathBuf| read_if_there(&file).ok().flatten();
    let v2 = cgroups.v2.as_ref();
    if let Some(text) = v2.and_then(|v2| counted(v2.own.join("memory.events"))) {
        return keyed(&text, "oom_kill");
    }
    let v1 = cgroups.v1.get("memory")?;
    keyed(&counted(v1.own.join("memory.oom_control"))?, "oom_kill")
}

/// v1 counts in the very group in which the victim was.
fn oom_kills_v1(group: &Path, depth: u32) -> Result<u64, CgroupError> {
    let text = read_if_there(&group.join("memory.oom_control"))?.unwrap_or_default();
    let mut kills = keyed(&text, "oom_kill").unwrap_or(0);
    if depth > 0 {
        for below in groups_below(group)? {
            kills += oom_kills_v1(&below, depth - 1)?;
        }
    }
    Ok(kills)
}

fn open(path: PathBuf) -> Result<File, CgroupError> {
    File::open(&path).map_err(|source: io::Error| {
        if is_gone(&source) {
            CgroupError::Gone(path)
        } else {
            CgroupError::Read { path, source }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whatever_else_stands_there() {
        let events = parse_events("populated 1\nfrozen 0\nnew_thing 7\n");
        assert_eq!(
            events,
            Events {
                populated: true,
                frozen: false
            }
        );
        assert_eq!(parse_events("gar\nbage"), Events::default());
    }
}

//! The processes of a service: who they are, and what is done to all of them at once.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, pread};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::apply::MAX_DEPTH;
use super::events::{open_events, parse_events};
use super::files::{CgroupError, groups_below, is_gone, keyed, read_if_there, write};
use super::plan::CgroupPlan;

/// The processes of the service, in its group and in those it made below, as the caller's PID
/// namespace numbers them (0 for one that the namespace cannot see). A group that is gone has none.
///
/// # Errors
/// [`CgroupError::Read`], [`CgroupError::NoHierarchy`] for an empty plan.
pub fn pids(plan: &CgroupPlan) -> Result<Vec<i32>, CgroupError> {
    let path = plan.tracking_path().ok_or(CgroupError::NoHierarchy)?;
    let mut pids = BTreeSet::new();
    collect(path, MAX_DEPTH, &mut pids)?;
    Ok(pids.into_iter().collect())
}

/// Claims that the service has a process left. v2 answers for all groups below in one read.
///
/// # Errors
/// As [`pids`].
pub fn is_populated(plan: &CgroupPlan) -> Result<bool, CgroupError> {
    if let Some(leaf) = &plan.v2 {
        let events = read_if_there(&leaf.path.join("cgroup.events"))?;
        return Ok(events.is_some_and(|text| keyed(&text, "populated") == Some(1)));
    }
    Ok(!pids(plan)?.is_empty())
}

/// Kills every process of the service with SIGKILL; none can fork its way out.
///
/// v2 does it in the kernel (`cgroup.kill`, 5.14). Elsewhere the group is frozen if it can be,
/// signalled, and thawed. The processes die soon after; [`open_events`] tells
/// when the group is empty.
///
/// # Errors
/// [`CgroupError`]; a group that is gone is no error.
pub fn kill(plan: &CgroupPlan) -> Result<(), CgroupError> {
    if let Some(leaf) = &plan.v2 {
        let file = leaf.path.join("cgroup.kill");
        match write(&file, "1") {
            Err(CgroupError::Write { source, .. }) if is_gone(&source) => {
                if !leaf.path.exists() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
            // A task that a v1 freezer holds does not die before it is thawed.
            Ok(()) => return v1_freezer(plan, "THAWED"),
        }
    }
    // A freezer stops them from forking while we go through the list; without one we go through it
    // until a pass finds nobody new.
    let frozen = freeze(plan);
    let mut killed = BTreeSet::new();
    for _ in 0..MAX_PASSES {
        let found: BTreeSet<i32> = pids(plan)?.into_iter().collect();
        if found.is_subset(&killed) {
            break;
        }
        signal_these(plan, &found, &[Signal::KILL])?;
        killed.extend(found);
    }
    // Only a plan without a freezer cannot be frozen, and that one needs no thawing either.
    if frozen.is_ok() {
        thaw(plan)?;
    }
    Ok(())
}

/// Waits for the last process of the service to end, at most `patience` for each change; says whether
/// it did. On v2 the kernel tells; on v1 the ends of the processes do.
///
/// # Errors
/// As [`pids`].
pub fn wait_until_empty(plan: &CgroupPlan, patience: Duration) -> Result<bool, CgroupError> {
    let patience = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let ended = |fd: BorrowedFd<'_>, flags| match poll(
        &mut [PollFd::from_borrowed_fd(fd, flags)],
        Some(&patience),
    ) {
        Ok(ready) => ready > 0,
        Err(errno) => errno == Errno::INTR,
    };
    let events = match open_events(plan) {
        Err(CgroupError::Gone(_)) => return Ok(true),
        events => events?,
    };
    while is_populated(plan)? {
        let changed = match &events {
            Some(events) => {
                let changed = ended(events.as_fd(), PollFlags::PRI);
                let mut bytes = [0; 256];
                // Takes the change note of; what it says is asked for above.
                changed && pread(events, &mut bytes, 0).is_ok() || !is_populated(plan)?
            }
            None => {
                let first = pids(plan)?.first().copied().and_then(Pid::from_raw);
                let pidfd = first.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
                match pidfd {
                    Some(Ok(pidfd)) => ended(pidfd.as_fd(), PollFlags::IN),
                    // It has ended meanwhile, or nobody is left.
                    Some(Err(_)) | None => true,
                }
            }
        };
        if !changed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A fork bomb outruns us at most this often.
const MAX_PASSES: u32 = 1000;

/// Sends the signals `numbers`, in this order, to every process of the service but those in `spared`.
///
/// # Errors
/// [`CgroupError::Signal`] for a process that we may not signal; all others got it. One that died
/// in between is no error.
pub fn signal(plan: &CgroupPlan, numbers: &[i32], spared: &[i32]) -> Result<(), CgroupError> {
    let path = plan.tracking_path().ok_or(CgroupError::NoHierarchy)?;
    let signals: Option<Vec<Signal>> = numbers
        .iter()
        .map(|number| Signal::from_named_raw(*number))
        .collect();
    let Some(signals) = signals else {
        return Err(CgroupError::Signal {
            pid: 0,
            path: path.to_owned(),
            source: std::io::Error::from_raw_os_error(libc::EINVAL),
        });
    };
    let wanted = pids(plan)?.into_iter().filter(|pid| !spared.contains(pid));
    signal_these(plan, &wanted.collect(), &signals)
}

/// Stops every process of the service where it is. It takes effect soon after, not at once.
///
/// # Errors
/// [`CgroupError::NoHierarchy`] where nothing can freeze.
pub fn freeze(plan: &CgroupPlan) -> Result<(), CgroupError> {
    set_frozen(plan, "1", "FROZEN")
}

/// Lets a frozen service go on.
///
/// # Errors
/// [`CgroupError::NoHierarchy`] where nothing can freeze.
pub fn thaw(plan: &CgroupPlan) -> Result<(), CgroupError> {
    set_frozen(plan, "0", "THAWED")
}

/// Whether the processes of a service stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    None,
    /// Asked for, and some process has not come to it yet.
    Begun,
    Complete,
}

/// Reads whether the group is frozen, by [`freeze`] or by anybody else, on any level above. A group
/// that is gone is not.
///
/// # Errors
/// [`CgroupError::Read`].
pub fn standstill(plan: &CgroupPlan) -> Result<Standstill, CgroupError> {
    if let Some(leaf) = &plan.v2 {
        let events = read_if_there(&leaf.path.join("cgroup.events"))?.unwrap_or_default();
        if parse_events(&events).frozen {
            return Ok(Standstill::Complete);
        }
        let wanted = read_if_there(&leaf.path.join("cgroup.freeze"))?.unwrap_or_default();
        return Ok(match wanted.trim() {
            "1" => Standstill::Begun,
            _ => Standstill::None,
        });
    }
    let Some(leaf) = plan.v1_leaf("freezer") else {
        return Ok(Standstill::None);
    };
    let state = read_if_there(&leaf.path.join("freezer.state"))?.unwrap_or_default();
    Ok(match state.trim() {
        "FROZEN" => Standstill::Complete,
        "FREEZING" => Standstill::Begun,
        _ => Standstill::None,
    })
}

fn set_frozen(plan: &CgroupPlan, v2: &str, v1: &str) -> Result<(), CgroupError> {
    match &plan.v2 {
        Some(leaf) => write(&leaf.path.join("cgroup.freeze"), v2),
        None if plan.v1_leaf("freezer").is_some() => v1_freezer(plan, v1),
        None => Err(CgroupError::NoHierarchy),
    }
}

fn v1_freezer(plan: &CgroupPlan, state: &str) -> Result<(), CgroupError> {
    match plan.v1_leaf("freezer") {
        Some(leaf) => write(&leaf.path.join("freezer.state"), state),
        None => Ok(()),
    }
}

fn signal_these(
    plan: &CgroupPlan,
    wanted: &BTreeSet<i32>,
    signals: &[Signal],
) -> Result<(), CgroupError> {
    // The descriptor pins the process: looked up in the group again afterwards, it cannot be a
    // stranger that got the number.
    let pinned: Vec<_> = wanted
        .iter()
        .filter_map(|pid| {
            let pid = Pid::from_raw(*pid)?;
            Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?))
        })
        .collect();
    let still: BTreeSet<i32> = pids(plan)?.into_iter().collect();
    let mut refused = None;
    for (pid, pidfd) in &pinned {
        let number = pid.as_raw_nonzero().get();
        if !still.contains(&number) {
            continue;
        }
        for signal in signals {
            match pidfd_send_signal(pidfd, *signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => {
                    refused.get_or_insert((number, errno));
                }
            }
        }
    }
    match (refused, plan.tracking_path()) {
        (Some((pid, errno)), Some(path)) => Err(CgroupError::Signal {
            pid,
            path: path.to_owned(),
            source: errno.into(),
        }),
        _ => Ok(()),
    }
}

fn collect(path: &Path, depth: u32, pids: &mut BTreeSet<i32>) -> Result<(), CgroupError> {
    let file = path.join("cgroup.procs");
    let Some(text) = read_if_there(&file)? else {
        return Ok(());
    };
    for line in text.lines() {
        let pid = line.parse().map_err(|_| CgroupError::Garbled {
            path: file.clone(),
            text: line.to_owned(),
        })?;
        pids.insert(pid);
    }
    if depth == 0 {
        return Ok(());
    }
    for below in groups_below(path)? {
        collect(&below, depth - 1, pids)?;
    }
    Ok(())
}

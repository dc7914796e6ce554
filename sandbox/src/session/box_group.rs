//! The cgroup of a session.
#![forbid(unsafe_code)]

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::instance::InstanceId;
use crate::cgroup::{self, CgroupError, CgroupPlan, Removal};
use crate::config::{CgroupName, Config};
use crate::host::Host;

/// Where the groups of sessions lie that are given one, below the caller's own group.
const BASE: &str = "sandbox";

/// Gives a config with limits a group of its own.
pub(super) fn name(config: &mut Config, host: &Host, id: InstanceId) -> Result<(), CgroupError> {
    if config.cgroup.is_some() || config.limits.cgroup.is_empty() {
        return Ok(());
    }
    let base = CgroupName(BASE.to_owned());
    // What it cannot hand out is missed by name when the limits are written.
    drop(cgroup::prepare_root(host, &base)?);
    let name: String = config
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    config.cgroup = Some(CgroupName(format!("{BASE}/{name}-{id}")));
    Ok(())
}

/// The group while there is one.
#[derive(Debug)]
pub(super) struct BoxGroup {
    plan: CgroupPlan,
    /// Made for this session: whoever is in it is the box's.
    is_own: bool,
    oom_kills: u64,
}

impl BoxGroup {
    pub(super) fn new(plan: &CgroupPlan, is_own: bool) -> Self {
        Self {
            plan: plan.clone(),
            is_own,
            // One that is not there yet has killed nobody.
            oom_kills: cgroup::oom_kills(plan).ok().flatten().unwrap_or(0),
        }
    }

    /// Claims that the kernel has killed for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        match cgroup::oom_kills(&self.plan) {
            Ok(Some(kills)) => kills > self.oom_kills,
            // A group without a limit on memory has nothing to say.
            Ok(None) | Err(_) => false,
        }
    }

    /// Ends who is in the group. One that the config named may hold others, who are left alone.
    pub(super) fn kill(&self) -> Result<(), CgroupError> {
        if self.is_own {
            cgroup::kill(&self.plan)
        } else {
            Ok(())
        }
    }

    /// Takes the group away, with who is left in it; one that the config named only if it is empty.
    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        while cgroup::remove(&self.plan)? != Removal::Removed && self.is_own {
            cgroup::kill(&self.plan)?;
            for pid in cgroup::pids(&self.plan)? {
                wait_for_end(pid);
            }
        }
        Ok(())
    }
}

/// A process that is gone already, or cannot be waited for, is looked at again by the caller.
fn wait_for_end(pid: i32) {
    let process = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let Some(Ok(process)) = process else {
        std::thread::yield_now();
        return;
    };
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    match poll(&mut fds, None) {
        Ok(_) | Err(_) => {}
    }
}

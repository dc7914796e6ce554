//! Everything a service started: who belongs to it, whether anybody is left, and signals to all.
//!
//! With cgroups the kernel knows. Without (a user's herd with no delegated group) a process belongs
//! to a service if it is in a session that herd opened for it, or carries its `INVOCATION_ID`: herd
//! is the subreaper, so nothing leaves its sight, and a service that hides from both is only
//! found by its parent.
#![forbid(unsafe_code)]

use sandbox::cgroup;

use super::process_table::{has_variable, pids, stat};
use super::runtime::{Processes, Runtime};
use crate::supervisor::ServiceId;

/// The pids that belong to the service, herd's own launchers included.
pub(super) fn members(id: ServiceId, runtime: &Runtime, processes: &Processes) -> Vec<i32> {
    if let Some(plan) = tracked(runtime) {
        return cgroup::pids(plan).unwrap_or_default();
    }
    let mut found: Vec<i32> = processes
        .of_service(id)
        .map(|(_, process)| process.pid)
        .collect();
    found.extend(strays(runtime));
    found.sort_unstable();
    found.dedup();
    found
}

/// The first processes of the service's boxes. They pass signals on and end with the main process,
/// so that one who signals all leaves them out: else the main process would hear it twice.
pub(super) fn reapers(id: ServiceId, processes: &Processes) -> Vec<i32> {
    let boxed = processes
        .of_service(id)
        .filter(|(_, process)| process.inner.is_some());
    boxed.map(|(_, process)| process.pid).collect()
}

/// Whether any process of the service is left.
pub(super) fn is_populated(id: ServiceId, runtime: &Runtime, processes: &Processes) -> bool {
    if processes.has_any(id) {
        return true;
    }
    match tracked(runtime) {
        // A group that cannot be read may hold processes: better to wait than to forget them.
        Some(plan) => cgroup::is_populated(plan).unwrap_or(true),
        None => !strays(runtime).is_empty(),
    }
}

/// The group, where the kernel keeps the list.
pub(super) fn tracked(runtime: &Runtime) -> Option<&cgroup::CgroupPlan> {
    runtime
        .group
        .as_ref()
        .filter(|plan| runtime.group_exists && plan.tracking_path().is_some())
}

fn strays(runtime: &Runtime) -> Vec<i32> {
    if runtime.sessions.is_empty() {
        return Vec::new();
    }
    let mark = format!("INVOCATION_ID={}", runtime.invocation);
    pids()
        .filter(|pid| belongs(*pid, runtime, mark.as_bytes()))
        .collect()
}

fn belongs(pid: i32, runtime: &Runtime, mark: &[u8]) -> bool {
    let Some(stat) = stat(pid) else {
        return false;
    };
    let mut fields = stat.split_whitespace();
    if fields.next() == Some("Z") {
        return false;
    }
    let session = fields.nth(2).and_then(|field| field.parse::<i32>().ok());
    if session.is_some_and(|session| runtime.sessions.contains(&session)) {
        return true;
    }
    !runtime.invocation.is_empty() && has_variable(pid, |entry| entry == mark)
}

/// The children of this process that have not ended, launchers and strays alike.
pub(super) fn own_children() -> Vec<i32> {
    let own = std::process::id().to_string();
    let is_ours = |pid: &i32| {
        let stat = stat(*pid).unwrap_or_default();
        let mut fields = stat.split_whitespace();
        fields.next() != Some("Z") && fields.next() == Some(own.as_str())
    };
    pids().filter(is_ours).collect()
}

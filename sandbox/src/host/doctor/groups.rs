//! Cgroups: one is made and removed, the controllers that can limit are counted, and who says which
//! devices are open and how long processes wait.

use super::{Finding, Look, Need, State, Subject};
use crate::cgroup;
use crate::config::{CgroupLimits, CgroupName};
use crate::host::Host;

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    vec![tree(host), limits(host), devices(host), pressure(host)]
}

/// A group is made, and removed, below our own.
fn tree(host: &Host) -> Finding {
    let look = Look::new(Subject::Cgroups, Need::Comfort, "cgroup");
    let name = CgroupName(format!("herd-doctor-{}", std::process::id()));
    let Ok(plan) = cgroup::plan(&name, &CgroupLimits::default(), host) else {
        return look.missing("this name was refused", "");
    };
    if plan.is_empty() {
        return look.missing(
            "no hierarchy is mounted where we may write",
            "services are then tracked by sessions and the subreaper; delegate a cgroup to this user \
             (systemd: Delegate=yes)",
        );
    }
    let done = cgroup::create(&plan).and_then(|()| cgroup::remove(&plan));
    match done {
        Ok(_) => look.ok(format!("a group was made and removed ({plan})")),
        Err(error) => look.found(
            State::Refused,
            error.to_string(),
            "delegate a cgroup to this user (systemd: Delegate=yes)",
        ),
    }
}

/// Which controllers can limit, and where.
fn limits(host: &Host) -> Finding {
    let look = Look::new(Subject::Cgroups, Need::Key, "cgroup limits");
    let cgroups = &host.cgroups;
    let mut missing_ones = Vec::new();
    let mut found = Vec::new();
    for controller in ["memory", "cpu", "cpuset", "pids", "io"] {
        let v1 = if controller == "io" {
            "blkio"
        } else {
            controller
        };
        let on_v2 = cgroups
            .v2
            .as_ref()
            .is_some_and(|v2| v2.writable && v2.controllers.iter().any(|name| name == controller));
        if on_v2 {
            found.push(format!("{controller} (v2)"));
        } else if cgroups.v1.get(v1).is_some_and(|v1| v1.writable) {
            found.push(format!("{controller} (v1)"));
        } else {
            missing_ones.push(controller);
        }
    }
    if missing_ones.is_empty() {
        return look.ok(found.join(", "));
    }
    look.missing(
        format!("no controller for {}", missing_ones.join(", ")),
        "a parent has to enable them in cgroup.subtree_control, or delegate them",
    )
}

/// Who can shut devices: `limits.devices`, `device_policy`.
fn devices(host: &Host) -> Finding {
    let look = Look::new(Subject::Cgroups, Need::Key, "device rules");
    let cgroups = &host.cgroups;
    if !host.is_root {
        return look.missing("only root may say which devices are open", "");
    }
    if cgroups.device_programs && cgroups.v2.as_ref().is_some_and(|v2| v2.writable) {
        return look.ok("the kernel asks programs of ours on cgroup v2");
    }
    if cgroups.v1.get("devices").is_some_and(|v1| v1.writable) {
        return look.ok("by the cgroup v1 controller devices");
    }
    look.missing(
        "neither device programs on cgroup v2 nor the v1 controller devices",
        "a kernel with CONFIG_CGROUP_BPF",
    )
}

/// Whether status can tell what a service waits for.
fn pressure(host: &Host) -> Finding {
    let look = Look::new(Subject::Cgroups, Need::Comfort, "pressure");
    if host.cgroups.v2.is_none() {
        return look.missing("there is no cgroup v2", "");
    }
    match std::fs::read("/proc/pressure/memory") {
        Ok(_) => look.ok("the kernel counts how long processes wait"),
        Err(_) => look.missing("the kernel does not count", "boot with psi=1"),
    }
}

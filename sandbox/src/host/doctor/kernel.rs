//! Filters, landlock, and what launches and supervision are built on.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{PidfdFlags, pidfd_open};

use super::{Finding, Look, Need, State, Subject};
use crate::host::Host;
use crate::sys::probe_clone;

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let mut findings = vec![
        seccomp(host),
        seccomp_actions(),
        seccomp_log(),
        landlock(host),
    ];
    let look = |need, name| Look::new(Subject::Kernel, need, name);
    let opened = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    findings.push(look(Need::Box, "pidfd").tried(
        opened.map(drop).map_err(io::Error::from),
        "processes are held by descriptor",
        "it came with Linux 5.3; a container's filter may be older",
    ));
    findings.push(look(Need::Box, "close_range").tried(
        probe_clone::has_close_range(),
        "descriptors are closed at once",
        "it came with Linux 5.9; a container's filter may be older",
    ));
    findings.push(into_cgroup(host));
    let keyring = look(Need::Box, "session keyring");
    findings.push(match host.keyrings {
        true => keyring.ok("one of its own for each box"),
        false => keyring.missing(
            "the kernel has none for us",
            "CONFIG_KEYS, or a container's filter; the unit can do without: best_effort = \
             [\"keyring\"]",
        ),
    });
    findings
}

fn seccomp(host: &Host) -> Finding {
    let look = Look::new(Subject::Kernel, Need::Box, "system call filter");
    match host.seccomp {
        true => look.ok("filters are taken"),
        false => look.missing(
            "the kernel takes none",
            "the kernel needs CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// `SECCOMP_RET_*` that keys of the language use.
const ACTIONS: [(u32, &str); 5] = [
    (libc::SECCOMP_RET_ERRNO, "errno"),
    (libc::SECCOMP_RET_KILL_PROCESS, "kill_process"),
    (libc::SECCOMP_RET_LOG, "log"),
    (libc::SECCOMP_RET_TRAP, "trap"),
    (libc::SECCOMP_RET_USER_NOTIF, "user_notif"),
];

fn seccomp_actions() -> Finding {
    let look = Look::new(Subject::Kernel, Need::Key, "filter actions");
    let (has, lacks): (Vec<_>, Vec<_>) = ACTIONS
        .iter()
        .partition(|(action, _)| probe_clone::has_seccomp_action(*action));
    let names = |list: Vec<&(u32, &str)>| {
        let names: Vec<&str> = list.iter().map(|(_, name)| *name).collect();
        names.join(", ")
    };
    if lacks.is_empty() {
        return look.ok(names(has));
    }
    look.missing(
        format!("no {}", names(lacks)),
        "log came with Linux 4.14, user_notif with 5.0",
    )
}

/// Where calls that `system_call_log` names are told.
fn seccomp_log() -> Finding {
    let look = Look::new(Subject::Kernel, Need::Key, "filter log");
    let logged = fs::read_to_string("/proc/sys/kernel/seccomp/actions_logged");
    let is_logged = logged.is_ok_and(|actions| actions.split_whitespace().any(|one| one == "log"));
    if !is_logged {
        let advice = "add log to the sysctl kernel.seccomp.actions_logged";
        return look.missing("calls that are to be logged are not", advice);
    }
    // The kernel's audit part makes this file.
    if !Path::new("/proc/self/loginuid").exists() {
        return look.missing("the kernel has no audit log", "CONFIG_AUDITSYSCALL");
    }
    look.ok("the audit log is told of calls that are to be logged")
}

/// What each version of landlock added (`landlock(7)`).
const LANDLOCK: [(u32, &str); 6] = [
    (1, "files"),
    (2, "renames across directories"),
    (3, "truncation"),
    (4, "TCP ports"),
    (5, "ioctls of devices"),
    (6, "scopes: abstract sockets and signals"),
];

fn landlock(host: &Host) -> Finding {
    let look = Look::new(Subject::Kernel, Need::Key, "landlock");
    let abi = host.landlock_abi;
    if abi == 0 {
        let advice = "boot with landlock in the kernel's lsm= list (CONFIG_SECURITY_LANDLOCK)";
        return look.missing("the kernel does not have it", advice);
    }
    let lacks: Vec<&str> = LANDLOCK
        .iter()
        .filter(|(since, _)| *since > abi)
        .map(|(_, what)| *what)
        .collect();
    if lacks.is_empty() {
        return look.ok(format!("ABI {abi}: files, TCP ports, scopes"));
    }
    let detail = format!("ABI {abi}, without {}", lacks.join(", "));
    look.found(
        State::Missing,
        detail,
        "newer kernels have it: 6.12 has ABI 6",
    )
}

/// A process is born in its group, and never runs outside of it.
fn into_cgroup(host: &Host) -> Finding {
    let look = Look::new(Subject::Kernel, Need::Comfort, "clone into a cgroup");
    let Some(v2) = host.cgroups.v2.as_ref() else {
        return look.missing(
            "there is no cgroup v2",
            "services join their groups by themselves",
        );
    };
    let own = rustix::fs::open(
        &v2.own,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let cloned = own
        .map_err(io::Error::from)
        .and_then(|own| probe_clone::into_cgroup(std::os::fd::AsFd::as_fd(&own)));
    look.tried(
        cloned,
        "a child was born in one",
        "it came with Linux 5.7, and a container's filter may lack it; services then join their groups by \
         themselves",
    )
}

//! What this machine really lets us do, found out by doing it: `herd doctor`.
//!
//! Each probe leaves nothing: namespaces die with the child that tried them, the cgroup it makes is
//! removed.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, Mode, OFlags, access};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use serde::{Deserialize, Serialize};

use super::{Host, UserNamespaces};
use crate::cgroup;
use crate::config::{CgroupLimits, CgroupName};
use crate::sys::probe_clone::{Prepared, in_new_namespaces};

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub name: String,
    pub state: State,
    pub detail: String,
    /// What would change it; empty when nothing has to change.
    pub advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// The kernel or the system does not have it.
    Missing,
    /// It is there, and we may not use it.
    Refused,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Missing => "missing",
            State::Refused => "refused",
        };
        write!(f, "{}: {state}: {}", self.name, self.detail)?;
        if !self.advice.is_empty() {
            write!(f, "\nhint: {}", self.advice)?;
        }
        Ok(())
    }
}

/// Tries everything that a box may need. Starts short-lived children; not for the supervisor's loop.
pub fn examine(host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> = NAMESPACES
        .iter()
        .map(|(name, flag)| namespace(host, name, *flag))
        .collect();
    findings.extend([
        overlay(host),
        cgroup_tree(host),
        cgroup_limits(host),
        landlock(host.landlock_abi),
        seccomp(host),
        seccomp_log(),
        program(
            "newuidmap",
            "several ids in a user's box need it: package uidmap",
        ),
        program(
            "nft",
            "only needed to look at the rules that herd makes: package nftables",
        ),
    ]);
    findings
}

/// Flags of `clone(2)`; the time namespace is refused by clone, whose low byte is the exit signal.
const NAMESPACES: [(&str, libc::c_int); 7] = [
    ("user namespace", libc::CLONE_NEWUSER),
    ("mount namespace", libc::CLONE_NEWNS),
    ("pid namespace", libc::CLONE_NEWPID),
    ("ipc namespace", libc::CLONE_NEWIPC),
    ("uts namespace", libc::CLONE_NEWUTS),
    ("cgroup namespace", libc::CLONE_NEWCGROUP),
    ("network namespace", libc::CLONE_NEWNET),
];

fn namespace(host: &Host, name: &str, flag: libc::c_int) -> Finding {
    let flags = with_user(host, flag);
    let result = in_new_namespaces(flags, |_| Ok(()), &Prepared::default());
    let advice = match &host.user_namespaces {
        UserNamespaces::Refused(setting) => format!("the host has {setting}"),
        UserNamespaces::Allowed => {
            "a container's seccomp profile or a security module may forbid it".to_owned()
        }
    };
    tried(name, result, "a child was started in one", &advice)
}

/// Who is not root gets every other namespace through a user namespace of its own.
fn with_user(host: &Host, flag: libc::c_int) -> libc::c_ulong {
    let flags = if host.is_root {
        flag
    } else {
        flag | libc::CLONE_NEWUSER
    };
    // The constants are positive (the highest is 0x4000_0000).
    libc::c_ulong::from(flags.unsigned_abs())
}

fn overlay(host: &Host) -> Finding {
    let prepared = if host.is_root {
        Prepared::default()
    } else {
        Prepared {
            uid_map: format!("0 {} 1", host.uid),
            gid_map: format!("0 {} 1", host.gid),
        }
    };
    let result = in_new_namespaces(with_user(host, libc::CLONE_NEWNS), mount_overlay, &prepared);
    tried(
        "overlay file system",
        result,
        "mounted on a tmpfs",
        "load the module: modprobe overlay",
    )
}

/// Runs in the probe's child: system calls only.
fn mount_overlay(prepared: &Prepared) -> io::Result<()> {
    if !prepared.uid_map.is_empty() {
        put(c"/proc/self/setgroups", "deny")?;
        put(c"/proc/self/uid_map", &prepared.uid_map)?;
        put(c"/proc/self/gid_map", &prepared.gid_map)?;
    }
    let none = MountFlags::empty();
    mount_change(
        c"/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount(c"herd-doctor", c"/tmp", c"tmpfs", none, None)?;
    for directory in [c"/tmp/lower", c"/tmp/upper", c"/tmp/work", c"/tmp/merged"] {
        rustix::fs::mkdir(directory, Mode::RWXU)?;
    }
    let options = c"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work";
    mount(
        c"herd-doctor",
        c"/tmp/merged",
        c"overlay",
        none,
        Some(options),
    )?;
    Ok(())
}

fn put(path: &std::ffi::CStr, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

/// A group is made, and removed, below our own.
fn cgroup_tree(host: &Host) -> Finding {
    let name = CgroupName(format!("herd-doctor-{}", std::process::id()));
    let Ok(plan) = cgroup::plan(&name, &CgroupLimits::default(), host) else {
        return missing("cgroup", "this name was refused", "");
    };
    if plan.is_empty() {
        return missing(
            "cgroup",
            "no hierarchy is mounted where we may write",
            "services are then tracked by sessions and the subreaper; delegate a cgroup to this user \
             (systemd: Delegate=yes)",
        );
    }
    let done = cgroup::create(&plan).and_then(|()| cgroup::remove(&plan));
    match done {
        Ok(_) => ok("cgroup", format!("a group was made and removed ({plan})")),
        Err(error) => Finding {
            name: "cgroup".to_owned(),
            state: State::Refused,
            detail: error.to_string(),
            advice: "delegate a cgroup to this user (systemd: Delegate=yes)".to_owned(),
        },
    }
}

/// Which controllers can limit, and where.
fn cgroup_limits(host: &Host) -> Finding {
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
        return ok("cgroup limits", found.join(", "));
    }
    missing(
        "cgroup limits",
        &format!("no controller for {}", missing_ones.join(", ")),
        "a parent has to enable them in cgroup.subtree_control, or delegate them",
    )
}

/// What came with which ABI (`landlock(7)`), and what it is for.
const LANDLOCK: [(u32, &str); 5] = [
    (3, "truncating files"),
    (4, "TCP"),
    (5, "ioctls on devices"),
    (6, "abstract unix sockets and signals"),
    (9, "connecting to unix sockets by path"),
];

fn landlock(abi: u32) -> Finding {
    if abi == 0 {
        return missing(
            "landlock",
            "the kernel does not have it",
            "boot with landlock in the kernel's lsm= list (CONFIG_SECURITY_LANDLOCK)",
        );
    }
    let lacking: Vec<String> = LANDLOCK
        .iter()
        .filter(|(since, _)| abi < *since)
        .map(|(since, what)| format!("{what} (ABI {since})"))
        .collect();
    let detail = if lacking.is_empty() {
        format!("ABI {abi}")
    } else {
        format!("ABI {abi}, which cannot deny {}", lacking.join(", "))
    };
    // Without scopes the default box is less than it could be.
    if abi < 6 {
        return missing(
            "landlock",
            &detail,
            "Linux 6.12 keeps abstract unix sockets inside a box that shares the network",
        );
    }
    ok("landlock", detail)
}

const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

fn seccomp(host: &Host) -> Finding {
    if !host.seccomp {
        return missing(
            "seccomp",
            "the kernel takes no filters",
            "the kernel needs CONFIG_SECCOMP_FILTER; a container's profile may forbid it",
        );
    }
    match fs::read_to_string(ACTIONS) {
        Ok(actions) => ok(
            "seccomp",
            format!("filters are taken; actions {}", actions.trim()),
        ),
        Err(_) => ok("seccomp", "filters are taken".to_owned()),
    }
}

/// Where calls that `system_call_log` names are told.
fn seccomp_log() -> Finding {
    let name = "seccomp log";
    let logged = fs::read_to_string("/proc/sys/kernel/seccomp/actions_logged");
    let is_logged = logged.is_ok_and(|actions| actions.split_whitespace().any(|one| one == "log"));
    if !is_logged {
        return missing(
            name,
            "the action log is not logged",
            "add it to the sysctl kernel.seccomp.actions_logged",
        );
    }
    // The kernel's audit part makes this file.
    if !Path::new("/proc/self/loginuid").exists() {
        return missing(name, "the kernel has no audit log", "CONFIG_AUDITSYSCALL");
    }
    ok(name, "logged calls are told to the audit log".to_owned())
}

fn program(name: &str, advice: &str) -> Finding {
    let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| {
            fs::metadata(path).is_ok_and(|meta| meta.is_file())
                && access(path, Access::EXEC_OK).is_ok()
        });
    match found {
        Some(path) => ok(name, path.display().to_string()),
        None => missing(name, "not installed", advice),
    }
}

fn tried(name: &str, result: io::Result<()>, detail: &str, advice: &str) -> Finding {
    let Err(error) = result else {
        return ok(name, detail.to_owned());
    };
    let absent = [libc::EINVAL, libc::ENOSYS, libc::ENODEV];
    Finding {
        name: name.to_owned(),
        state: if error
            .raw_os_error()
            .is_some_and(|code| absent.contains(&code))
        {
            State::Missing
        } else {
            State::Refused
        },
        detail: error.to_string(),
        advice: advice.to_owned(),
    }
}

fn ok(name: &str, detail: String) -> Finding {
    Finding {
        name: name.to_owned(),
        state: State::Ok,
        detail,
        advice: String::new(),
    }
}

fn missing(name: &str, detail: &str, advice: &str) -> Finding {
    Finding {
        name: name.to_owned(),
        state: State::Missing,
        detail: detail.to_owned(),
        advice: advice.to_owned(),
    }
}

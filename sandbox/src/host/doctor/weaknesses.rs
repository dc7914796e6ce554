//! Defences that a setting or the age of this kernel takes away, and who stands in for them.
#![forbid(unsafe_code)]

use std::fs;

use super::{Finding, Look, Need, State, Subject};
use crate::host::Host;

/// A setting that opens something.
struct Setting {
    /// Below `/proc/sys`, as sysctl(8) writes it.
    key: &'static str,
    is_bad: fn(&str) -> bool,
    name: &'static str,
    /// What it opens, and to whom.
    what: &'static str,
    advice: &'static str,
}

const SETTINGS: [Setting; 9] = [
    Setting {
        key: "dev.tty.legacy_tiocsti",
        is_bad: |value| value == "1",
        name: "terminal input",
        what: "TIOCSTI types into a controlling terminal; boxes refuse it by their system call filter \
               and a session of their own",
        advice: "sysctl dev.tty.legacy_tiocsti=0",
    },
    Setting {
        key: "kernel.unprivileged_bpf_disabled",
        is_bad: |value| value == "0",
        name: "bpf for everybody",
        what: "any user loads BPF programs; boxes refuse it by their system call filter",
        advice: "sysctl kernel.unprivileged_bpf_disabled=2",
    },
    Setting {
        key: "vm.unprivileged_userfaultfd",
        is_bad: |value| value == "1",
        name: "userfaultfd for everybody",
        what: "any user holds the kernel up at page faults; boxes refuse it by their system call filter",
        advice: "sysctl vm.unprivileged_userfaultfd=0",
    },
    Setting {
        key: "kernel.perf_event_paranoid",
        is_bad: |value| value.parse::<i32>().is_ok_and(|level| level < 2),
        name: "perf events for everybody",
        what: "any user measures the kernel; boxes refuse it by their system call filter",
        advice: "sysctl kernel.perf_event_paranoid=2",
    },
    Setting {
        key: "kernel.yama.ptrace_scope",
        is_bad: |value| value == "0",
        name: "ptrace",
        what: "a process may trace every other one of its user; boxes see none but their own",
        advice: "sysctl kernel.yama.ptrace_scope=1",
    },
    Setting {
        key: "kernel.dmesg_restrict",
        is_bad: |value| value == "0",
        name: "the kernel's log",
        what: "any user reads it; boxes have no /dev/kmsg, and syslog(2) is refused",
        advice: "sysctl kernel.dmesg_restrict=1",
    },
    Setting {
        key: "kernel.kptr_restrict",
        is_bad: |value| value == "0",
        name: "addresses of the kernel",
        what: "/proc shows them to some; boxes with proc_subset = \"pid\" have no such file",
        advice: "sysctl kernel.kptr_restrict=1",
    },
    Setting {
        key: "fs.protected_symlinks",
        is_bad: |value| value == "0",
        name: "links in /tmp",
        what: "a link in a sticky directory is followed for anybody; boxes have a /tmp of their own",
        advice: "sysctl fs.protected_symlinks=1",
    },
    Setting {
        key: "fs.protected_hardlinks",
        is_bad: |value| value == "0",
        name: "hard links to files of others",
        what: "anybody may link what others own; a service's directories are no place for secrets of \
               others",
        advice: "sysctl fs.protected_hardlinks=1",
    },
];

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let value = |key: &str| {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    };
    let settings = SETTINGS.iter().filter_map(|setting| {
        // A kernel without the setting has not got what it would open, or no way to shut it.
        let found = value(setting.key)?;
        let look = Look::new(Subject::Weaknesses, Need::Comfort, setting.name);
        let told = format!("{}={found}", setting.key);
        Some(match (setting.is_bad)(&found) {
            true => look.found(
                State::Weak,
                format!("{told}: {}", setting.what),
                setting.advice,
            ),
            false => look.ok(told),
        })
    });
    settings
        .chain([abstract_sockets(host), release_agent(host)])
        .collect()
}

/// Attack 28 of the list: what nothing else of the kernel shuts in a shared network.
fn abstract_sockets(host: &Host) -> Finding {
    const SCOPES: u32 = 6;
    let look = Look::new(Subject::Weaknesses, Need::Comfort, "abstract sockets");
    if host.landlock_abi >= SCOPES {
        return look.ok("landlock_scope keeps a box that shares the network away from them");
    }
    let detail = format!(
        "landlock ABI {}: a box that shares the network reaches every abstract socket in it",
        host.landlock_abi
    );
    let advice = "give the service a network of its own, or run Linux 6.12";
    look.found(State::Weak, detail, advice)
}

/// CVE-2022-0492 and its kin need a cgroup v1 hierarchy.
fn release_agent(host: &Host) -> Finding {
    let look = Look::new(Subject::Weaknesses, Need::Comfort, "cgroup release agents");
    let v1: Vec<&str> = host.cgroups.v1.keys().map(String::as_str).collect();
    if v1.is_empty() {
        return look.ok("there is no cgroup v1");
    }
    let detail = format!(
        "cgroup v1 ({}): whoever may write release_agent runs programs as root; boxes see the \
         hierarchies read-only, and mount none",
        v1.join(", ")
    );
    look.found(State::Weak, detail, "boot with cgroup v2 alone")
}

//! The filter in words, for the plan.
#![forbid(unsafe_code)]

use super::bpf::Program;
use super::filter::Listed;
use crate::config::{Refusal, RestrictNamespaces, SystemCallEntry, Walls};
use crate::host::Host;

/// One line: `seccomp: allow @system-service (338 calls), else EPERM; 412 instructions`.
pub fn describe(walls: &Walls, host: &Host, programs: &[Program]) -> String {
    if programs.is_empty() {
        return "seccomp: no filter".to_owned();
    }
    let calls = &walls.system_calls;
    let mut parts = Vec::new();
    let refusal = match calls.refusal {
        Refusal::KillProcess => "the process is killed".to_owned(),
        Refusal::Errno(number) => errno(number),
    };
    match &calls.filter {
        None => parts.push("all native calls".to_owned()),
        Some(filter) => {
            let entries: Vec<String> = filter.entries.iter().map(entry).collect();
            let count = Listed::resolve(filter, host.architecture).map_or(0, |listed| {
                let own = |errno: &&Option<u16>| errno.is_none() || !filter.allow;
                listed.calls.values().filter(own).count()
            });
            let entries = entries.join(" ");
            parts.push(if filter.allow {
                format!("allow {entries} ({count} calls), else {refusal}")
            } else {
                format!("refuse {entries} ({count} calls) with {refusal}")
            });
        }
    }
    let walls = [
        (
            walls.restrict_namespaces != RestrictNamespaces::None,
            "namespaces",
        ),
        (
            walls.restrict_address_families.is_some(),
            "address families",
        ),
        (walls.restrict_realtime, "realtime"),
        (walls.restrict_suid_sgid, "suid"),
        (walls.lock_personality, "personality"),
        (walls.memory_deny_write_execute, "write+execute"),
        (walls.protect_clock, "clock"),
        (walls.protect_hostname, "hostname"),
        (walls.protect_kernel_modules, "modules"),
        (walls.protect_kernel_logs, "kernel log"),
        (true, "terminal injection"),
    ];
    let shut: Vec<&str> = walls
        .iter()
        .filter(|(is_on, _)| *is_on)
        .map(|(_, name)| *name)
        .collect();
    parts.push(format!("no {}", shut.join(", ")));
    let count: usize = programs.iter().map(|program| program.0.len()).sum();
    parts.push(format!("{count} instructions"));
    format!("seccomp: {}", parts.join("; "))
}

/// What a reader of the plan should know: names that this architecture does not have.
pub fn notes(walls: &Walls, host: &Host) -> Vec<String> {
    let filter = walls.system_calls.filter.as_ref();
    let listed = filter.and_then(|filter| Listed::resolve(filter, host.architecture).ok());
    listed
        .map(|listed| listed.foreign)
        .unwrap_or_default()
        .into_iter()
        .map(|name| format!("system call {name} does not exist on this architecture"))
        .collect()
}

fn entry(entry: &SystemCallEntry) -> String {
    let sign = if entry.remove { "~" } else { "" };
    let own = entry
        .errno
        .map(|number| format!(":{}", errno(number)))
        .unwrap_or_default();
    format!("{sign}{}{own}", entry.name)
}

fn errno(number: i32) -> String {
    let known = nix::errno::Errno::from_raw(number);
    if known == nix::errno::Errno::UnknownErrno {
        return format!("errno {number}");
    }
    format!("{known:?}")
}

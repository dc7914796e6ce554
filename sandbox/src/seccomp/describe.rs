//! The filter in words, for the plan.
#![forbid(unsafe_code)]

use super::filter::Listed;
use super::program::Program;
use crate::config::{Abi, Refusal, RestrictNamespaces, SystemCallEntry, Walls};
use crate::host::Host;

/// One line: `seccomp: allow @system-service (338 calls), else EPERM; no namespaces; 412 instructions`.
pub(super) fn describe(walls: &Walls, host: &Host, program: &Program) -> String {
    let calls = &walls.system_calls;
    let abis = Abi::let_through(host.architecture, &calls.architectures);
    let mut parts = Vec::new();
    let refusal = answer(calls.refusal);
    match &calls.filter {
        None => parts.push("allow all calls".to_owned()),
        Some(filter) => {
            let entries: Vec<String> = filter.entries.iter().map(entry).collect();
            let count = Listed::resolve(filter, &abis).map_or(0, |listed| {
                let counts = |(name, own): &(&&str, &Option<Refusal>)| {
                    (own.is_none() || !filter.allow)
                        && abis.iter().any(|abi| abi.number(name).is_some())
                };
                listed.calls.iter().filter(counts).count()
            });
            let entries = entries.join(" ");
            parts.push(if filter.allow {
                format!("allow {entries} ({count} calls), else {refusal}")
            } else {
                format!("refuse {entries} ({count} calls) with {refusal}")
            });
        }
    }
    if let Some(log) = &calls.log {
        let but = if log.all_but { "all but " } else { "" };
        parts.push(format!("log {but}{}", log.names.join(" ")));
    }
    let foreign: Vec<&str> = abis.iter().skip(1).map(|abi| name(*abi)).collect();
    if !foreign.is_empty() {
        parts.push(format!("calls of {} too", foreign.join(" and ")));
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
    parts.push(format!("{} instructions", program.len()));
    format!("seccomp: {}", parts.join("; "))
}

/// What a reader of the plan should know: names that this architecture does not have.
pub fn notes(walls: &Walls, host: &Host) -> Vec<String> {
    let calls = &walls.system_calls;
    let abis = Abi::let_through(host.architecture, &calls.architectures);
    let listed = calls.filter.as_ref();
    let listed = listed.and_then(|filter| Listed::resolve(filter, &abis).ok());
    listed
        .map(|listed| listed.foreign)
        .unwrap_or_default()
        .into_iter()
        .map(|name| format!("system call {name} does not exist on this architecture"))
        .collect()
}

fn entry(entry: &SystemCallEntry) -> String {
    let sign = if entry.remove { "~" } else { "" };
    let own = match entry.refusal {
        None => String::new(),
        Some(Refusal::KillProcess) => ":kill".to_owned(),
        Some(Refusal::Errno(number)) => format!(":{}", errno(number)),
    };
    format!("{sign}{}{own}", entry.name)
}

fn answer(refusal: Refusal) -> String {
    match refusal {
        Refusal::KillProcess => "the process is killed".to_owned(),
        Refusal::Errno(number) => errno(number),
    }
}

pub(super) fn errno(number: i32) -> String {
    let known = nix::errno::Errno::from_raw(number);
    if known == nix::errno::Errno::UnknownErrno {
        return format!("errno {number}");
    }
    format!("{known:?}")
}

/// As units write it (`system_call_architectures`), and systemd.
pub(super) fn name(abi: Abi) -> &'static str {
    match abi {
        Abi::X86_64 => "x86-64",
        Abi::X86 => "x86",
        Abi::X32 => "x32",
        Abi::Aarch64 => "arm64",
        Abi::Arm => "arm",
        Abi::Riscv64 => "riscv64",
        Abi::Riscv32 => "riscv32",
    }
}

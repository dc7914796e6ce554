//! Names of system calls and of systemd's groups of them.
#![forbid(unsafe_code)]

/// The groups of `systemd-analyze syscall-filter`.
const GROUPS: [&str; 30] = [
    "@aio",
    "@basic-io",
    "@chown",
    "@clock",
    "@cpu-emulation",
    "@debug",
    "@default",
    "@file-system",
    "@io-event",
    "@ipc",
    "@keyring",
    "@known",
    "@memlock",
    "@module",
    "@mount",
    "@network-io",
    "@obsolete",
    "@pkey",
    "@privileged",
    "@process",
    "@raw-io",
    "@reboot",
    "@resources",
    "@sandbox",
    "@setuid",
    "@signal",
    "@swap",
    "@sync",
    "@system-service",
    "@timer",
];

/// Claims that the text names a group, or a call of an architecture herd runs on.
pub fn is_system_call_or_group(text: &str) -> bool {
    if text.starts_with('@') {
        return GROUPS.contains(&text);
    }
    text.parse::<syscalls::x86_64::Sysno>().is_ok()
        || text.parse::<syscalls::x86::Sysno>().is_ok()
        || text.parse::<syscalls::aarch64::Sysno>().is_ok()
        || text.parse::<syscalls::arm::Sysno>().is_ok()
        || text.parse::<syscalls::riscv64::Sysno>().is_ok()
        || text.parse::<syscalls::riscv32::Sysno>().is_ok()
}

/// The group or call that is written most like the text.
pub fn nearest_system_call(text: &str) -> Option<&'static str> {
    if text.starts_with('@') {
        return crate::keys::nearest(text, GROUPS);
    }
    let calls = syscalls::x86_64::Sysno::iter().map(|call| call.name());
    crate::keys::nearest(text, calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_groups_are_known() {
        for known in [
            "read",
            "clone3",
            "@system-service",
            "renameat",
            "socketcall",
        ] {
            assert!(is_system_call_or_group(known), "{known}");
        }
        assert!(!is_system_call_or_group("@nope"));
        assert!(!is_system_call_or_group("raed"));
        assert_eq!(nearest_system_call("mmount"), Some("mount"));
        assert_eq!(nearest_system_call("@mont"), Some("@mount"));
    }
}

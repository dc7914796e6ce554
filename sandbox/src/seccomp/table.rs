//! Names and numbers of the system calls of one architecture.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use syscalls::{aarch64, riscv64, x86_64};

use crate::host::Architecture;

/// Numbers that the `syscalls` crate does not have yet (Linux 6.18 and later).
const NEWER: [(&str, u32); 1] = [("listns", 470)];
const NEWER_X86_64: [(&str, u32); 1] = [("uprobe", 336)];

/// From this number on, x86_64 calls are x32's.
pub(super) const X32: u32 = 0x4000_0000;
/// Before 5.4 these x32 entries could be reached without x32's bit; no 64-bit call is among them.
pub(super) const X32_TABLE: std::ops::RangeInclusive<u32> = 512..=547;

/// The number of `name`, if this architecture has it.
pub(super) fn number(architecture: Architecture, name: &str) -> Option<u32> {
    names(architecture).get(name).copied()
}

/// Every call of the architecture, by number.
pub(super) fn calls(architecture: Architecture) -> BTreeMap<u32, &'static str> {
    names(architecture)
        .iter()
        .map(|(name, number)| (*number, *name))
        .collect()
}

/// Made once: the crate's own look-up by name goes through its whole list each time.
fn names(architecture: Architecture) -> &'static BTreeMap<&'static str, u32> {
    static X86_64: OnceLock<BTreeMap<&str, u32>> = OnceLock::new();
    static AARCH64: OnceLock<BTreeMap<&str, u32>> = OnceLock::new();
    static RISCV64: OnceLock<BTreeMap<&str, u32>> = OnceLock::new();
    let table = |all: Vec<(i32, &'static str)>| {
        all.into_iter()
            .filter_map(|(number, name)| Some((name, u32::try_from(number).ok()?)))
            .chain(newer(architecture))
            .collect()
    };
    match architecture {
        Architecture::X86_64 => X86_64
            .get_or_init(|| table(x86_64::Sysno::iter().map(|c| (c.id(), c.name())).collect())),
        Architecture::Aarch64 => AARCH64
            .get_or_init(|| table(aarch64::Sysno::iter().map(|c| (c.id(), c.name())).collect())),
        Architecture::Riscv64 => RISCV64
            .get_or_init(|| table(riscv64::Sysno::iter().map(|c| (c.id(), c.name())).collect())),
    }
}

/// `AUDIT_ARCH_*` of `linux/audit.h`.
pub(super) fn audit(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::X86_64 => 0xC000_003E,
        Architecture::Aarch64 => 0xC000_00B7,
        Architecture::Riscv64 => 0xC000_00F3,
    }
}

fn newer(architecture: Architecture) -> impl Iterator<Item = (&'static str, u32)> {
    let own = match architecture {
        Architecture::X86_64 => NEWER_X86_64.as_slice(),
        Architecture::Aarch64 | Architecture::Riscv64 => &[],
    };
    NEWER.iter().chain(own).copied()
}

//! Names and numbers of the system calls of each ABI.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use syscalls::{aarch64, arm, riscv32, riscv64, x86, x86_64};

use crate::config::{Abi, Architectures};
use crate::host::Architecture;

/// Numbers that the `syscalls` crate does not have yet (Linux 6.18 and later); the same everywhere.
const NEWER: [(&str, u32); 1] = [("listns", 470)];

/// From this number on, x86_64 calls are x32's.
pub(super) const X32: u32 = 0x4000_0000;
/// Before 5.4 these x32 entries could be reached without x32's bit; no 64-bit call is among them.
pub(super) const X32_TABLE: std::ops::RangeInclusive<u32> = 512..=547;

/// Calls that x32 has under numbers of its own, from 512 on (`syscall_64.tbl` of the kernel).
#[rustfmt::skip]
const X32_OWN: [&str; 36] = [
    "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg",
    "execve", "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack",
    "timer_create", "mq_notify", "kexec_load", "waitid", "set_robust_list", "get_robust_list",
    "vmsplice", "move_pages", "preadv", "pwritev", "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg",
    "process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt", "io_setup", "io_submit",
    "execveat", "preadv2", "pwritev2",
];

/// Calls of x86_64 that x32 has not, beside those with other numbers.
#[rustfmt::skip]
const NOT_X32: [&str; 13] = [
    "uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl",
    "set_thread_area", "get_thread_area", "epoll_ctl_old", "epoll_wait_old", "vserver",
    "uprobe", "uretprobe",
];

impl Abi {
    /// The one of this architecture's own programs.
    pub(super) fn native(architecture: Architecture) -> Self {
        match architecture {
            Architecture::X86_64 => Self::X86_64,
            Architecture::Aarch64 => Self::Aarch64,
            Architecture::Riscv64 => Self::Riscv64,
        }
    }

    /// All that a kernel of this architecture may answer to, the native one first.
    pub(super) fn all_of(architecture: Architecture) -> &'static [Self] {
        match architecture {
            Architecture::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Architecture::Aarch64 => &[Self::Aarch64, Self::Arm],
            Architecture::Riscv64 => &[Self::Riscv64, Self::Riscv32],
        }
    }

    /// Those of this machine that are let through.
    pub(super) fn let_through(architecture: Architecture, wanted: &Architectures) -> Vec<Self> {
        let all = Self::all_of(architecture).iter().copied();
        match wanted {
            Architectures::All => all.collect(),
            Architectures::NativeAnd(others) => all
                .filter(|abi| *abi == Self::native(architecture) || others.contains(abi))
                .collect(),
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`: what a filter sees. x32 is told by its numbers alone.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xC000_003E,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xC000_00B7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xC000_00F3,
            Self::Riscv32 => 0x4000_00F3,
        }
    }

    /// Arguments have 32 bits.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, Self::X86 | Self::Arm | Self::Riscv32)
    }

    /// The number of `name`, if this ABI has it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        self.calls().get(name).copied()
    }

    /// Every call by name. Made once: the crate's own look-up goes through its whole list each time.
    pub(super) fn calls(self) -> &'static BTreeMap<&'static str, u32> {
        static TABLES: [OnceLock<BTreeMap<&str, u32>>; 7] = [const { OnceLock::new() }; 7];
        let make = || {
            let ours: Vec<(&'static str, i32)> = match self {
                Self::X86_64 | Self::X32 => {
                    x86_64::Sysno::iter().map(|c| (c.name(), c.id())).collect()
                }
                Self::X86 => x86::Sysno::iter().map(|c| (c.name(), c.id())).collect(),
                Self::Aarch64 => aarch64::Sysno::iter().map(|c| (c.name(), c.id())).collect(),
                Self::Arm => arm::Sysno::iter().map(|c| (c.name(), c.id())).collect(),
                Self::Riscv64 => riscv64::Sysno::iter().map(|c| (c.name(), c.id())).collect(),
                Self::Riscv32 => riscv32::Sysno::iter().map(|c| (c.name(), c.id())).collect(),
            };
            let native = ours
                .into_iter()
                .filter_map(|(name, number)| Some((name, u32::try_from(number).ok()?)))
                .chain(NEWER);
            if self == Self::X32 {
                return as_x32(native);
            }
            native.collect()
        };
        match self {
            Self::X86_64 => TABLES[0].get_or_init(make),
            Self::X86 => TABLES[1].get_or_init(make),
            Self::X32 => TABLES[2].get_or_init(make),
            Self::Aarch64 => TABLES[3].get_or_init(make),
            Self::Arm => TABLES[4].get_or_init(make),
            Self::Riscv64 => TABLES[5].get_or_init(make),
            Self::Riscv32 => TABLES[6].get_or_init(make),
        }
    }
}

fn as_x32(calls: impl Iterator<Item = (&'static str, u32)>) -> BTreeMap<&'static str, u32> {
    let own = X32_TABLE.zip(X32_OWN).map(|(number, name)| (name, number));
    calls
        .filter(|(name, _)| !X32_OWN.contains(name) && !NOT_X32.contains(name))
        .chain(own)
        .map(|(name, number)| (name, number | X32))
        .collect()
}

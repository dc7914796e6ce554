//! Limits: of the group as a whole, and of each process in it.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A cgroup by its path below the caller's own cgroup root (`herd/web`), in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CgroupName(pub String);

/// Resource limits: `cgroup` for the group, `rlimits` for each process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    pub cgroup: CgroupLimits,
    /// Limits of the groups above, which hold for all that is in them together; each names a part of
    /// the path of [`Config::cgroup`](crate::Config) that ends in `.slice`.
    pub slices: Vec<(CgroupName, CgroupLimits)>,
    pub rlimits: Vec<Rlimit>,
}

/// Limits of a cgroup, in v2's terms (`Documentation/admin-guide/cgroup-v2.rst`).
/// `compile` maps them to v1 where that is what the machine has, or says that it cannot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupLimits {
    pub memory: Option<Amount>,
    pub memory_high: Option<Amount>,
    pub memory_low: Option<Amount>,
    pub memory_min: Option<Amount>,
    /// Swap alone, as v2's `memory.swap.max`.
    pub swap: Option<Amount>,
    /// CPU time in percent of one core: 150 is one and a half cores.
    pub cpu_percent: Option<u32>,
    /// 1 to 10,000; the kernel's default is 100.
    pub cpu_weight: Option<u16>,
    /// CPUs as the kernel writes lists: `0-1,3`.
    pub cpus: Option<String>,
    /// NUMA nodes, written in the same way.
    pub memory_nodes: Option<String>,
    pub tasks: Option<Amount>,
    /// 1 to 10,000.
    pub io_weight: Option<u16>,
    /// Bytes a second per device or path.
    pub io_read: Vec<(PathBuf, u64)>,
    pub io_write: Vec<(PathBuf, u64)>,
    /// By size of the page; sizes that are not named are not limited.
    pub huge_pages: Vec<HugePages>,
    /// `None` leaves every device open.
    pub devices: Option<Devices>,
    /// What is below the group is the service's own business.
    pub delegation: Option<Delegation>,
    /// An out-of-memory kill takes the whole group (`memory.oom.group`).
    pub oom_group: bool,
}

impl CgroupLimits {
    /// Claims that nothing is limited, so that no controller is needed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An amount: a number of bytes or tasks, a share of the machine, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Amount {
    Exactly(u64),
    /// Percent of physical memory or of `kernel.threads-max`.
    Percent(u8),
    Infinity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    pub resource: Resource,
    /// `None` is `RLIM_INFINITY`. A soft limit above the hard one is refused by the parser.
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// `getrlimit(2)`; units in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Resource {
    /// bytes
    AddressSpace,
    /// bytes
    Core,
    /// seconds
    CpuTime,
    /// bytes
    Data,
    /// bytes
    FileSize,
    FileLocks,
    /// bytes
    LockedMemory,
    /// bytes
    MessageQueue,
    /// 20 − nice
    Nice,
    OpenFiles,
    Processes,
    /// 0 to 99
    RealtimePriority,
    /// microseconds
    RealtimeTime,
    PendingSignals,
    /// bytes
    Stack,
}

/// Huge pages of one size (`hugetlb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// Bytes of one page: 2 MiB and 1 GiB on x86-64.
    pub size: u64,
    /// Bytes in all.
    pub amount: Amount,
}

/// Which device nodes the group's processes may open and make, whatever file system they lie on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Devices {
    pub policy: DevicePolicy,
    pub allow: Vec<DeviceRule>,
}

/// What is open besides the rules (systemd's `DevicePolicy=`, without its `auto`, which is no
/// [`Devices`] at all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DevicePolicy {
    /// null, zero, full, random, urandom, tty, ptmx and the terminals of devpts.
    #[default]
    Closed,
    /// Nothing.
    Strict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub device: DeviceMatch,
    pub read: bool,
    pub write: bool,
    /// `mknod(2)`, which takes `CAP_MKNOD` besides.
    pub make: bool,
    /// A device that this machine does not have is no error.
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceMatch {
    /// The node at this path, by its number when the group is made.
    Path(PathBuf),
    /// Every device of a driver by its name in `/proc/devices`; `*` stands for any characters.
    Class {
        block: bool,
        driver: String,
    },
    Number(DeviceNumber),
}

/// A device's number; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNumber {
    pub block: bool,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

/// The group is the service's to divide (systemd's `Delegate=`): v2 alone, because a v1 group that is
/// given away is no limit any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delegation {
    /// The controllers that it can hand out, one that is not there being an error; whatever the
    /// machine has when there are none.
    pub controllers: Vec<String>,
    /// The process belongs to the service but is not part of it (a reload command, a probe): it is
    /// put beside what the service makes.
    pub beside: bool,
}

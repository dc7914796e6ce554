//! Which system calls a box may make: lists of names, an OCI profile, programs of the caller's own.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::host::KernelVersion;
use crate::seccomp::Program;

/// All that is asked of seccomp. Each part becomes a filter of its own (the lists and the walls
/// share one); among several filters the kernel takes the strictest answer (`seccomp(2)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCalls {
    /// `None` filters nothing by number.
    pub filter: Option<SystemCallFilter>,
    /// What a refused call gets: an errno, or the death of the process.
    pub refusal: Refusal,
    /// Calls that go through and are told to the kernel's audit log.
    pub log: Option<SystemCallLog>,
    /// Whose calls are let through at all.
    pub architectures: Architectures,
    /// A profile as Docker, Podman and the OCI runtime specification write it.
    pub profile: Option<SeccompProfile>,
    /// Programs of the caller's own, installed in this order after all others.
    pub programs: Vec<Program>,
}

impl Default for SystemCalls {
    /// No filter at all.
    fn default() -> Self {
        Self {
            filter: None,
            refusal: Refusal::Errno(EPERM),
            log: None,
            architectures: Architectures::All,
            profile: None,
            programs: Vec::new(),
        }
    }
}

const EPERM: i32 = 1;

/// Names and `@groups` as systemd writes them (`systemd.exec(5)`, `SystemCallFilter=`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCallFilter {
    /// `true`: all but `entries` are refused; `false`: only `entries` are.
    pub allow: bool,
    /// In order; an entry with `remove` takes away what an earlier one gave.
    pub entries: Vec<SystemCallEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCallEntry {
    /// A system call's name, or a group's with its `@`.
    pub name: String,
    pub remove: bool,
    /// An answer of its own for this entry (`name:EPERM`, `name:kill`).
    pub refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// 1 to 4095.
    Errno(i32),
    KillProcess,
}

/// Calls to be logged, as `SystemCallLog=` in `systemd.exec(5)`. A call that is refused is not logged
/// by this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCallLog {
    /// `true`: all but `names` are logged.
    pub all_but: bool,
    /// System calls, and groups with their `@`.
    pub names: Vec<String>,
}

/// The call conventions that are let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architectures {
    /// All that this machine's kernel may know.
    All,
    /// The native one and these; one that the machine does not have is shut in any case.
    NativeAnd(Vec<Abi>),
}

impl Architectures {
    /// What the default box has: the machine's own and no other.
    pub const NATIVE: Self = Self::NativeAnd(Vec::new());
}

/// A convention by which programs call the kernel: numbers, argument sizes, and the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Abi {
    X86_64,
    /// 32-bit programs on `x86_64` (`int 0x80`).
    X86,
    /// 64-bit registers with 32-bit pointers: numbers of `x86_64` with bit 30.
    X32,
    Aarch64,
    /// 32-bit programs on `aarch64`.
    Arm,
    Riscv64,
    /// 32-bit programs on `riscv64`.
    Riscv32,
}

/// Socket families by their `AF_*` numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressFamilies {
    Only(Vec<u16>),
    AllBut(Vec<u16>),
}

/// A seccomp profile: `linux.seccomp` of the OCI runtime specification, with the additions that
/// Docker and Podman make to it. [`crate::seccomp::parse_profile`] reads one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompProfile {
    /// How the plan calls it; a file's path, mostly.
    pub name: String,
    /// What a call gets that no rule is about.
    pub default_action: ProfileAction,
    pub architectures: ProfileArchitectures,
    pub rules: Vec<ProfileRule>,
    /// `SECCOMP_FILTER_FLAG_*` for the installation.
    pub flags: u32,
}

/// The answer of a filter (`SECCOMP_RET_*` of `seccomp(2)`), strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProfileAction {
    KillProcess,
    KillThread,
    Trap,
    /// 0 to 4095; 0 pretends that the call was made.
    Errno(u16),
    /// A tracer is asked, with this number; without one the call is ENOSYS.
    Trace(u16),
    Log,
    Allow,
}

/// Whose calls the rules of a profile are for, besides the native ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileArchitectures {
    Listed(Vec<Abi>),
    /// Docker's `archMap`: the companions of each native architecture.
    Companions(Vec<(Abi, Vec<Abi>)>),
}

/// One entry of a profile's `syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRule {
    /// A name that no architecture knows is passed over.
    pub names: Vec<String>,
    pub action: ProfileAction,
    /// All have to hold; but conditions on the same argument are alternatives.
    pub conditions: Vec<ArgumentCondition>,
    /// The rule counts only if all of this holds …
    pub includes: Circumstances,
    /// … and none of this.
    pub excludes: Circumstances,
}

/// Docker's conditions on a whole rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// Capabilities of the box's bounding set, by number.
    pub capabilities: Vec<u8>,
    pub architectures: Vec<Abi>,
    /// Architectures were named, if only such as herd does not run on.
    pub names_architectures: bool,
    pub minimum_kernel: Option<KernelVersion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgumentCondition {
    /// 0 to 5.
    pub index: u8,
    pub comparison: Comparison,
}

/// How an argument is compared: all of its 64 bits, or 32 on a 32-bit ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    MaskedEqual { mask: u64, value: u64 },
}

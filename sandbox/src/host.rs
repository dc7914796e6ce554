//! What this machine can do, read once.
//!
//! A [`Host`] is plain data: plans are made from it and never ask the kernel themselves, so tests
//! hold a table of hosts. [`Host::detect`] reads files and asks two harmless questions; it starts no
//! process. What can only be known by trying is [`doctor`]'s business.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::capability::{CAP_MKNOD, CAP_SYS_ADMIN};
use crate::config::Namespaces;
use crate::network::UserModeProgram;
use crate::relax::covers_proc;
use crate::sys::{capabilities, probe_clone, text_of};

mod cgroups;
pub mod doctor;
mod status;
mod trial;

pub use cgroups::{parse_cgroup, parse_mountinfo};

/// Facts about the machine and about the process that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub kernel: KernelVersion,
    pub architecture: Architecture,
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// Uid 0 with `CAP_SYS_ADMIN` in the effective set: boxes need no user namespace.
    pub is_root: bool,
    /// The effective set, bit per capability number.
    pub capabilities: u64,
    pub user_namespaces: UserNamespaces,
    /// The kinds that the kernel has.
    pub namespaces: Namespaces,
    /// Why nobody in a user namespace of ours could mount a `/proc` of its own; `None` where one can.
    pub no_new_proc: Option<String>,
    /// Why nobody in a user namespace of ours could name a UTS namespace of its own; `None` where one
    /// can, or where it was not tried.
    #[serde(default)]
    pub no_new_hostname: Option<String>,
    /// Why no tree of mounts can be made in a mount namespace of ours; `None` where one can, or where it was
    /// not tried.
    #[serde(default)]
    pub no_new_mounts: Option<String>,
    /// There is no `clone3(2)`: a container's filter answers so. Nobody can be born in a cgroup then.
    #[serde(default)]
    pub no_clone3: bool,
    /// A process may have a session keyring of its own.
    pub keyrings: bool,
    /// Nobody here can reach a keyring at all: no box needs one of its own.
    #[serde(default)]
    pub keyrings_shut: bool,
    pub memory_bytes: u64,
    pub cpus: u32,
    /// `kernel.threads-max`.
    pub threads_max: u64,
    /// 0 where landlock is absent or switched off.
    pub landlock_abi: u32,
    pub seccomp: bool,
    pub overlay: bool,
    /// What gives boxes networks of their own without root.
    #[serde(default)]
    pub user_mode: Option<UserModeProgram>,
    pub cgroups: Cgroups,
}

/// Which kernel runs; later parts of the version are of no use to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelVersion {
    pub major: u16,
    pub minor: u16,
}

/// The architecture of this binary: the one whose system calls count as native.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    X86_64,
    Aarch64,
    Riscv64,
}

/// What is known about new user namespaces of this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespaces {
    Allowed,
    Refused(Forbidder),
}

/// Who forbids user namespaces; [`Display`](fmt::Display) as the subject of "... forbids it".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forbidder {
    /// A setting of the whole machine, as `key=value`: a sysctl, or an option that the kernel was built with.
    Setting(String),
    /// Root maps itself by `CAP_SETFCAP` alone (`user_namespaces(7)`, Linux 5.12), and lacks it.
    NoFileCapability,
    /// A system call filter around us, with this errno.
    Filter(i32),
    /// No setting and no filter, with this errno: a security module or a `/proc` that is covered may be behind it.
    System(i32),
}

impl Forbidder {
    /// Claims that it is so for the whole machine, whatever a container was started with.
    pub fn is_of_machine(&self) -> bool {
        matches!(self, Self::Setting(_))
    }
}

impl fmt::Display for Forbidder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(setting) => f.write_str(setting),
            Self::NoFileCapability => f.write_str("the want of CAP_SETFCAP"),
            Self::Filter(errno) => {
                write!(f, "the system call filter around us ({})", text_of(*errno))
            }
            Self::System(errno) => write!(f, "this system ({})", text_of(*errno)),
        }
    }
}

/// The cgroup hierarchies that this process can see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cgroups {
    pub v2: Option<V2>,
    /// By controller; named hierarchies as `name=systemd`.
    pub v1: BTreeMap<String, V1>,
    /// v1 counts swap (`memory.memsw.*`).
    pub v1_swap: bool,
    /// The kernel asks programs on a v2 group about device nodes (`CONFIG_CGROUP_BPF`).
    pub device_programs: bool,
}

/// The unified hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V2 {
    pub mount: PathBuf,
    /// The caller's own group, below which ours are made.
    pub own: PathBuf,
    /// What `own`'s `cgroup.controllers` offers.
    pub controllers: Vec<String>,
    pub writable: bool,
}

/// One controller of the old kind. Controllers mounted together have the same `own`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1 {
    pub mount: PathBuf,
    pub own: PathBuf,
    pub writable: bool,
}

/// The name of the leaf into which herd moves itself so that its own group may hand out
/// controllers (cgroup v2's "no internal processes").
pub const SUPERVISOR_LEAF: &str = "herd-supervisor";

/// The machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot read {path}", path = path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} does not say {what}", path = path.display())]
    Missing { path: PathBuf, what: &'static str },
    #[error("herd has no system call table for this architecture")]
    Architecture,
}

impl Host {
    /// Reads `/proc` and `/sys`. Takes well below a millisecond and starts nothing.
    ///
    /// # Errors
    /// [`HostError`] when `/proc` is not mounted or a file there has lost what it always held.
    pub fn detect() -> Result<Self, HostError> {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let status = status::read(Path::new("/proc/self/status"))?;
        let memory_bytes = status::memory_bytes(Path::new("/proc/meminfo"))?;
        let threads_max = status::number(Path::new("/proc/sys/kernel/threads-max"))?;
        let uname = rustix::system::uname();
        let kernel = KernelVersion::parse(&uname.release().to_string_lossy());
        Ok(Self {
            kernel,
            architecture: Architecture::native().ok_or(HostError::Architecture)?,
            uid,
            gid,
            groups: status.groups,
            is_root: uid == 0 && status.effective & (1 << CAP_SYS_ADMIN) != 0,
            capabilities: status.effective,
            user_namespaces: user_namespaces(uid == 0),
            namespaces: namespaces(),
            no_new_proc: covers_proc(&status::text(Path::new("/proc/self/mountinfo"))?),
            no_new_hostname: None,
            no_new_mounts: None,
            no_clone3: !probe_clone::has_clone3(),
            keyrings: probe_clone::has_keyrings(),
            keyrings_shut: probe_clone::are_keyrings_shut(),
            memory_bytes,
            cpus: status.cpus,
            threads_max,
            landlock_abi: probe_clone::landlock_abi(),
            seccomp: probe_clone::has_seccomp_filter(),
            overlay: fs::read_to_string("/proc/filesystems")
                .is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay"))),
            user_mode: user_mode(),
            cgroups: cgroups::detect()?,
        })
    }

    /// The caller's own facts on a machine that is taken to be able: for a launcher, whose caller sees
    /// at once what the kernel refuses. Nothing is looked at but who we are; cgroups and landlock are
    /// not there, and device nodes are bound rather than made.
    ///
    /// # Errors
    /// What `capget(2)` answers: nothing, by the manual; and an architecture without a table.
    pub fn of_launcher() -> Result<Self, HostError> {
        let sets = capabilities::of_caller().map_err(|source| HostError::Read {
            path: "/proc/self/status".into(),
            source,
        })?;
        let uid = rustix::process::geteuid().as_raw();
        let uname = rustix::system::uname();
        Ok(Self {
            kernel: KernelVersion::parse(&uname.release().to_string_lossy()),
            architecture: Architecture::native().ok_or(HostError::Architecture)?,
            uid,
            gid: rustix::process::getegid().as_raw(),
            groups: Vec::new(),
            // Root without the capability is refused by the kernel, not given a user namespace unasked.
            is_root: uid == 0 || sets.effective & (1 << CAP_SYS_ADMIN) != 0,
            capabilities: sets.effective & !(1 << CAP_MKNOD),
            user_namespaces: UserNamespaces::Allowed,
            namespaces: Self::all_namespaces(),
            no_new_proc: None,
            no_new_hostname: None,
            no_new_mounts: None,
            no_clone3: false,
            keyrings: true,
            keyrings_shut: false,
            memory_bytes: 0,
            cpus: 1,
            threads_max: 0,
            landlock_abi: 0,
            seccomp: true,
            overlay: true,
            user_mode: None,
            cgroups: Cgroups::default(),
        })
    }

    /// Looks again for programs, which can be installed at any time.
    pub fn look_for_programs(&mut self) {
        self.user_mode = user_mode();
    }

    /// What a kernel of today has: for hosts written by hand.
    pub fn all_namespaces() -> Namespaces {
        Namespaces {
            mount: true,
            pid: true,
            ipc: true,
            uts: true,
            cgroup: true,
            user: true,
            net: true,
            time: true,
        }
    }

    /// Claims that a process can be made in a v2 group (`CLONE_INTO_CGROUP`, Linux 5.7). Else somebody has to join
    /// it before there is a program.
    pub fn has_births_in_cgroups(&self) -> bool {
        !self.no_clone3 && self.kernel >= KernelVersion::new(5, 7)
    }

    /// Claims that the effective set holds the capability of this number.
    pub fn has_capability(&self, number: u8) -> bool {
        self.capabilities
            .checked_shr(u32::from(number))
            .is_some_and(|set| set & 1 == 1)
    }
}

impl KernelVersion {
    pub fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads `6.18.44-fc`; a part that is no number counts as 0, so that no feature is assumed.
    pub fn parse(release: &str) -> Self {
        let mut parts = release.split('.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        });
        let major = parts.next().unwrap_or(0);
        Self {
            major,
            minor: parts.next().unwrap_or(0),
        }
    }
}

impl Architecture {
    pub fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else {
            None
        }
    }
}

fn user_mode() -> Option<UserModeProgram> {
    UserModeProgram::find(|path| path.is_file())
}

fn namespaces() -> Namespaces {
    let has = |kind: &str| Path::new("/proc/self/ns").join(kind).exists();
    Namespaces {
        mount: has("mnt"),
        pid: has("pid"),
        ipc: has("ipc"),
        uts: has("uts"),
        cgroup: has("cgroup"),
        user: has("user"),
        net: has("net"),
        time: has("time"),
    }
}

/// The sysctls that switch user namespaces off: the kernel's own, Debian's and Ubuntu's.
fn user_namespaces(is_root: bool) -> UserNamespaces {
    let value = |key: &str| {
        fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let forbidding: [(&str, &str, bool); 3] = [
        ("user.max_user_namespaces", "0", true),
        ("kernel.unprivileged_userns_clone", "0", !is_root),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            !is_root,
        ),
    ];
    if !Path::new("/proc/self/ns/user").exists() {
        return UserNamespaces::Refused(Forbidder::Setting("CONFIG_USER_NS=n".to_owned()));
    }
    forbidding
        .iter()
        .find(|(key, bad, applies)| *applies && value(key).as_deref() == Some(*bad))
        .map_or(UserNamespaces::Allowed, |(key, bad, _)| {
            UserNamespaces::Refused(Forbidder::Setting(format!("{key}={bad}")))
        })
}

#[cfg(test)]
impl Host {
    /// Root's machine with all that 6.18 has, but for cgroups.
    pub(crate) fn of_tests(architecture: Architecture) -> Self {
        Self {
            kernel: KernelVersion::new(6, 18),
            architecture,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            is_root: true,
            capabilities: u64::MAX,
            user_namespaces: UserNamespaces::Allowed,
            namespaces: Self::all_namespaces(),
            no_new_proc: None,
            no_new_hostname: None,
            no_new_mounts: None,
            no_clone3: false,
            keyrings: true,
            keyrings_shut: false,
            memory_bytes: 1 << 30,
            cpus: 2,
            threads_max: 1000,
            landlock_abi: 7,
            seccomp: true,
            overlay: true,
            user_mode: None,
            cgroups: Cgroups::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_is_read_up_to_its_minor_number() {
        assert_eq!(
            KernelVersion::parse("6.18.44-fc-v669"),
            KernelVersion::new(6, 18)
        );
        assert_eq!(KernelVersion::parse("5.4-rc1"), KernelVersion::new(5, 4));
        assert_eq!(KernelVersion::parse("garbage"), KernelVersion::new(0, 0));
    }

    #[test]
    fn who_forbids_user_namespaces_is_told_in_words() {
        let told = [
            Forbidder::Setting("user.max_user_namespaces=0".into()),
            Forbidder::NoFileCapability,
            Forbidder::Filter(libc::EPERM),
            Forbidder::System(libc::EACCES),
        ]
        .map(|who| (who.to_string(), who.is_of_machine()));
        let words = [
            ("user.max_user_namespaces=0".to_owned(), true),
            ("the want of CAP_SETFCAP".to_owned(), false),
            (
                "the system call filter around us (operation not permitted)".to_owned(),
                false,
            ),
            ("this system (permission denied)".to_owned(), false),
        ];
        assert_eq!(told, words);
    }

    #[test]
    fn this_machine_can_be_read_and_survives_serde() {
        let host = Host::detect().unwrap();
        assert!(host.memory_bytes > 1 << 20 && host.cpus > 0 && host.threads_max > 0);
        assert!(!host.has_capability(200));
        let json = serde_json::to_string(&host).unwrap();
        assert_eq!(serde_json::from_str::<Host>(&json).unwrap(), host);
    }
}

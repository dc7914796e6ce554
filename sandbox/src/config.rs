//! What one process is to run as, and behind which walls: the public vocabulary of the crate.
//!
//! A [`Config`] is plain data. It says nothing about the machine: [`compile`](crate::compile()) turns
//! it into a [`Plan`](crate::Plan) for one [`Host`](crate::Host), or into an error that names the
//! wall which that host cannot build.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capability::CAP_CHECKPOINT_RESTORE;

mod file_system;
mod landlock;
mod limits;
mod network;
mod system_calls;
mod user;
mod wall;

pub use file_system::{
    BindMount, BindSource, Data, EnterRoot, Held, IdMappedMount, MountAction, Propagation, Root,
    RootOverlay, Upper,
};
pub use landlock::{Landlock, PathAccess, PathRule, PortAccess, PortRule, Ports, Scope, Scopes};
pub use limits::{
    Amount, CgroupLimits, CgroupName, Delegation, DeviceMatch, DeviceNumber, DevicePolicy,
    DeviceRule, Devices, HugePages, Limits, Resource, Rlimit,
};
pub use network::{
    Access, BridgeNetwork, Direction, Interface, Link, MacAddress, Network, NetworkSyntax, Peer,
    Port, PrivateNetwork, Protocol, Rates, Verdict,
};
pub use system_calls::{
    Abi, AddressFamilies, Architectures, ArgumentCondition, Circumstances, Comparison,
    ProfileAction, ProfileArchitectures, ProfileRule, Refusal, SeccompProfile, SystemCallEntry,
    SystemCallFilter, SystemCallLog, SystemCalls,
};
pub use user::{
    Capabilities, IdMaps, IdRange, Join, NamespaceKind, NamespaceSource, SecureBit, TimeOffsets,
    UserNamespace,
};
pub use wall::Wall;

/// One process to start: what, as whom, with which limits, and behind which walls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Human name, used in messages, as hostname of the box and as leaf of its cgroup.
    pub name: String,
    pub process: Process,
    pub identity: Identity,
    /// Directories made (and given to the identity) before anything else happens.
    pub directories: Vec<Directory>,
    pub limits: Limits,
    /// The cgroup the process lives in; `None` leaves it in the caller's.
    pub cgroup: Option<CgroupName>,
    /// `None` is a bare process: no wall at all.
    pub walls: Option<Walls>,
    /// How the launch is held, synchronised and kept alive.
    pub lifecycle: Lifecycle,
}

/// What happens around a launch, for callers that take part in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lifecycle {
    /// The box is held once its namespaces exist, until the caller lets it go: the caller can read
    /// the ids of its namespaces, write its maps, or move interfaces into it.
    pub gate: bool,
    /// The box waits until one byte (or the end of file) has been read from this descriptor: set up
    /// and without privileges, before its program.
    pub block: Option<Held>,
    /// The box's first process keeps this descriptor open for as long as it lives.
    pub sync: Option<Held>,
    /// Files of the box on which its first process holds a read lock (`fcntl(2)`) while it lives. Relative
    /// ones start where the program does, with [`Process::working_directories`].
    pub lock_files: Vec<PathBuf>,
    /// The box lasts until the last of its processes has ended, and not only as long as its main
    /// process, whose end is told at once.
    pub linger: bool,
}

/// The program and its surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// `argv[0]` is looked up in `search_path` unless it contains a slash.
    pub argv: Vec<OsString>,
    /// Replaces `argv[0]` as the program sees it.
    pub argv0: Option<OsString>,
    pub search_path: Vec<PathBuf>,
    /// The whole environment: nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
    pub working_directory: Option<PathBuf>,
    /// A working directory that is missing falls back to `/` (systemd's `-` prefix).
    pub working_directory_optional: bool,
    /// Instead of `working_directory`: the first of these that can be entered, and `PWD` in the
    /// environment names it. Relative ones start at `/`.
    pub working_directories: Vec<PathBuf>,
    pub umask: Option<u32>,
    /// `setsid(2)`: a session of its own. Without it a process shares its caller's terminal, into
    /// which only a system call filter keeps it from typing.
    pub new_session: bool,
    /// Makes descriptor 0 the controlling terminal of the new session.
    pub controlling_terminal: bool,
    /// A process group of its own, to which the terminal at descriptor 0 is handed: as an interactive
    /// shell starts a job. For a program that shares its caller's session, whose caller is in the
    /// foreground of that terminal and takes it back at the end
    /// ([`Session`](crate::session::Session) does both).
    pub foreground: bool,
    pub scheduling: Scheduling,
    /// `PR_SET_PDEATHSIG` with SIGKILL.
    pub die_with_parent: bool,
    /// The program gets what a program executed by the caller itself would: signals that are ignored
    /// or blocked stay so, as the caller itself was started with them, and a file without a format that
    /// the kernel knows is a script of the shell (`execvp(3)`). For a launcher that stands between its
    /// own caller and the program.
    pub as_if_executed: bool,
    /// SIGPIPE is ignored (systemd's `IgnoreSIGPIPE=yes`, the default of services there).
    pub ignore_sigpipe: bool,
    /// Passed descriptors from number 3 on get `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`.
    /// The child's own pid is only known to the child, so the engine appends `LISTEN_PID`.
    pub listen_names: Vec<String>,
    /// Which of the caller's descriptors the program gets.
    pub inherit: Inherit,
    /// `(variable, number)`: the pid of the process itself is set in these variables
    /// (`WATCHDOG_PID`), again because only the child knows it.
    pub pid_variables: Vec<String>,
}

/// Which descriptors a program inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Inherit {
    /// 0 to 2 and those in [`Files::passed`](crate::Files::passed); all others are closed.
    #[default]
    Passed,
    /// All that the caller has left without close-on-exec, but for those held for the launch: for a
    /// launcher that stands between its own caller and the program.
    All,
}

/// Numeric identity; names are resolved by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// `Some` replaces the supplementary groups (`setgroups(2)`), `None` clears them when the process
    /// changes to another user or group and leaves them alone otherwise. In a user namespace with
    /// [`IdMaps::Caller`] nobody changes to anybody, and only root can drop them, before it is made.
    pub groups: Option<Vec<u32>>,
}

/// A directory the service owns (`state_directory` and its kin).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    pub path: PathBuf,
    pub mode: u32,
    /// Writable from inside the box even where all else is read-only.
    pub writable: bool,
    /// If it has another owner, all that is in it is given to the identity too. Only in a box.
    pub whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scheduling {
    /// −20 to 19.
    pub nice: Option<i8>,
    /// −1000 to 1000.
    pub oom_score_adjust: Option<i16>,
    pub cpu_policy: Option<CpuPolicy>,
    /// 1 to 99, for `fifo` and `rr`.
    pub cpu_priority: Option<u8>,
    pub cpu_affinity: Option<Vec<u32>>,
    pub io_class: Option<IoClass>,
    /// 0 (first) to 7.
    pub io_priority: Option<u8>,
    pub timer_slack: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuPolicy {
    Other,
    Batch,
    Idle,
    Fifo,
    RoundRobin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoClass {
    None,
    Realtime,
    BestEffort,
    Idle,
}

/// Every wall of a box. [`Walls::default_box`] is what `boxed = true` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walls {
    pub namespaces: Namespaces,
    /// Namespaces of others that the box joins; not to be asked for in `namespaces` too, but for
    /// `Pid`, where a new one is then made below the one joined.
    pub join: Vec<Join>,
    /// `None` makes one only where the caller is not root and a wall takes it.
    pub user_namespace: Option<UserNamespace>,
    /// The launch fails unless no further user namespace can be made where the box stands.
    pub assert_user_namespaces_disabled: bool,
    pub root: Root,
    pub root_overlay: RootOverlay,
    pub enter_root: EnterRoot,
    pub propagation: Propagation,
    pub read_only_root: bool,
    /// Hostname in the UTS namespace; the config's name when absent.
    pub hostname: Option<OsString>,
    /// Of the clocks in the time namespace, which `namespaces.time` asks for.
    pub time_offsets: TimeOffsets,
    /// NIS domain name in the UTS namespace, which keeps the host's when absent.
    pub domainname: Option<String>,
    pub protect_system: ProtectSystem,
    pub protect_home: ProtectHome,
    pub private_tmp: bool,
    pub private_devices: bool,
    pub protect_proc: ProtectProc,
    /// Only the process part of `/proc` (`subset=pid`).
    pub proc_subset_pid: bool,
    pub protect_kernel_tunables: bool,
    pub protect_kernel_modules: bool,
    pub protect_kernel_logs: bool,
    pub protect_control_groups: bool,
    pub protect_clock: bool,
    pub protect_hostname: bool,
    /// A path that starts with `-` in the unit is `optional`: skipped when missing.
    pub read_only_paths: Vec<BoxPath>,
    pub read_write_paths: Vec<BoxPath>,
    pub inaccessible_paths: Vec<BoxPath>,
    /// No program can be run from here or below (`noexec`), but from `exec_paths` below.
    pub no_exec_paths: Vec<BoxPath>,
    pub exec_paths: Vec<BoxPath>,
    pub temporary_file_systems: Vec<TemporaryFileSystem>,
    pub binds: Vec<Bind>,
    /// Done in order, after everything above.
    pub mounts: Vec<MountAction>,
    /// Set in any case where a system call filter stands.
    pub no_new_privileges: bool,
    /// Capability numbers kept in the bounding set (`capabilities(7)`).
    pub capability_bounding_set: Vec<u8>,
    /// What the program starts with.
    pub capabilities: Capabilities,
    /// With [`Capabilities::ByUser`].
    pub ambient_capabilities: Vec<u8>,
    pub secure_bits: Vec<SecureBit>,
    pub lock_personality: bool,
    pub memory_deny_write_execute: bool,
    pub restrict_realtime: bool,
    pub restrict_suid_sgid: bool,
    /// New namespaces of these kinds are refused inside (`unshare`, `clone`, `clone3`, `setns`).
    pub restrict_namespaces: RestrictNamespaces,
    /// `None` allows all families.
    pub restrict_address_families: Option<AddressFamilies>,
    pub system_calls: SystemCalls,
    pub landlock: Landlock,
    pub keyring: Keyring,
    pub network: Network,
    /// In a network namespace of another box that is joined: the box sees the `/etc/hosts` and
    /// `/etc/resolv.conf` of the [`PrivateNetwork`] of this id.
    pub network_names: Option<String>,
    /// The box's own first process is the command itself, not herd's reaper.
    pub as_pid_1: bool,
    /// Walls that may be missing; each one given up is reported.
    pub best_effort: Vec<Wall>,
}

impl Walls {
    /// No wall at all: what `profile = "none"` starts from.
    pub fn bare() -> Self {
        Self {
            namespaces: Namespaces::default(),
            join: Vec::new(),
            user_namespace: None,
            assert_user_namespaces_disabled: false,
            root: Root::Host,
            root_overlay: RootOverlay::None,
            enter_root: EnterRoot::Pivot,
            propagation: Propagation::Private,
            read_only_root: false,
            hostname: None,
            time_offsets: TimeOffsets::default(),
            domainname: None,
            protect_system: ProtectSystem::No,
            protect_home: ProtectHome::No,
            private_tmp: false,
            private_devices: false,
            protect_proc: ProtectProc::Default,
            proc_subset_pid: false,
            protect_kernel_tunables: false,
            protect_kernel_modules: false,
            protect_kernel_logs: false,
            protect_control_groups: false,
            protect_clock: false,
            protect_hostname: false,
            read_only_paths: Vec::new(),
            read_write_paths: Vec::new(),
            inaccessible_paths: Vec::new(),
            no_exec_paths: Vec::new(),
            exec_paths: Vec::new(),
            temporary_file_systems: Vec::new(),
            binds: Vec::new(),
            mounts: Vec::new(),
            no_new_privileges: false,
            capability_bounding_set: (0..=CAP_CHECKPOINT_RESTORE).collect(),
            capabilities: Capabilities::ByUser,
            ambient_capabilities: Vec::new(),
            secure_bits: Vec::new(),
            lock_personality: false,
            memory_deny_write_execute: false,
            restrict_realtime: false,
            restrict_suid_sgid: false,
            restrict_namespaces: RestrictNamespaces::None,
            restrict_address_families: None,
            system_calls: SystemCalls::default(),
            landlock: Landlock::default(),
            keyring: Keyring::Inherit,
            network: Network::Host,
            network_names: None,
            as_pid_1: false,
            best_effort: Vec::new(),
        }
    }

    /// Claims that the box sees processes of another PID namespace than its caller does.
    pub(crate) fn has_other_processes(&self) -> bool {
        let joined = |join: &Join| join.kind == NamespaceKind::Pid;
        self.namespaces.pid || self.join.iter().any(joined)
    }

    /// Namespaces and no new privileges, nothing finer: `profile = "minimal"`.
    pub fn minimal_box() -> Self {
        Self {
            namespaces: Namespaces {
                mount: true,
                pid: true,
                ipc: true,
                uts: true,
                cgroup: true,
                ..Namespaces::default()
            },
            private_tmp: true,
            no_new_privileges: true,
            keyring: Keyring::Private,
            ..Self::bare()
        }
    }

    /// What `boxed = true` means (language.md, *The default box*).
    pub fn default_box() -> Self {
        Self {
            read_only_root: true,
            protect_system: ProtectSystem::Strict,
            protect_home: ProtectHome::Yes,
            private_devices: true,
            protect_proc: ProtectProc::Invisible,
            protect_kernel_tunables: true,
            protect_kernel_modules: true,
            protect_kernel_logs: true,
            protect_control_groups: true,
            protect_clock: true,
            protect_hostname: true,
            capability_bounding_set: Vec::new(),
            lock_personality: true,
            restrict_realtime: true,
            restrict_suid_sgid: true,
            restrict_namespaces: RestrictNamespaces::All,
            system_calls: SystemCalls {
                filter: Some(crate::seccomp::default_filter()),
                architectures: Architectures::NATIVE,
                ..SystemCalls::default()
            },
            landlock: Landlock {
                scopes: Scopes {
                    abstract_unix_sockets: Scope::WhereOffered,
                    ..Scopes::default()
                },
                ..Landlock::default()
            },
            ..Self::minimal_box()
        }
    }

    /// The default box, without network, writable code or privileged system calls:
    /// `profile = "strict"`.
    pub fn strict_box() -> Self {
        let mut strict = Self {
            memory_deny_write_execute: true,
            proc_subset_pid: true,
            restrict_address_families: Some(AddressFamilies::Only(vec![AF_UNIX])),
            network: Network::None,
            ..Self::default_box()
        };
        strict.namespaces.net = true;
        if let Some(filter) = &mut strict.system_calls.filter {
            filter
                .entries
                .extend(["@privileged", "@resources"].map(|group| SystemCallEntry {
                    name: group.to_owned(),
                    remove: true,
                    refusal: None,
                }));
        }
        strict
    }
}

const AF_UNIX: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespaces {
    pub mount: bool,
    pub pid: bool,
    pub ipc: bool,
    pub uts: bool,
    pub cgroup: bool,
    /// A user namespace is added by `compile` when the host says we are not root.
    pub user: bool,
    pub net: bool,
    pub time: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtectSystem {
    No,
    /// `/usr` and `/boot` read-only.
    Yes,
    /// and `/etc`.
    Full,
    /// the whole tree.
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtectHome {
    No,
    /// `/home`, `/root`, `/run/user` cannot be entered.
    Yes,
    ReadOnly,
    /// Empty, read-only tmpfs in their place.
    Tmpfs,
}

/// What `/proc` shows of other users' processes (`hidepid=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtectProc {
    Default,
    NoAccess,
    Invisible,
    Ptraceable,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxPath {
    pub path: PathBuf,
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporaryFileSystem {
    pub path: PathBuf,
    pub mode: u32,
    /// bytes
    pub size: Option<u64>,
    pub read_only: bool,
}

/// `source` of the host appears at `target` in the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
    pub optional: bool,
    pub recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestrictNamespaces {
    None,
    /// Every kind.
    All,
    /// Only these may be made.
    AllowOnly(Namespaces),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keyring {
    Inherit,
    /// A new session keyring, linked to nothing.
    Private,
    /// A new session keyring with the user's keyring linked into it: what services of one user share.
    Shared,
}

/// The names of `capabilities(7)` in the order of their numbers, without `CAP_`: the one list of them.
pub const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

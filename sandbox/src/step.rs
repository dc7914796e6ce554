//! One thing to do on the way to the service's `execve`: data, and the sentence that names it.
//!
//! The sentences are what `herd plan` prints, what golden tests compare, and what a failure says:
//! `mount proc on /proc (step 14 of 23): operation not permitted`.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupPlan;
use crate::config::{CpuPolicy, Held, Inherit, IoClass, PrivateNetwork, Rlimit, SecureBit};
use crate::filesystem::MountStep;
use crate::identity::join::JoinStep;
use crate::identity::maps::{Alone, Maps};
use crate::landlock::LandlockStep;
use crate::network::user_mode::UserNetwork;
use crate::seccomp;

/// A step. Paths and strings are in the kernel's own form, so that walking the steps of a bare
/// process allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    // In the carrier.
    Directory(OwnedDirectory),
    OomScore(i16),
    CreateCgroup(CgroupPlan),
    JoinCgroup(CgroupPlan),
    /// In the caller's network namespace.
    TakeNetwork(Box<NetworkLease>),
    /// The same without root, by a program that is started once there is a box.
    KeepNetwork(Box<UserNetwork>),
    /// The caller's own tree is still ours.
    Join(Vec<JoinStep>),
    /// Kept by the walker until it is joined, behind the set-up.
    HoldSecondUser(JoinStep),
    /// Offsets in seconds of the monotonic and of the boot-time clock; of the children of the walker.
    TimeNamespace {
        monotonic: i64,
        boottime: i64,
    },
    UserNamespace(Alone),
    LimitUserNamespaces(u8),
    /// New namespaces of the process that walks.
    Namespaces(NamespaceSet),
    /// The rest of the plan is walked by a new process, which is made in these namespaces.
    FirstProcess(NamespaceSet),
    /// The caller is told which namespaces there are, and says when to go on.
    Gate,
    // In the box.
    /// The carrier, outside, writes them.
    Maps(Maps),
    /// From here on nobody who shares our user may look at us.
    Untraceable,
    SecondUserNamespace(Alone),
    JoinSecondUser,
    AssertNoUserNamespaces,
    Hostname(CString),
    Domainname(CString),
    Loopback,
    /// Gives the new network namespace its interfaces, by the lease that was taken.
    Connect,
    Mount(MountStep),
    /// Until this descriptor can be read.
    Block(Held),
    /// The box's first process keeps this descriptor open.
    KeepOpen(Held),
    /// The box's first process holds a read lock on this file.
    Lock(CString),
    /// The box's first process stays until nothing is left to reap.
    Linger,
    /// The walker stays behind as the box's reaper, the rest is walked by the main process.
    StartMain,
    // In the main process.
    Descriptors(Inherit),
    Session {
        controlling_terminal: bool,
    },
    /// A process group of its own, in the foreground of the terminal at descriptor 0.
    Foreground,
    Signals {
        ignore_sigpipe: bool,
    },
    /// Signals are as the caller itself was given them.
    SignalsOfCaller,
    Nice(i8),
    Scheduler {
        policy: CpuPolicy,
        priority: u8,
    },
    Affinity(Affinity),
    IoPriority {
        class: IoClass,
        priority: u8,
    },
    TimerSlack {
        nanoseconds: u64,
    },
    Rlimit(Rlimit),
    Umask(u32),
    /// Drops all but these (bit n is capability n) from the bounding set.
    BoundingSet {
        keep: u64,
    },
    Groups(Vec<u32>),
    Gid(u32),
    KeepCapabilities,
    Uid(u32),
    /// Permitted and effective are cut to `permitted`.
    Capabilities {
        permitted: u64,
        inheritable: u64,
    },
    Ambient(Vec<u8>),
    SecureBits(Vec<SecureBit>),
    DieWithParent,
    WorkingDirectory {
        path: CString,
        optional: bool,
    },
    /// The first that can be entered, and `PWD` says which.
    FirstDirectory(Vec<CString>),
    Keyring {
        with_user_keyring: bool,
    },
    NoNewPrivileges,
    Landlock(LandlockStep),
    Filter {
        program: seccomp::Program,
        /// `SECCOMP_FILTER_FLAG_*`.
        flags: u32,
        words: String,
    },
    Exec(Program),
}

impl Step {
    pub(crate) fn as_descriptors(&self) -> Option<Inherit> {
        if let Self::Descriptors(inherit) = self {
            Some(*inherit)
        } else {
            None
        }
    }

    pub(crate) fn as_first_directory(&self) -> Option<&[CString]> {
        if let Self::FirstDirectory(paths) = self {
            Some(paths)
        } else {
            None
        }
    }

    pub(crate) fn as_exec(&self) -> Option<&Program> {
        if let Self::Exec(program) = self {
            Some(program)
        } else {
            None
        }
    }
}

/// What a box needs of the host before it can have a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkLease {
    pub(crate) network: PrivateNetwork,
    /// A user namespace lies between, behind which nothing of the host's can be made.
    pub(crate) by_hand: bool,
    /// Names files are put over the host's own, where it has them.
    pub(crate) over_host_tree: bool,
    /// What a process may do that leads ports the kernel does not lead, where there are any.
    pub(crate) relay: Option<seccomp::Program>,
}

/// A directory to be made if it is missing, and given to its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnedDirectory {
    pub(crate) path: CString,
    /// The path, name by name from `/` on.
    pub(crate) names: Vec<CString>,
    /// So many of them may be links, of root's or ours; further down the service itself can write.
    pub(crate) may_be_links: usize,
    pub(crate) mode: u32,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// With all that is in it, if it has another owner.
    pub(crate) whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Affinity {
    /// Bit n is CPU n.
    pub(crate) mask: Vec<u64>,
    pub(crate) cpus: Vec<u32>,
}

/// `CLONE_NEW*` flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct NamespaceSet(pub(crate) u64);

/// The kernel's names for the flags, in the order they are told.
const NAMESPACES: [(i32, &str); 7] = [
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWNS, "mount"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
    (libc::CLONE_NEWNET, "network"),
];

impl NamespaceSet {
    pub(crate) fn of(flag: i32) -> Self {
        let mut set = Self::default();
        set.add(flag);
        set
    }

    /// Claims that all of `others` are in it.
    pub(crate) fn has_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// How many there are.
    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// What is in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in it and not in the other.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn has_pid(self) -> bool {
        self.has(libc::CLONE_NEWPID)
    }

    pub(crate) fn has(self, flag: i32) -> bool {
        self.0 & u64::from(flag.unsigned_abs()) != 0
    }

    pub(crate) fn add(&mut self, flag: i32) {
        self.0 |= u64::from(flag.unsigned_abs());
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for NamespaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMESPACES
            .iter()
            .filter(|(flag, _)| self.has(*flag))
            .map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

/// The program, laid out for `execve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// As the unit has it.
    pub(crate) command: CString,
    /// Where it may be, in the order tried.
    pub(crate) candidates: Vec<CString>,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// Variables that hold the process's own pid.
    pub(crate) pid_variables: Vec<CString>,
    /// A file without a format that the kernel knows is a script of the shell (`execvp(3)`).
    pub(crate) may_be_script: bool,
}

impl Program {
    /// What a failure to run it is about: `command /bin/x` or `x: not found in PATH (…)`.
    pub(crate) fn failure(&self, errno: i32) -> String {
        let not_found = errno == libc::ENOENT || errno == libc::ENOTDIR;
        if not_found && !self.command.to_bytes().contains(&b'/') {
            let directories: Vec<_> = self.candidates.iter().map(|path| parent_of(path)).collect();
            return format!(
                "{}: not found in PATH ({})",
                text(&self.command),
                directories.join(":")
            );
        }
        format!(
            "command {}: {}",
            text(&self.command),
            crate::sys::text_of(errno)
        )
    }
}

fn parent_of(path: &CStr) -> String {
    let path = text(path);
    path.rsplit_once('/')
        .map_or(path.clone(), |(parent, _)| parent.to_owned())
}

/// Bytes as a person can read them on one line.
pub(crate) fn text(string: &CStr) -> String {
    let lossy = string.to_string_lossy();
    if lossy.chars().any(char::is_control) {
        lossy.escape_debug().to_string()
    } else {
        lossy.into_owned()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => {
                write!(
                    f,
                    "make directory {} (mode {:04o}",
                    text(&directory.path),
                    directory.mode
                )?;
                if let Some(uid) = directory.uid {
                    write!(f, ", user {uid}")?;
                }
                if let Some(gid) = directory.gid {
                    write!(f, ", group {gid}")?;
                }
                if directory.whole {
                    f.write_str(", with all that is in it")?;
                }
                f.write_str(")")
            }
            Self::OomScore(score) => write!(f, "set the out-of-memory score to {score}"),
            Self::CreateCgroup(plan) => write!(f, "create {plan}"),
            Self::TakeNetwork(lease) => lease.network.fmt(f),
            Self::KeepNetwork(wanted) => wanted.fmt(f),
            Self::Connect => {
                f.write_str("bring up lo and the box's interfaces, with addresses and routes")
            }
            Self::JoinCgroup(plan) => write!(f, "join cgroup {}", plan.name.0),
            Self::HoldSecondUser(one) => write!(f, "hold {one}"),
            Self::JoinSecondUser => f.write_str("join the second user namespace"),
            Self::Join(all) => {
                let words: Vec<_> = all.iter().map(ToString::to_string).collect();
                write!(f, "join {}", words.join(", "))
            }
            Self::TimeNamespace {
                monotonic: 0,
                boottime: 0,
            } => f.write_str("make a time namespace for the children"),
            Self::TimeNamespace {
                monotonic,
                boottime,
            } => write!(
                f,
                "make a time namespace for the children, {monotonic} s (monotonic) and {boottime} s \
                 (since boot) ahead"
            ),
            Self::UserNamespace(alone) => write!(f, "enter a new user namespace {alone}"),
            Self::LimitUserNamespaces(0) => f.write_str("allow no further user namespace"),
            Self::LimitUserNamespaces(most) => {
                write!(f, "allow {most} further user namespace and none after it")
            }
            Self::Maps(maps) => maps.fmt(f),
            Self::Untraceable => f.write_str("be untraceable"),
            Self::SecondUserNamespace(alone) => {
                write!(f, "enter a second user namespace {alone}")
            }
            Self::AssertNoUserNamespaces => {
                f.write_str("make sure that no further user namespace can be made")
            }
            Self::FirstProcess(set) if set.is_empty() => {
                f.write_str("start the box's first process in the namespaces joined")
            }
            Self::FirstProcess(set) => {
                write!(f, "start the box's first process in new namespaces: {set}")
            }
            Self::Namespaces(set) => write!(f, "enter new namespaces: {set}"),
            Self::Hostname(name) => write!(f, "set the hostname to {}", text(name)),
            Self::Domainname(name) => write!(f, "set the domain name to {}", text(name)),
            Self::Loopback => f.write_str("bring the loopback interface up"),
            Self::Mount(step) => step.fmt(f),
            Self::Gate => f.write_str("wait at the gate for the caller"),
            Self::Block(held) => write!(f, "wait until held descriptor {} can be read", held.0),
            Self::KeepOpen(held) => write!(f, "keep held descriptor {} open", held.0),
            Self::Lock(path) => write!(f, "lock {} for reading", text(path)),
            Self::Linger => f.write_str("stay until every process of the box has ended"),
            Self::StartMain => f.write_str("start the main process and reap for it"),
            Self::Descriptors(Inherit::All) => {
                f.write_str("keep all descriptors but those held and those that close on exec")
            }
            Self::Descriptors(Inherit::Passed) => {
                f.write_str("keep descriptors 0 to 2 and those passed, close all others")
            }
            Self::Session {
                controlling_terminal: false,
            } => f.write_str("start a new session"),
            Self::Session {
                controlling_terminal: true,
            } => f.write_str("start a new session with descriptor 0 as its terminal"),
            Self::Foreground => {
                f.write_str("take the terminal's foreground with a group of its own")
            }
            Self::Signals {
                ignore_sigpipe: false,
            } => f.write_str("reset all signals"),
            Self::Signals {
                ignore_sigpipe: true,
            } => f.write_str("reset all signals but SIGPIPE, which is ignored"),
            Self::SignalsOfCaller => f.write_str("leave signals as the caller got them"),
            Self::Nice(nice) => write!(f, "set the nice level to {nice}"),
            Self::Scheduler { policy, priority } => {
                write!(f, "set the cpu policy to {policy:?}, priority {priority}")
            }
            Self::Affinity(affinity) => write!(f, "run on cpus {:?} only", affinity.cpus),
            Self::IoPriority { class, priority } => {
                write!(f, "set the io class to {class:?}, priority {priority}")
            }
            Self::TimerSlack { nanoseconds } => {
                write!(f, "set the timer slack to {nanoseconds} ns")
            }
            Self::Rlimit(limit) => {
                write!(f, "limit {:?} to {}", limit.resource, amount(limit.soft))?;
                if limit.hard == limit.soft {
                    Ok(())
                } else {
                    write!(f, ", {} at most", amount(limit.hard))
                }
            }
            Self::Umask(mask) => write!(f, "set the umask to {mask:04o}"),
            Self::BoundingSet { keep: 0 } => {
                f.write_str("drop every capability from the bounding set")
            }
            Self::BoundingSet { keep } => {
                write!(
                    f,
                    "drop all but {} from the bounding set",
                    capabilities(*keep)
                )
            }
            Self::Groups(groups) if groups.is_empty() => {
                f.write_str("leave all supplementary groups")
            }
            Self::Groups(groups) => write!(f, "set the supplementary groups to {groups:?}"),
            Self::Gid(gid) => write!(f, "change to group {gid}"),
            Self::KeepCapabilities => f.write_str("keep capabilities over the change of user"),
            Self::Uid(uid) => write!(f, "change to user {uid}"),
            Self::Capabilities {
                permitted: 0,
                inheritable: 0,
            } => f.write_str("give up every capability"),
            Self::Capabilities {
                permitted,
                inheritable,
            } => write!(
                f,
                "keep capabilities {}, inheritable {}",
                capabilities(*permitted),
                capabilities(*inheritable)
            ),
            Self::Ambient(set) => {
                let set = set.iter().fold(0, |set, number| set | 1u64 << number);
                write!(f, "make {} ambient", capabilities(set))
            }
            Self::SecureBits(bits) => {
                let names = SecureBit::ALL
                    .iter()
                    .filter(|(_, bit, _)| bits.contains(bit));
                let names: Vec<_> = names.map(|(name, ..)| *name).collect();
                write!(f, "set the secure bits {}", names.join(", "))
            }
            Self::DieWithParent => f.write_str("die with the parent"),
            Self::WorkingDirectory { path, optional } => {
                write!(f, "change directory to {}", text(path))?;
                if *optional {
                    f.write_str(" (or / when it is missing)")
                } else {
                    Ok(())
                }
            }
            Self::FirstDirectory(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| text(path)).collect();
                write!(f, "change directory to {}", paths.join(", or "))
            }
            Self::Keyring {
                with_user_keyring: false,
            } => f.write_str("join a new session keyring"),
            Self::Keyring {
                with_user_keyring: true,
            } => f.write_str("join a new session keyring with the user's keyring in it"),
            Self::NoNewPrivileges => f.write_str("refuse new privileges from now on"),
            Self::Landlock(step) => step.fmt(f),
            Self::Filter { words, .. } => f.write_str(words),
            Self::Exec(program) => {
                write!(f, "execute {}", text(&program.command))?;
                program
                    .arguments
                    .iter()
                    .skip(1)
                    .try_for_each(|word| write!(f, " {}", text(word)))
            }
        }
    }
}

fn amount(limit: Option<u64>) -> String {
    limit.map_or_else(|| "infinity".to_owned(), |limit| limit.to_string())
}

fn capabilities(set: u64) -> String {
    let names: Vec<&str> = crate::config::CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(number, _)| set >> number & 1 == 1)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

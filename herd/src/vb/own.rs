//! What `vb` can be asked for beyond bubblewrap.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use sandbox::Profile;
use sandbox::config::{
    Amount, CgroupLimits, Landlock, PathAccess, PathRule, PortAccess, PortRule, Ports,
};

use super::numbers;
use super::options::Flag;

/// The options that bubblewrap does not have.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Own {
    pub chroot: bool,
    pub root: Option<OsString>,
    /// Walls under what the other options ask for; bubblewrap's own defaults without it.
    pub profile: Option<Profile>,
    pub landlock: Vec<Rule>,
    pub network_namespace: Option<i32>,
    pub mount_namespace: Option<i32>,
    pub uts_namespace: Option<i32>,
    pub ipc_namespace: Option<i32>,
    pub limits: Limits,
}

/// One rule of Landlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    Path {
        path: OsString,
        reach: Reach,
        /// Nothing happens when the path does not exist.
        optional: bool,
    },
    Bind(u16),
    Connect(u16),
}

/// What stays allowed below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Read,
    Write,
    ReadWrite,
    Execute,
    /// What is left where no path is named.
    Everything,
}

/// Limits of the box as a whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub swap: Option<u64>,
    /// Percent of one CPU.
    pub cpu: Option<u32>,
    pub tasks: Option<u64>,
}

impl Limits {
    /// Claims that a cgroup is needed.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl Own {
    /// Takes one option with its operand.
    ///
    /// # Errors
    /// The sentence for the caller.
    pub(super) fn option(
        &mut self,
        flag: Flag,
        name: &str,
        value: OsString,
    ) -> Result<(), OsString> {
        let mut path = |reach, optional| {
            let path = value.clone();
            self.landlock.push(Rule::Path {
                path,
                reach,
                optional,
            });
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "every other option is one of bubblewrap's"
        )]
        match flag {
            Flag::LandlockRead => path(Reach::Read, false),
            Flag::LandlockWrite => path(Reach::Write, false),
            Flag::LandlockReadWrite => path(Reach::ReadWrite, false),
            Flag::LandlockExecute => path(Reach::Execute, false),
            Flag::LandlockReadTry => path(Reach::Read, true),
            Flag::LandlockWriteTry => path(Reach::Write, true),
            Flag::LandlockReadWriteTry => path(Reach::ReadWrite, true),
            Flag::LandlockExecuteTry => path(Reach::Execute, true),
            Flag::LandlockBind => self.landlock.push(Rule::Bind(port(name, &value)?)),
            Flag::LandlockConnect => self.landlock.push(Rule::Connect(port(name, &value)?)),
            Flag::Rootfs => self.root = Some(value),
            Flag::Profile => self.profile = Some(profile(&value)?),
            Flag::Netns => self.network_namespace = Some(descriptor(&value)?),
            Flag::Mntns => self.mount_namespace = Some(descriptor(&value)?),
            Flag::Utsns => self.uts_namespace = Some(descriptor(&value)?),
            Flag::Ipcns => self.ipc_namespace = Some(descriptor(&value)?),
            Flag::Memory => self.limits.memory = Some(size(name, &value)?),
            Flag::Swap => self.limits.swap = Some(size_or_nothing(name, &value)?),
            Flag::Cpu => self.limits.cpu = Some(percent(name, &value)?),
            Flag::Tasks => {
                let number = numbers::count(value.as_bytes()).filter(|number| *number > 0);
                self.limits.tasks = Some(number.ok_or_else(|| takes(name, "a number above zero"))?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Own {
    /// Landlock's part of the walls. Where only paths are named, TCP is left alone, and the other way round.
    pub fn landlock(&self) -> Landlock {
        let mut rules = Landlock {
            enabled: !self.landlock.is_empty(),
            ..Landlock::default()
        };
        for rule in &self.landlock {
            match rule {
                Rule::Path {
                    path,
                    reach,
                    optional,
                } => rules
                    .paths
                    .extend(reach.accesses().iter().map(|access| PathRule {
                        path: path.into(),
                        access: *access,
                        optional: *optional,
                    })),
                Rule::Bind(port) => rules.ports.push(port_rule(*port, PortAccess::Bind)),
                Rule::Connect(port) => rules.ports.push(port_rule(*port, PortAccess::Connect)),
            }
        }
        if rules.enabled && rules.paths.is_empty() {
            rules.paths = Reach::Everything
                .accesses()
                .iter()
                .map(everywhere)
                .collect();
        }
        if rules.enabled && rules.ports.is_empty() {
            rules.ports.push(PortRule {
                ports: Ports::Any,
                access: PortAccess::Both,
            });
        }
        rules
    }

    /// The profile, if it has a wall.
    pub fn profile(&self) -> Option<Profile> {
        self.profile.filter(|profile| *profile != Profile::None)
    }

    /// Claims that the machine has to be looked at before a plan can be made.
    pub fn has_to_look(&self) -> bool {
        !self.landlock.is_empty() || self.limits.any() || self.profile().is_some()
    }
}

fn everywhere(access: &PathAccess) -> PathRule {
    PathRule {
        path: "/".into(),
        access: *access,
        optional: false,
    }
}

fn port_rule(port: u16, access: PortAccess) -> PortRule {
    PortRule {
        ports: Ports::One(port),
        access,
    }
}

impl Reach {
    /// Reading includes running what is read, as it did for the callers these options come from.
    fn accesses(self) -> &'static [PathAccess] {
        match self {
            Self::Read | Self::Execute => &[PathAccess::Execute],
            Self::Write => &[PathAccess::Write],
            Self::ReadWrite | Self::Everything => &[PathAccess::Execute, PathAccess::Write],
        }
    }
}

impl Limits {
    /// As the engine has them.
    pub fn of_cgroup(&self) -> CgroupLimits {
        CgroupLimits {
            memory: self.memory.map(Amount::Exactly),
            swap: self.swap.map(Amount::Exactly),
            cpu_percent: self.cpu,
            tasks: self.tasks.map(Amount::Exactly),
            ..CgroupLimits::default()
        }
    }
}

fn takes(name: &str, what: &str) -> OsString {
    format!("{name} takes {what}").into()
}

fn descriptor(value: &OsStr) -> Result<i32, OsString> {
    numbers::natural(value.as_bytes()).ok_or_else(|| {
        let mut text = OsString::from("Invalid fd: ");
        text.push(value);
        text
    })
}

fn port(name: &str, value: &OsStr) -> Result<u16, OsString> {
    numbers::count(value.as_bytes())
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| takes(name, "a port from 1 to 65535"))
}

fn size(name: &str, value: &OsStr) -> Result<u64, OsString> {
    numbers::size(value.as_bytes())
        .filter(|size| *size > 0)
        .ok_or_else(|| {
            takes(
                name,
                "a number of bytes above zero, or one with K, M, G or T",
            )
        })
}

fn size_or_nothing(name: &str, value: &OsStr) -> Result<u64, OsString> {
    numbers::size(value.as_bytes())
        .ok_or_else(|| takes(name, "a number of bytes, or one with K, M, G or T"))
}

fn percent(name: &str, value: &OsStr) -> Result<u32, OsString> {
    let digits = value.as_bytes();
    let digits = digits.strip_suffix(b"%").unwrap_or(digits);
    numbers::count(digits)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|percent| *percent > 0)
        .ok_or_else(|| takes(name, "a percentage of one CPU above zero"))
}

fn profile(value: &OsStr) -> Result<Profile, OsString> {
    let mut names = Profile::NAMES.iter();
    let named = names.find(|(name, _)| value.as_bytes() == name.as_bytes());
    named.map(|(_, profile)| *profile).ok_or_else(|| {
        let mut text = OsString::from("--profile takes none, minimal, default or strict, not ");
        text.push(value);
        text
    })
}

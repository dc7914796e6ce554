//! What of a box this machine cannot build: decided before any step is made.
//!
//! Every wall is required. One that the host cannot build is an error that names it and the reason,
//! unless the config can do without (`best_effort`): then it is taken out of the walls, and reported.
//! What hangs on a wall that is gone (mounts on the mount namespace) goes by its own name, too.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::capability::{CAP_CHECKPOINT_RESTORE, CAP_SETPCAP};
use crate::compile::{CompileError, namespaces};
use crate::config::{
    Keyring, NamespaceKind, Namespaces, Network, ProtectHome, ProtectProc, ProtectSystem, Root,
    RootOverlay, TimeOffsets, Wall, Walls,
};
use crate::host::{Host, KernelVersion, UserNamespaces};
use crate::plan::GivenUp;
use crate::seccomp;

/// The walls that this host can build, and those that it cannot and the config can do without.
///
/// # Errors
/// [`CompileError::Wall`] for the first wall that is required and cannot be built.
pub(crate) fn relax(walls: &Walls, host: &Host) -> Result<(Walls, Vec<GivenUp>), CompileError> {
    let mut relaxing = Relaxing {
        walls: walls.clone(),
        given_up: Vec::new(),
    };
    relaxing.kinds(host)?;
    if let Some(why) = &host.no_new_mounts {
        let kinds = Namespaces {
            mount: true,
            ..Namespaces::default()
        };
        relaxing.lose(kinds, &format!("no mounts can be made in one: {why}"))?;
    }
    let in_user_namespace = relaxing.user_namespace(host)?;
    relaxing.proc(host, in_user_namespace)?;
    relaxing.hostname(host, in_user_namespace)?;
    relaxing.capabilities(host, in_user_namespace)?;
    let keyring = relaxing.walls.keyring;
    let is_moot = host.keyrings_shut && keyring != Keyring::Shared;
    if keyring != Keyring::Inherit && !host.keyrings && is_moot {
        relaxing.walls.keyring = Keyring::Inherit;
    } else if keyring != Keyring::Inherit && !host.keyrings {
        relaxing.give_up(Wall::Keyring, "the kernel gives us no session keyring")?;
        relaxing.walls.keyring = Keyring::Inherit;
    }
    Ok((relaxing.walls, relaxing.given_up))
}

/// `hidepid=` by word and `subset=` came with per-mount options of proc.
const PROC_OPTIONS: KernelVersion = KernelVersion { major: 5, minor: 8 };
const ALL_CAPABILITIES: std::ops::RangeInclusive<u8> = 0..=CAP_CHECKPOINT_RESTORE;

/// The walls asked for that are nothing but mounts.
pub(crate) fn made_of_mounts(walls: &Walls) -> Vec<Wall> {
    let wanted = [
        (
            walls.read_only_root || walls.protect_system != ProtectSystem::No,
            Wall::ReadOnlyRoot,
        ),
        (walls.private_tmp, Wall::PrivateTmp),
        (walls.private_devices, Wall::PrivateDevices),
        (walls.protect_home != ProtectHome::No, Wall::ProtectHome),
        (
            walls.protect_proc != ProtectProc::Default || walls.proc_subset_pid,
            Wall::ProtectProc,
        ),
        (walls.protect_kernel_tunables, Wall::ProtectKernelTunables),
        (walls.protect_kernel_modules, Wall::ProtectKernelModules),
        (walls.protect_kernel_logs, Wall::ProtectKernelLogs),
        (walls.protect_control_groups, Wall::ProtectControlGroups),
        (
            !walls.read_only_paths.is_empty()
                || !walls.inaccessible_paths.is_empty()
                || !walls.no_exec_paths.is_empty(),
            Wall::Paths,
        ),
    ];
    let asked = wanted.into_iter().filter(|(is_wanted, _)| *is_wanted);
    asked.map(|(_, wall)| wall).collect()
}

struct Relaxing {
    walls: Walls,
    given_up: Vec<GivenUp>,
}

impl Relaxing {
    fn give_up(&mut self, wall: Wall, reason: &str) -> Result<(), CompileError> {
        let reason = reason.to_owned();
        if !self.walls.best_effort.contains(&wall) {
            return Err(CompileError::Wall { wall, reason });
        }
        if !self.given_up.iter().any(|known| known.wall == wall) {
            self.given_up.push(GivenUp { wall, reason });
        }
        Ok(())
    }

    /// Kinds of namespaces that the kernel was built without.
    fn kinds(&mut self, host: &Host) -> Result<(), CompileError> {
        let has = host.namespaces;
        let absent = Namespaces {
            mount: !has.mount,
            pid: !has.pid,
            ipc: !has.ipc,
            uts: !has.uts,
            cgroup: !has.cgroup,
            user: !has.user,
            net: !has.net,
            time: !has.time,
        };
        self.lose(absent, "the kernel has none")
    }

    /// Says whether the box will stand in a user namespace of its own, or one it joins.
    fn user_namespace(&mut self, host: &Host) -> Result<bool, CompileError> {
        let joined = self
            .walls
            .join
            .iter()
            .any(|join| join.kind == NamespaceKind::User);
        if joined {
            return Ok(true);
        }
        let named = self.walls.namespaces.user || self.walls.user_namespace.is_some();
        let takes_one = !namespaces(&self.walls)?.is_empty() || self.walls.namespaces.time;
        let needed = !host.is_root && takes_one;
        if !named && !needed {
            return Ok(false);
        }
        let UserNamespaces::Refused(why) = &host.user_namespaces else {
            return Ok(true);
        };
        let only_user = Namespaces {
            user: true,
            ..Namespaces::default()
        };
        self.lose(only_user, &format!("{why} forbids it"))?;
        if !host.is_root {
            let reason = format!("it takes a user namespace, which {why} forbids");
            self.lose(Host::all_namespaces(), &reason)?;
        }
        Ok(false)
    }

    /// Takes out the namespaces of these kinds that are wanted, with all that is built inside.
    fn lose(&mut self, kinds: Namespaces, reason: &str) -> Result<(), CompileError> {
        let set = namespaces(&self.walls)?;
        let has = |flag: i32| set.has(flag);
        let user = self.walls.namespaces.user || self.walls.user_namespace.is_some();
        if kinds.mount && has(libc::CLONE_NEWNS) {
            self.give_up(Wall::MountNamespace, reason)?;
            self.lose_mounts()?;
            // The first process of a pid namespace without a /proc of its own would see another's.
            self.walls.namespaces.mount = false;
        }
        if (kinds.pid || kinds.mount) && has(libc::CLONE_NEWPID) {
            let alone = "its /proc takes a mount namespace";
            self.give_up(Wall::PidNamespace, if kinds.pid { reason } else { alone })?;
            self.walls.namespaces.pid = false;
            self.walls.as_pid_1 = false;
        }
        if kinds.ipc && has(libc::CLONE_NEWIPC) {
            self.give_up(Wall::IpcNamespace, reason)?;
            self.walls.namespaces.ipc = false;
        }
        if kinds.uts && has(libc::CLONE_NEWUTS) {
            self.give_up(Wall::UtsNamespace, reason)?;
            self.walls.namespaces.uts = false;
            self.walls.hostname = None;
            self.walls.domainname = None;
        }
        if kinds.cgroup && has(libc::CLONE_NEWCGROUP) {
            self.give_up(Wall::CgroupNamespace, reason)?;
            self.walls.namespaces.cgroup = false;
        }
        if kinds.net && has(libc::CLONE_NEWNET) {
            self.give_up(Wall::NetNamespace, reason)?;
            self.walls.namespaces.net = false;
            self.walls.network = Network::Host;
        }
        if kinds.time && self.walls.namespaces.time {
            self.give_up(Wall::TimeNamespace, reason)?;
            self.walls.namespaces.time = false;
            self.walls.time_offsets = TimeOffsets::default();
        }
        if kinds.user && user {
            self.give_up(Wall::UserNamespace, reason)?;
            self.walls.namespaces.user = false;
            self.walls.user_namespace = None;
        }
        Ok(())
    }

    /// What is made of mounts, when there is no mount namespace to make them in.
    fn lose_mounts(&mut self) -> Result<(), CompileError> {
        const REASON: &str = "it takes a mount namespace";
        let walls = &self.walls;
        let elsewhere = |bind: &crate::config::Bind| bind.source != bind.target;
        // Without these the service would find other files than it was promised.
        let needed = [
            (!walls.root.is_host(), "box_root"),
            (walls.root_overlay != RootOverlay::None, "root_overlay"),
            (walls.binds.iter().any(elsewhere), "bind_paths"),
            (
                !walls.temporary_file_systems.is_empty(),
                "temporary_file_system",
            ),
            (!walls.mounts.is_empty(), "mount"),
        ];
        if let Some((_, key)) = needed.iter().find(|(is_needed, _)| *is_needed) {
            let reason = format!("{key} takes it");
            let wall = Wall::MountNamespace;
            return Err(CompileError::Wall { wall, reason });
        }
        for wall in made_of_mounts(walls) {
            self.give_up(wall, REASON)?;
        }
        self.walls = without_mounts(std::mem::replace(&mut self.walls, Walls::bare()));
        Ok(())
    }

    /// A `/proc` of the box's own, and what it hides.
    fn proc(&mut self, host: &Host, in_user_namespace: bool) -> Result<(), CompileError> {
        let hides =
            |walls: &Walls| walls.protect_proc != ProtectProc::Default || walls.proc_subset_pid;
        if hides(&self.walls) && host.kernel < PROC_OPTIONS {
            self.give_up(Wall::ProtectProc, "it takes Linux 5.8")?;
            self.show_proc();
        }
        let Some(why) = host.no_new_proc.as_ref().filter(|_| in_user_namespace) else {
            return Ok(());
        };
        let reason = format!("no other /proc can be mounted: {why}");
        if matches!(self.walls.root, Root::Directory(_)) {
            let wall = Wall::PidNamespace;
            return Err(CompileError::Wall { wall, reason });
        }
        if hides(&self.walls) {
            self.give_up(Wall::ProtectProc, &reason)?;
            self.show_proc();
        }
        // A root that begins empty has only the /proc that its own actions mount.
        if self.walls.namespaces.pid && self.walls.root.is_host() {
            let kinds = Namespaces {
                pid: true,
                ..Namespaces::default()
            };
            self.lose(kinds, &reason)?;
        }
        Ok(())
    }

    /// A box in a UTS namespace has a name of its own there.
    fn hostname(&mut self, host: &Host, in_user_namespace: bool) -> Result<(), CompileError> {
        let Some(why) = host.no_new_hostname.as_ref().filter(|_| in_user_namespace) else {
            return Ok(());
        };
        let kinds = Namespaces {
            uts: true,
            ..Namespaces::default()
        };
        self.lose(kinds, &format!("no host name can be set in one: {why}"))
    }

    fn show_proc(&mut self) {
        self.walls.protect_proc = ProtectProc::Default;
        self.walls.proc_subset_pid = false;
    }

    /// Taking capabilities out of the bounding set takes one.
    fn capabilities(&mut self, host: &Host, in_user_namespace: bool) -> Result<(), CompileError> {
        let bounding = &self.walls.capability_bounding_set;
        let is_restricted = ALL_CAPABILITIES.into_iter().any(|n| !bounding.contains(&n));
        if !is_restricted || in_user_namespace {
            return Ok(());
        }
        // Where nothing can be gained, what is not held is as good as bounded.
        let gains_nothing = self.walls.no_new_privileges || seccomp::filters(&self.walls);
        if host.is_root && !host.has_capability(CAP_SETPCAP) {
            self.give_up(Wall::Capabilities, "root here lacks CAP_SETPCAP")?;
        } else if !host.is_root && !gains_nothing {
            let reason = "only root bounds capabilities that a setuid program could gain";
            self.give_up(Wall::Capabilities, reason)?;
        } else {
            return Ok(());
        }
        self.walls.capability_bounding_set = ALL_CAPABILITIES.collect();
        Ok(())
    }
}

/// The walls without any that is made of mounts.
fn without_mounts(walls: Walls) -> Walls {
    Walls {
        read_only_root: false,
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
        read_only_paths: Vec::new(),
        read_write_paths: Vec::new(),
        inaccessible_paths: Vec::new(),
        no_exec_paths: Vec::new(),
        exec_paths: Vec::new(),
        binds: Vec::new(),
        ..walls
    }
}

/// Why nobody in a user namespace of ours could mount a `/proc`: the kernel wants one that is
/// already seen whole (`mount_namespaces(7)`), and something lies over a part of it.
///
/// What lies on a directory that is always empty hides nothing.
pub(crate) fn covers_proc(mountinfo: &str) -> Option<String> {
    const EMPTY: [&str; 2] = ["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd"];
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points = points.filter(|point| Path::new(point).starts_with("/proc"));
    points
        .find(|point| *point != "/proc" && !EMPTY.contains(point))
        .map(|point| format!("a mount on {point} hides a part of this one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_over_a_part_of_proc_is_noticed() {
        let line = |point: &str| format!("30 29 0:5 / {point} rw - tmpfs tmpfs rw\n");
        let whole = ["/", "/proc", "/proc/sys/fs/binfmt_misc", "/process"].map(line);
        assert_eq!(covers_proc(&whole.concat()), None);
        assert_eq!(
            covers_proc(&line("/proc/kcore")).unwrap(),
            "a mount on /proc/kcore hides a part of this one"
        );
        assert_eq!(covers_proc("garbage"), None);
    }
}

//! From what is wanted to what is done, for one machine. Pure.
//!
//! The order of a boxed launch, and why:
//!
//! 1. **Directories and cgroups** while we are still who we were, in the tree we were in. The
//!    group is joined before the cgroup namespace is made, whose root it becomes.
//! 2. **User namespace** (when we are not root, or one is asked for): it owns every other one.
//! 3. **The other namespaces, in one `clone3`**, whose child is the box's first process: `/proc`
//!    can only be mounted from inside the PID namespace it shows.
//! 4. **Names, network, mounts**: they need the capabilities that go last.
//! 5. **The main process** is started below the first one. In it: descriptors first, so that
//!    nothing opened later is passed on; session, signals, priorities and limits while we may
//!    still raise them; the bounding set before the user changes, because dropping from it takes
//!    a capability; groups, then group, then user; then what is left of the capabilities.
//! 6. **Working directory** as the user it is for, keyring as its owner.
//! 7. **No new privileges, then landlock, then the filters**, directly before `execve`: landlock
//!    opens the paths of its rules as the box sees them, and behind the filters nothing of ours runs.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::capability::CAP_NET_ADMIN;
use crate::cgroup;
use crate::config::{
    Bind, CgroupLimits, Config, Data, Identity, Keyring, Lifecycle, MountAction, NamespaceKind,
    Network, ProtectHome, ProtectProc, ProtectSystem, TimeOffsets, Wall, Walls,
};
use crate::filesystem;
use crate::host::Host;
use crate::identity::plan::{self as privileges, Users};
use crate::identity::{MapError, join};
use crate::landlock::{self, LandlockStep};
use crate::network::{relay, user_mode};
use crate::paths::{absolute, c_string};
use crate::plan::{Carrier, GivenUp, Plan};
use crate::process::{identity, owned_directory, program, scheduling, working_directory};
use crate::relax::{made_of_mounts, relax};
use crate::seccomp;
use crate::step::{NamespaceSet, NetworkLease, Step};

/// The config asks for what this machine cannot do, or for what makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the command is empty")]
    NoCommand,
    #[error("{0:?} holds a NUL byte")]
    Nul(String),
    #[error("{what} {path} is not absolute", path = path.display())]
    Relative { what: &'static str, path: PathBuf },
    #[error("{what} {path} goes up with `..`", path = path.display())]
    Upwards { what: &'static str, path: PathBuf },
    #[error("{wall}: {reason}")]
    Wall { wall: Wall, reason: String },
    #[error(
        "the command itself is the box's first process: nobody is left to hold what lasts as long as the box"
    )]
    AsFirstProcess,
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("{0}")]
    Root(&'static str),
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    #[error("the limits cannot be held")]
    Cgroup(#[from] cgroup::PlanError),
    #[error("the system call filter cannot be made")]
    Seccomp(#[from] seccomp::CompileError),
    #[error(transparent)]
    Landlock(#[from] landlock::LandlockError),
}

/// Makes the plan of `config` for `host`.
///
/// # Errors
/// [`CompileError`] names the wall that `host` cannot build, or what makes no sense.
pub fn compile(config: &Config, host: &Host) -> Result<Plan, CompileError> {
    compile_with(config, host, &mut seccomp::Memory::default())
}

/// As [`compile`], for callers that make many plans: `filters` has the system call filters made
/// before, which are most of the work.
///
/// # Errors
/// See [`compile`].
pub fn compile_with(
    config: &Config,
    host: &Host,
    filters: &mut seccomp::Memory,
) -> Result<Plan, CompileError> {
    let mut compiler = Compiler {
        config,
        host,
        filters,
        steps: Vec::new(),
        warnings: Vec::new(),
        late_time: None,
    };
    let cgroup = compiler.cgroup()?;
    let is_born_inside = cgroup.as_ref().is_none_or(|group| {
        group.v1.is_empty() && (group.v2.is_none() || host.has_births_in_cgroups())
    });
    let carrier = match &config.walls {
        Some(walls) => {
            compiler.boxed(walls)?;
            Carrier::Executor
        }
        None => {
            compiler.bare()?;
            if is_born_inside && config.lifecycle == Lifecycle::default() {
                Carrier::Vfork
            } else {
                Carrier::Executor
            }
        }
    };
    let Compiler {
        steps, warnings, ..
    } = compiler;
    Ok(Plan {
        carrier,
        steps,
        warnings,
        cgroup,
        fail_at: None,
        is_followed: false,
    })
}

struct Compiler<'a> {
    config: &'a Config,
    host: &'a Host,
    filters: &'a mut seccomp::Memory,
    steps: Vec<Step>,
    warnings: Vec<GivenUp>,
    /// Goes behind the user namespace.
    late_time: Option<Step>,
}

impl Compiler<'_> {
    fn bare(&mut self) -> Result<(), CompileError> {
        self.lifecycle()?;
        self.steps
            .push(Step::Descriptors(self.config.process.inherit));
        self.directories(&self.config.identity)?;
        self.surroundings();
        let as_it_is = self.config.process.as_if_executed;
        identity(&self.config.identity, self.host, as_it_is, &mut self.steps);
        self.last_words()
    }

    fn boxed(&mut self, walls: &Walls) -> Result<(), CompileError> {
        // The filter is asked for as a whole, whatever else cannot be had.
        let asked = walls;
        let (mut walls, given_up) = relax(asked, self.host)?;
        names_of_network(&mut walls, self.host);
        let walls = &walls;
        self.warnings.extend(given_up);
        let set = namespaces(walls)?;
        let users = privileges::decide(self.config, walls, self.host, set)?;
        privileges::network_ends_at_the_box(walls, self.host, &users)?;
        self.directories(&users.outside(&self.config.identity, self.host)?)?;
        self.enter(walls, set, &users)?;
        self.take_part()?;
        let has_first = set.has_pid() && !walls.as_pid_1;
        if has_first || self.needs_first_process() {
            if walls.as_pid_1 {
                return Err(CompileError::AsFirstProcess);
            }
            self.start_main();
        }
        self.steps
            .push(Step::Descriptors(self.config.process.inherit));
        self.surroundings();
        let identity = &self.config.identity;
        let as_it_is = self.config.process.as_if_executed;
        self.steps.extend(privileges::privileges(
            identity, walls, self.host, &users, as_it_is,
        )?);
        if walls.keyring != Keyring::Inherit {
            let with_user_keyring = walls.keyring == Keyring::Shared;
            self.steps.push(Step::Keyring { with_user_keyring });
        }
        self.last_words_behind(asked, &users)
    }

    /// Namespaces, and what is only done inside them.
    fn enter(
        &mut self,
        walls: &Walls,
        mut set: NamespaceSet,
        users: &Users,
    ) -> Result<(), CompileError> {
        self.take_network(walls, set, users)?;
        self.steps
            .extend(privileges::before(users, &self.config.identity, self.host)?);
        // Before a mount namespace is joined, in which its path may mean another.
        self.steps
            .extend(join::second_user(walls)?.map(Step::HoldSecondUser));
        let joined = join::first(walls, self.host)?;
        if !joined.is_empty() {
            self.steps.push(Step::Join(joined));
        }
        let in_joined_pid = join::joins(walls, NamespaceKind::Pid);
        if in_joined_pid && set.has_pid() {
            // A PID namespace is made below that of its maker, who has to be inside.
            self.steps.push(Step::FirstProcess(NamespaceSet::default()));
        }
        self.time_namespace(walls, users)?;
        if let Users::Alone { map, .. } = users {
            self.steps.push(Step::UserNamespace(*map));
        }
        self.steps.extend(self.late_time.take());
        if users.is_mapped_from_outside() {
            set.add(libc::CLONE_NEWUSER);
        }
        let takes_children =
            in_joined_pid || walls.namespaces.time || join::joins(walls, NamespaceKind::Time);
        if set.has_pid() || set.has(libc::CLONE_NEWUSER) || takes_children {
            self.steps.push(Step::FirstProcess(set));
        } else if !set.is_empty() {
            self.steps.push(Step::Namespaces(set));
        }
        if let Users::Mapped { maps, .. } = users {
            self.steps.push(Step::Maps(maps.clone()));
        }
        self.steps
            .extend(users.limit().map(Step::LimitUserNamespaces));
        if self.config.lifecycle.gate {
            self.steps.push(Step::Gate);
        }
        if users.is_mapped_from_outside() {
            self.steps.push(Step::Untraceable);
        }
        if set.has(libc::CLONE_NEWUTS) {
            let own = || -> String { self.config.name.chars().take(HOSTNAME_LONGEST).collect() };
            let own = || own().into();
            let name = walls.hostname.clone().unwrap_or_else(own);
            self.steps.push(Step::Hostname(c_string(&name)?));
            if let Some(name) = &walls.domainname {
                let name = c_string(OsStr::new(name))?;
                self.steps.push(Step::Domainname(name));
            }
        }
        if walls.network == Network::Loopback && set.has(libc::CLONE_NEWNET) {
            self.steps.push(Step::Loopback);
        }
        if walls.network.as_private().is_some() {
            self.steps.push(Step::Connect);
        }
        if set.has(libc::CLONE_NEWNS) {
            let mounts = filesystem::plan(self.config, walls, self.host, users.is_other())?;
            self.steps.extend(mounts.into_iter().map(Step::Mount));
        }
        if let Users::Alone {
            second: Some(second),
            ..
        } = users
        {
            self.steps.push(Step::SecondUserNamespace(*second));
        }
        if join::joins(walls, NamespaceKind::SecondUser) {
            self.steps.push(Step::JoinSecondUser);
        }
        if walls.assert_user_namespaces_disabled {
            self.steps.push(Step::AssertNoUserNamespaces);
        }
        Ok(())
    }

    /// While we are in the host's network namespace, and may change it.
    fn take_network(
        &mut self,
        walls: &Walls,
        set: NamespaceSet,
        users: &Users,
    ) -> Result<(), CompileError> {
        let Some(network) = walls.network.as_private() else {
            return Ok(());
        };
        if !self.host.is_root {
            let wall = Wall::NetNamespace;
            let kept = user_mode::plan(network, self.host);
            let kept = kept.map_err(|reason| CompileError::Wall { wall, reason })?;
            self.steps.push(Step::KeepNetwork(Box::new(kept)));
            return Ok(());
        }
        if !self.host.has_capability(CAP_NET_ADMIN) {
            return Err(CompileError::Wall {
                wall: Wall::NetNamespace,
                reason: "root here lacks CAP_NET_ADMIN, which a network takes".to_owned(),
            });
        }
        let by_hand = users.is_mapped_from_outside()
            || matches!(users, Users::Alone { .. } | Users::Joined)
            || set.has(libc::CLONE_NEWUSER);
        let mut relay = None;
        if network.ports.iter().any(relay::is_for) {
            let filters = self.filters.compile(&relay::walls(), self.host)?;
            relay = filters.into_iter().next().map(|filter| filter.program);
        }
        self.steps.push(Step::TakeNetwork(Box::new(NetworkLease {
            network: network.clone(),
            by_hand,
            ends_with_first: set.has_pid() && !walls.as_pid_1,
            over_host_tree: walls.root.is_host(),
            relay,
        })));
        Ok(())
    }

    fn time_namespace(&mut self, walls: &Walls, users: &Users) -> Result<(), CompileError> {
        let TimeOffsets {
            monotonic,
            boottime,
        } = walls.time_offsets;
        if !walls.namespaces.time {
            return match (monotonic, boottime) {
                (0, 0) => Ok(()),
                _ => Err(CompileError::Wall {
                    wall: Wall::TimeNamespace,
                    reason: "clocks are set ahead only in a time namespace".to_owned(),
                }),
            };
        }
        let step = Step::TimeNamespace {
            monotonic,
            boottime,
        };
        if self.host.is_root || *users == Users::Joined {
            self.steps.push(step);
            return Ok(());
        }
        // Made by the caller, who gets the right to it with its user namespace.
        if let Users::Alone { .. } = users {
            self.late_time = Some(step);
            return Ok(());
        }
        Err(CompileError::Wall {
            wall: Wall::TimeNamespace,
            reason: "with maps of ranges it takes root".to_owned(),
        })
    }

    /// Of a bare process.
    fn lifecycle(&mut self) -> Result<(), CompileError> {
        if self.config.lifecycle.gate {
            self.steps.push(Step::Gate);
        }
        self.take_part()?;
        if self.needs_first_process() {
            self.start_main();
        }
        Ok(())
    }

    /// What the caller takes part in once everything is set up.
    fn take_part(&mut self) -> Result<(), CompileError> {
        let lifecycle = &self.config.lifecycle;
        self.steps.extend(lifecycle.block.map(Step::Block));
        self.steps.extend(lifecycle.sync.map(Step::KeepOpen));
        for path in &lifecycle.lock_files {
            if self.config.process.working_directories.is_empty() {
                absolute("lock file", path)?;
            }
            self.steps.push(Step::Lock(c_string(path.as_os_str())?));
        }
        Ok(())
    }

    /// Somebody has to hold what lasts as long as the box.
    fn needs_first_process(&self) -> bool {
        let lifecycle = &self.config.lifecycle;
        let holds = lifecycle.sync.is_some() || !lifecycle.lock_files.is_empty();
        let keeps = |step: &Step| matches!(step, Step::KeepNetwork(_));
        let holds = holds || self.steps.iter().any(keeps);
        // Who stops is seen by its parent alone.
        holds || self.config.process.foreground
    }

    fn start_main(&mut self) {
        if self.config.process.die_with_parent {
            self.steps.push(Step::DieWithParent);
        }
        if self.config.lifecycle.linger {
            self.steps.push(Step::Linger);
        }
        self.steps.push(Step::StartMain);
    }

    fn cgroup(&mut self) -> Result<Option<cgroup::CgroupPlan>, CompileError> {
        let relaxed = |walls: &Walls| walls.best_effort.contains(&Wall::Limits);
        let Some(name) = &self.config.cgroup else {
            if self.config.limits.cgroup.is_empty() {
                return Ok(None);
            }
            // A limit that nobody would hold is no limit.
            let reason = "limits on memory, CPU, tasks or I/O need a cgroup, and none is ours to \
                          use here"
                .to_owned();
            let given_up = GivenUp {
                wall: Wall::Limits,
                reason: reason.clone(),
            };
            if !self.config.walls.as_ref().is_some_and(relaxed) {
                return Err(CompileError::Wall {
                    wall: Wall::Limits,
                    reason,
                });
            }
            self.warnings.push(given_up);
            return Ok(None);
        };
        let limits = &self.config.limits;
        let mut group = match cgroup::plan_in(name, &limits.cgroup, &limits.slices, self.host) {
            Err(error) if self.config.walls.as_ref().is_some_and(relaxed) => {
                let reason = error.to_string();
                self.warnings.push(GivenUp {
                    wall: Wall::Limits,
                    reason,
                });
                cgroup::plan(name, &CgroupLimits::default(), self.host)?
            }
            group => group?,
        };
        let identity = &self.config.identity;
        if let Some(uid) = identity.uid {
            group.delegate_to(uid, identity.gid.unwrap_or(self.host.gid));
        }
        if !group.is_empty() {
            self.steps.push(Step::CreateCgroup(group.clone()));
            self.steps.push(Step::JoinCgroup(group.clone()));
        }
        Ok(Some(group))
    }

    fn directories(&mut self, owner: &Identity) -> Result<(), CompileError> {
        for directory in &self.config.directories {
            let owned = owned_directory(directory, &self.config.directories, owner)?;
            self.steps.push(Step::Directory(owned));
        }
        Ok(())
    }

    /// Session, signals, priorities, limits.
    fn surroundings(&mut self) {
        let process = &self.config.process;
        if process.new_session || process.controlling_terminal {
            let controlling_terminal = process.controlling_terminal;
            self.steps.push(Step::Session {
                controlling_terminal,
            });
        }
        if process.foreground {
            self.steps.push(Step::Foreground);
        }
        self.steps.push(if process.as_if_executed {
            Step::SignalsOfCaller
        } else {
            Step::Signals {
                ignore_sigpipe: process.ignore_sigpipe,
            }
        });
        scheduling(&process.scheduling, &mut self.steps);
        self.steps
            .extend(self.config.limits.rlimits.iter().copied().map(Step::Rlimit));
        self.steps
            .push(Step::Umask(process.umask.unwrap_or(DEFAULT_UMASK)));
    }

    fn last_words(&mut self) -> Result<(), CompileError> {
        self.before_exec()?;
        self.steps.push(Step::Exec(program(&self.config.process)?));
        Ok(())
    }

    fn last_words_behind(&mut self, walls: &Walls, users: &Users) -> Result<(), CompileError> {
        self.before_exec()?;
        let programs = match self.filters.compile(walls, self.host) {
            Err(error) if walls.best_effort.contains(&Wall::SystemCalls) => {
                let reason = error.to_string();
                self.warnings.push(GivenUp {
                    wall: Wall::SystemCalls,
                    reason,
                });
                Vec::new()
            }
            programs => programs?,
        };
        if privileges::reaches_mounts(self.config, walls, self.host, users)
            && seccomp::allow_mounts(&programs, self.host.architecture)
        {
            self.tell_what_can_be_undone(walls);
        }
        let set_anyway = walls.no_new_privileges || !programs.is_empty();
        let rules = self.landlock(walls, set_anyway)?;
        // Without it, only a privileged process may install a filter or a ruleset, and a setuid
        // program would run behind what it does not expect.
        if set_anyway || !rules.is_empty() {
            self.steps.push(Step::NoNewPrivileges);
        }
        self.steps.extend(rules.into_iter().map(Step::Landlock));
        for filter in programs {
            self.steps.push(Step::Filter {
                program: filter.program,
                flags: filter.flags,
                words: filter.words,
            });
        }
        self.steps.push(Step::Exec(program(&self.config.process)?));
        Ok(())
    }

    /// It is the config's own will that the service may mount: the walls stand, and are no walls to it.
    fn tell_what_can_be_undone(&mut self, walls: &Walls) {
        let undone = made_of_mounts(walls);
        let named = walls.read_only_paths.iter().chain(&walls.no_exec_paths);
        let hidden = walls.inaccessible_paths.iter();
        // Without any other wall, what is hidden if it is there is tidiness.
        if undone == [Wall::Paths] && named.chain(hidden).all(|path| path.optional) {
            return;
        }
        for wall in undone {
            if !self.warnings.iter().any(|known| known.wall == wall) {
                let reason = "who holds CAP_SYS_ADMIN in it and may call mount(2) can undo it";
                self.warnings.push(GivenUp {
                    wall,
                    reason: reason.to_owned(),
                });
            }
        }
    }

    fn landlock(
        &mut self,
        walls: &Walls,
        no_new_privileges: bool,
    ) -> Result<Vec<LandlockStep>, CompileError> {
        let makes_network = self.steps.iter().any(|step| {
            matches!(step, Step::Namespaces(set) | Step::FirstProcess(set)
                if set.has(libc::CLONE_NEWNET))
        });
        let around = landlock::Circumstances {
            abi: self.host.landlock_abi,
            shared_network: !makes_network,
            no_new_privileges,
        };
        let planned = landlock::plan(&walls.landlock, around)?;
        let wall = Wall::Landlock;
        if let Some(reason) = planned.missing {
            if !walls.best_effort.contains(&wall) {
                return Err(CompileError::Wall { wall, reason });
            }
            self.warnings.push(GivenUp { wall, reason });
        }
        let told = planned.not_offered.map(|reason| GivenUp { wall, reason });
        self.warnings.extend(told);
        Ok(planned.steps)
    }

    fn before_exec(&mut self) -> Result<(), CompileError> {
        if self.config.process.die_with_parent {
            // After the change of user, which would clear it.
            self.steps.push(Step::DieWithParent);
        }
        self.steps.push(working_directory(&self.config.process)?);
        Ok(())
    }
}

/// `HOST_NAME_MAX`.
const HOSTNAME_LONGEST: usize = 64;
const DEFAULT_UMASK: u32 = 0o022;

/// The namespaces that the walls take, whether named or not.
pub(crate) fn namespaces(walls: &Walls) -> Result<NamespaceSet, CompileError> {
    let wanted = walls.namespaces;
    let mut set = NamespaceSet::default();
    let flags = [
        (
            wanted.mount || wanted.pid || changes_mounts(walls),
            libc::CLONE_NEWNS,
        ),
        (wanted.pid, libc::CLONE_NEWPID),
        (wanted.ipc, libc::CLONE_NEWIPC),
        (
            wanted.uts || walls.hostname.is_some() || walls.domainname.is_some(),
            libc::CLONE_NEWUTS,
        ),
        (wanted.cgroup, libc::CLONE_NEWCGROUP),
        (
            wanted.net || walls.network != Network::Host,
            libc::CLONE_NEWNET,
        ),
    ];
    for (_, flag) in flags.iter().filter(|(wanted, _)| *wanted) {
        set.add(*flag);
    }
    Ok(set)
}

/// The `hosts` and `resolv.conf` of the box's network are put over those it would see.
fn names_of_network(walls: &mut Walls, host: &Host) {
    if let Some(network) = walls.network.as_private().filter(|_| !host.is_root) {
        if network.names {
            let hosts = crate::network::hosts(&[], &network.hosts);
            let all = [
                ("/etc/hosts", Data::Bytes(hosts.into_bytes())),
                ("/etc/resolv.conf", Data::NameServers(network.dns.clone())),
            ];
            walls
                .mounts
                .extend(all.map(|(target, data)| MountAction::BindData {
                    target: target.into(),
                    mode: 0o644,
                    data,
                    read_only: true,
                }));
        }
        return;
    }
    let own = walls.network.as_private().filter(|network| network.names);
    let own = own.map(|network| &network.id);
    let Some(id) = own.or(walls.network_names.as_ref()) else {
        return;
    };
    let directory = crate::network::box_directory(id);
    let over = ["hosts", "resolv.conf"].map(|name| Bind {
        source: directory.join(name),
        target: PathBuf::from("/etc").join(name),
        read_only: true,
        optional: true,
        recursive: false,
    });
    walls.binds.extend(over);
}

/// Claims that a wall is asked for that only mounts can build.
fn changes_mounts(walls: &Walls) -> bool {
    !walls.root.is_host()
        || walls.read_only_root
        || walls.private_tmp
        || walls.private_devices
        || walls.protect_kernel_tunables
        || walls.protect_kernel_modules
        || walls.protect_kernel_logs
        || walls.protect_control_groups
        || walls.proc_subset_pid
        || walls.protect_system != ProtectSystem::No
        || walls.protect_home != ProtectHome::No
        || walls.protect_proc != ProtectProc::Default
        || !walls.read_only_paths.is_empty()
        || !walls.read_write_paths.is_empty()
        || !walls.inaccessible_paths.is_empty()
        || !walls.no_exec_paths.is_empty()
        || !walls.temporary_file_systems.is_empty()
        || !walls.binds.is_empty()
        || !walls.mounts.is_empty()
}

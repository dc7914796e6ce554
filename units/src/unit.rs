//! A validated unit: what the supervisor and the launcher work from.
//!
//! Values here need no further checking; `check.rs` is the only place that makes them. A thousand
//! units are kept in memory at once, so what most units leave alone sits in an `Option<Box<…>>`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sandbox::Profile;
use sandbox::config::{Limits, Scheduling, Walls};

use crate::name::UnitName;
use crate::power::{Haste, Power};
use crate::signal::Signal;

/// One unit file with its drop-ins, specifiers expanded.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    pub name: UnitName,
    pub kind: Kind,
    pub description: Option<Box<str>>,
    pub commands: Commands,
    /// Shared by all units that name no other; `Arc::make_mut` changes one.
    pub dependencies: Arc<Dependencies>,
    /// Shared by all units that leave the defaults alone.
    pub lifecycle: Arc<Lifecycle>,
    pub ready: Ready,
    /// As whom and where; `None` when the unit says nothing of it.
    pub surroundings: Option<Box<Surroundings>>,
    /// `Some` when `boxed = true`: the default box with the unit's own changes applied.
    pub walls: Option<Box<Walls>>,
    /// The keys of `[box]` that are no wall.
    pub entry: Option<Box<Entry>>,
    pub limits: Option<Box<Limits>>,
    pub oom_policy: OomPolicy,
    pub placement: Option<Box<Placement>>,
    pub health: Option<Box<Health>>,
    pub log: Option<Box<LogPolicy>>,
    pub condition: Option<Box<Conditions>>,
    pub assert: Option<Box<Conditions>>,
    pub install: Option<Box<Install>>,
    pub on_change: OnChange,
    pub source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Service,
    /// Runs nothing: a point that others order themselves around.
    Target,
}

/// Where the unit's group stands among others, and how it begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Without `.slice`; see [`slices_above`](crate::value::slice::slices_above).
    pub slice: Option<Box<str>>,
    /// Frozen once the command runs.
    pub freeze: bool,
}

/// Where a unit came from. `digest` changes when any of its files does, or what a boot adds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub drop_ins: Vec<PathBuf>,
    pub digest: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Install {
    pub documentation: Vec<String>,
    pub wanted_by: Vec<UnitName>,
    pub required_by: Vec<UnitName>,
    pub aliases: Vec<UnitName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnChange {
    /// The running service stays as it is and is shown as changed.
    #[default]
    Keep,
    Restart,
}

/// The commands of a service (`ExecStart=` and its family), in the order they are run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands {
    pub main: Option<Command>,
    /// Exit 1 to 254 skips the start quietly, 255 or a signal fails it (`ExecCondition=`).
    pub condition: Vec<Command>,
    pub pre: Vec<Command>,
    pub post: Vec<Command>,
    pub reload: Vec<Command>,
    pub stop: Vec<Command>,
    pub stop_post: Vec<Command>,
    /// `oneshot = true`: the service is done when its command exits.
    pub oneshot: bool,
    /// A oneshot that succeeded stays active.
    pub remain_after_exit: bool,
}

/// How the command of a boxed service enters its box.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The bundle of walls that the unit's own keys changed.
    pub profile: Profile,
    /// It stays in herd's session (`new_session = false`).
    pub shares_session: bool,
    pub die_with_parent: bool,
    /// Nothing in the environment but what the unit names, and the variables of protocols it asked for.
    pub clear_environment: bool,
    pub argv0: Option<String>,
    /// A file with an OCI seccomp profile.
    pub seccomp_profile: Option<PathBuf>,
    /// Numbers of descriptors that herd was started with; 3 or more, in order, each once.
    pub inherit_fds: Vec<u32>,
    pub private_users: PrivateUsers,
    /// No user namespace can be made inside, by the kernel's own counter.
    pub disable_userns: bool,
    /// System V and POSIX objects of the user go when its last service is at rest.
    pub remove_ipc: bool,
    /// The unit whose network the box has too (`mode = "join:UNIT"`).
    pub network_of: Option<UnitName>,
}

/// Who is who in a user namespace of the box's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrivateUsers {
    /// None is made for root's services.
    #[default]
    No,
    /// Root and the unit's own user and groups are themselves; nobody else is there.
    Own,
    /// The first 65,536 are themselves.
    Identity,
    /// The first 65,536 are a range of numbers that nobody has outside.
    Pick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Never empty. `argv[0]` may be a bare name, found on the service's `PATH`.
    pub argv: Vec<String>,
    /// A failure counts as success (`-`).
    pub ignore_failure: bool,
    /// Runs outside the box and as herd's own user (`+`).
    pub unboxed: bool,
}

/// Who must be there, and in which order. Names are resolved when the set is built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependencies {
    pub requires: Vec<UnitName>,
    pub requisite: Vec<UnitName>,
    pub wants: Vec<UnitName>,
    pub binds_to: Vec<UnitName>,
    pub part_of: Vec<UnitName>,
    pub upholds: Vec<UnitName>,
    pub conflicts: Vec<UnitName>,
    pub before: Vec<UnitName>,
    pub after: Vec<UnitName>,
    pub on_failure: Vec<UnitName>,
    pub on_success: Vec<UnitName>,
    pub requires_mounts_for: Vec<PathBuf>,
    pub stop_when_unneeded: bool,
    pub refuse_manual_start: bool,
    pub refuse_manual_stop: bool,
    /// Without the order that herd gives units of a machine it boots.
    pub no_default_dependencies: bool,
}

/// Restart policy, limits of time, signals. Defaults are the language's, not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub restart: Restart,
    /// Delay of the second restart in a row; the first is immediate.
    pub restart_delay: Duration,
    pub restart_delay_max: Duration,
    /// Steps from `restart_delay` to `restart_delay_max`; `None` doubles each time.
    pub restart_steps: Option<u32>,
    /// Exactly so many restarts, then failed; `None` is without end.
    pub max_retries: Option<u32>,
    /// `Some` when the unit gives a start limit: so many starts in so long.
    pub start_limit: Option<StartLimit>,
    pub start_delay: Duration,
    /// `None` is `infinity`, here and below.
    pub timeout_start: Option<Duration>,
    pub timeout_stop: Option<Duration>,
    pub timeout_abort: Option<Duration>,
    pub runtime_max: Option<Duration>,
    /// The service must ping at least this often.
    pub watchdog: Option<Duration>,
    pub kill_mode: KillMode,
    pub kill_signal: Signal,
    pub restart_kill_signal: Option<Signal>,
    pub reload_signal: Option<Signal>,
    pub final_kill_signal: Signal,
    pub watchdog_signal: Signal,
    pub send_sighup: bool,
    pub send_sigkill: bool,
    pub success_exit_status: ExitSet,
    pub restart_prevent_exit_status: ExitSet,
    pub restart_force_exit_status: ExitSet,
    pub failure_action: EmergencyAction,
    pub success_action: EmergencyAction,
    pub file_descriptor_store_max: u16,
}

/// The defaults of the language (`herd.unit(5)`).
impl Default for Lifecycle {
    fn default() -> Self {
        let patience = Some(Duration::from_secs(90));
        Self {
            restart: Restart::OnFailure,
            restart_delay: Duration::from_millis(100),
            restart_delay_max: Duration::from_secs(30),
            restart_steps: None,
            max_retries: None,
            start_limit: None,
            start_delay: Duration::ZERO,
            timeout_start: patience,
            timeout_stop: patience,
            timeout_abort: patience,
            runtime_max: None,
            watchdog: None,
            kill_mode: KillMode::ControlGroup,
            kill_signal: Signal::TERM,
            restart_kill_signal: None,
            reload_signal: None,
            final_kill_signal: Signal::KILL,
            watchdog_signal: Signal::ABRT,
            send_sighup: false,
            send_sigkill: true,
            success_exit_status: ExitSet::default(),
            restart_prevent_exit_status: ExitSet::default(),
            restart_force_exit_status: ExitSet::default(),
            failure_action: EmergencyAction::None,
            success_action: EmergencyAction::None,
            file_descriptor_store_max: 0,
        }
    }
}

impl Lifecycle {
    /// The one value that all units with plain defaults share.
    pub fn shared_default() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Lifecycle>> = LazyLock::new(Arc::default);
        Arc::clone(&DEFAULT)
    }
}

impl Dependencies {
    /// The one value that all units without dependencies share.
    pub fn shared_default() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Dependencies>> = LazyLock::new(Arc::default);
        Arc::clone(&DEFAULT)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimit {
    pub burst: u32,
    pub interval: Duration,
    pub action: EmergencyAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmergencyAction {
    #[default]
    None,
    /// herd itself ends in order (the container exits).
    Exit,
    /// herd itself ends at once.
    ExitForce,
    /// The machine does that.
    Power(Power, Haste),
}

/// When a service that ended by itself is started again (`Restart=` of systemd.service(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    No,
    OnSuccess,
    #[default]
    OnFailure,
    OnAbnormal,
    OnWatchdog,
    OnAbort,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KillMode {
    #[default]
    ControlGroup,
    /// The stop signal to the main process, the final kill to all.
    Mixed,
    Process,
    None,
}

/// Exit codes and signals, as `success_exit_status` and its kin list them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitSet {
    pub codes: Vec<u8>,
    pub signals: Vec<Signal>,
}

/// What makes dependants go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ready {
    #[default]
    Exec,
    Notify,
    /// A newline on this descriptor (3 or more).
    Fd(u32),
    /// The command exits and leaves a daemon; its pid is in the file.
    Forking {
        pid_file: Option<PathBuf>,
    },
    /// Like exec, but started after everything else in the transaction (at most 5 s later).
    Idle,
    Probe(Box<ProbeLoop>),
}

/// A probe repeated until it succeeds (readiness) or for as long as the service lives (health).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeLoop {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `host:port`; the host is an address or `localhost`, never looked up in DNS.
    Tcp(String),
    /// `http://host:port/path`, success is 200 to 399.
    Http(String),
    Unix(PathBuf),
    Command(Command),
    Path(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub check: ProbeLoop,
    pub retries: u32,
    pub start_period: Duration,
    pub on_unhealthy: OnUnhealthy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnhealthy {
    #[default]
    Restart,
    Stop,
    Report,
}

/// What an out-of-memory kill of any process of the service means (`OOMPolicy=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OomPolicy {
    Continue,
    #[default]
    Stop,
    Kill,
}

/// As whom, where, with what: the keys of the groups *as whom*, *directories*, *scheduling*.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// A name or a number, as written.
    pub user: Option<String>,
    pub group: Option<String>,
    pub supplementary_groups: Vec<String>,
    /// A user of its own, made for the run.
    pub dynamic_user: bool,
    pub working_directory: Option<WorkingDirectory>,
    pub umask: Option<u32>,
    /// In the order written; later wins.
    pub environment: Vec<(String, String)>,
    /// `-` in front makes a file optional. Read at each start.
    pub environment_files: Vec<EnvironmentFile>,
    /// Names taken over from herd's own environment.
    pub pass_environment: Vec<String>,
    pub unset_environment: Vec<String>,
    pub stdin: Input,
    pub stdout: Output,
    pub stderr: Output,
    pub tty: Option<PathBuf>,
    pub directories: Vec<OwnedDirectory>,
    pub runtime_directory_preserve: Preserve,
    pub scheduling: Scheduling,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkingDirectory {
    Home,
    Path { path: PathBuf, optional: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentFile {
    pub path: PathBuf,
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Input {
    #[default]
    Null,
    Tty,
    File(PathBuf),
    Data(Box<[u8]>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Output {
    /// Captured, to where `[log]` says. The standard case; `stderr` follows `stdout`.
    #[default]
    Log,
    Null,
    Tty,
    /// herd's own descriptor (`herd run` on a terminal).
    Inherit,
    File(PathBuf),
    Append(PathBuf),
    Truncate(PathBuf),
}

/// `state_directory` and its kin: `kind` says below which base `name` lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedDirectory {
    pub kind: DirectoryKind,
    /// Relative, without `..`.
    pub name: PathBuf,
    pub mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DirectoryKind {
    /// `/run`, `$RUNTIME_DIRECTORY`; removed at stop unless preserved.
    Runtime,
    /// `/var/lib`, `$STATE_DIRECTORY`
    State,
    /// `/var/cache`, `$CACHE_DIRECTORY`
    Cache,
    /// `/var/log`, `$LOGS_DIRECTORY`
    Logs,
    /// `/etc`, `$CONFIGURATION_DIRECTORY`; read-only inside a box
    Configuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preserve {
    #[default]
    No,
    Yes,
    Restart,
}

/// `[log]`; the default is what a unit without the table gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPolicy {
    pub target: LogTarget,
    /// bytes a file may reach before it is rotated
    pub max_size: u64,
    /// rotated files kept beside the current one
    pub max_files: u32,
    pub max_age: Option<Duration>,
    /// Lines per interval; what is over is dropped and counted.
    pub rate_limit: Option<(u32, Duration)>,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self {
            target: LogTarget::File,
            max_size: 16 << 20,
            max_files: 4,
            max_age: None,
            rate_limit: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogTarget {
    #[default]
    File,
    Kmsg,
    Console,
    Inherit,
    Null,
}

/// `[condition]` and `[assert]`: all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub test: Test,
    /// `!` in front.
    pub negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    PathExists(PathBuf),
    PathIsDirectory(PathBuf),
    DirectoryNotEmpty(PathBuf),
    FileNotEmpty(PathBuf),
    FileIsExecutable(PathBuf),
    PathIsReadWrite(PathBuf),
    User(String),
    Group(String),
    /// `yes`, `no`, `vm`, `container`, or a name as `systemd-detect-virt` prints it.
    Virtualization(String),
    /// A word, or `word=value`, of `/proc/cmdline`.
    KernelCommandLine(String),
    /// A capability in herd's bounding set.
    Capability(u8),
    /// As `uname -m` or systemd's name (`x86-64`).
    Architecture(String),
    /// `NAME` or `NAME=value` in herd's environment.
    Environment(String),
    /// `>= 1G` and so on: operator and bytes.
    Memory(Comparison, u64),
    Cpus(Comparison, u32),
    FirstBoot(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

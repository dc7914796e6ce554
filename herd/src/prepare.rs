//! From a unit and a role to the [`sandbox::Config`] of one process, its standard descriptors
//! and its environment. `herd plan` and the daemon go through here, so what is printed is what runs.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::cgroup::SLICE;
use sandbox::config::{BoxPath, CgroupLimits, CgroupName, Directory, Limits, MountAction, Process};
use units::unit::{
    Command, DirectoryKind, Entry, Input, Kind, OwnedDirectory, PrivateUsers, Ready, Surroundings,
    Unit, WorkingDirectory,
};
use units::value::slice::slices_above;

use crate::network::NetworkOccasion;
use crate::plain_file;
use crate::supervisor::action::Role;
use crate::users::{IdentityError, User, Users};

/// Where the directories of services lie, and what else of herd itself reaches its services.
#[derive(Debug, Clone)]
pub struct Surface {
    /// herd's own runtime directory: hidden from every box.
    pub runtime_dir: PathBuf,
    pub notify_socket: PathBuf,
    /// `/run`, or `$XDG_RUNTIME_DIR`.
    pub runtime_base: PathBuf,
    pub state_base: PathBuf,
    pub cache_base: PathBuf,
    pub logs_base: PathBuf,
    pub configuration_base: PathBuf,
    /// Below which the cgroups of services lie; `None` where there are no cgroups to use.
    pub cgroup_base: Option<String>,
    /// herd's own environment, for `pass_environment`.
    pub environment: BTreeMap<String, String>,
    /// What of it every service gets.
    pub handed_on: HandedOn,
    /// What every service of a machine gets, as the kernel's command line says.
    pub given: Vec<(String, String)>,
    pub is_root: bool,
}

/// What of herd's own environment every service gets, beside what its unit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HandedOn {
    /// Nothing.
    #[default]
    None,
    /// What belongs to the user's session, and only services without a box.
    Session,
    /// All of it: a container's environment is how the container is configured.
    All,
}

/// What differs from one start to the next.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// For `command_reload` and `command_stop` (`$MAINPID`).
    pub main_pid: Option<i32>,
    /// `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS` for `command_stop` and `command_stop_post`.
    pub result: Option<(String, String, String)>,
    /// Names of the descriptors from number 3 on.
    pub listen_names: Vec<String>,
    pub invocation: String,
    /// The number of a `dynamic_user`; the one it would rather have where none has been allotted.
    pub dynamic_user: Option<u32>,
    /// Where the range of `private_users = "pick"` begins; as above.
    pub range: Option<u32>,
    /// See [`slice_limits`].
    pub slices: Vec<(CgroupName, CgroupLimits)>,
    pub network: NetworkOccasion,
}

/// Everything needed to compile and launch one process.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub config: sandbox::Config,
    /// The number at which the service writes its readiness newline.
    pub ready_fd: Option<u32>,
    /// Descriptors herd was started with that the command gets under their own numbers.
    pub inherit_fds: Vec<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot read environment_file {path}")]
    EnvironmentFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("environment_file {path}, line {line}: no NAME=value")]
    EnvironmentSyntax { path: PathBuf, line: usize },
    #[error("cannot read seccomp_profile {path}")]
    SeccompProfile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("seccomp_profile {path} cannot be used")]
    SeccompProfileContent {
        path: PathBuf,
        source: sandbox::seccomp::ProfileError,
    },
    #[error("has no command {0}")]
    NoCommand(&'static str),
    #[error("{0} takes root")]
    TakesRoot(&'static str),
    #[error("working_directory = \"~\" needs a user with a home directory")]
    NoHome,
}

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What stays in an environment that the unit wants clear: the words of protocols between herd and
/// the service that the unit asked for by other keys.
const PROTOCOL_VARIABLES: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "MAINPID",
    "SERVICE_RESULT",
    "EXIT_CODE",
    "EXIT_STATUS",
];

/// What a user's own herd hands on to services that are not boxed: the session, not everything.
const SESSION_VARIABLES: &[&str] = &[
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "COLORTERM",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "XDG_SESSION_ID",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "SSH_AUTH_SOCK",
];

/// Prepares one process of a unit.
///
/// # Errors
/// [`PrepareError`] when a user, group or environment file is not there, or the role has no command.
pub fn prepare(
    unit: &Unit,
    role: Role,
    users: &Users,
    surface: &Surface,
    occasion: &Occasion,
) -> Result<Prepared, PrepareError> {
    let command = command_of(unit, role)?;
    prepare_command(unit, role == Role::Main, command, users, surface, occasion)
}

/// As [`prepare`], for a command that is no role of its own (a probe).
///
/// # Errors
/// See [`prepare`].
pub fn prepare_command(
    unit: &Unit,
    is_main: bool,
    command: &Command,
    users: &Users,
    surface: &Surface,
    occasion: &Occasion,
) -> Result<Prepared, PrepareError> {
    let none = Surroundings::default();
    let around = unit.surroundings.as_deref().unwrap_or(&none);
    let boxed = unit.walls.is_some() && !command.unboxed;
    let plain = Entry::default();
    let entry = unit.entry.as_deref().filter(|_| boxed).unwrap_or(&plain);
    let name = unit.name.to_string();
    let (identity, user) = if command.unboxed {
        (sandbox::config::Identity::default(), None)
    } else {
        crate::identity::identity(&name, around, users, surface, occasion)?
    };
    let mut environment =
        environment(unit, around, user.as_ref(), boxed, users, surface, occasion)?;
    if entry.clear_environment {
        let named = named_environment(around, surface)?;
        environment.retain(|name, _| {
            named.contains_key(name) || PROTOCOL_VARIABLES.contains(&name.as_str())
        });
    }
    let lookup = |name: &str| environment.get(name).map(String::as_str);
    let argv = units::expand_variables(&command.argv, lookup);
    let ready_fd = match unit.ready {
        Ready::Fd(number) if is_main => Some(number),
        Ready::Fd(_)
        | Ready::Exec
        | Ready::Notify
        | Ready::Forking { .. }
        | Ready::Idle
        | Ready::Probe(_) => None,
    };
    let directories: Vec<Directory> = around
        .directories
        .iter()
        .map(|dir| directory(dir, entry, around, surface))
        .collect();
    let path = environment.get("PATH").map_or(SYSTEM_PATH, String::as_str);
    let process = Process {
        search_path: path
            .split(':')
            .filter(|p| p.starts_with('/'))
            .map(PathBuf::from)
            .collect(),
        argv: argv.into_iter().map(OsString::from).collect(),
        argv0: entry.argv0.as_ref().filter(|_| is_main).map(OsString::from),
        working_directory: working_directory(around, user.as_ref())?,
        working_directories: Vec::new(),
        as_if_executed: false,
        working_directory_optional: matches!(
            around.working_directory,
            Some(WorkingDirectory::Path { optional: true, .. })
        ),
        environment: environment
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        umask: Some(around.umask.unwrap_or(0o022)),
        new_session: !entry.shares_session,
        controlling_terminal: around.stdin == Input::Tty,
        scheduling: around.scheduling.clone(),
        die_with_parent: entry.die_with_parent,
        ignore_sigpipe: true,
        listen_names: occasion.listen_names.clone(),
        foreground: false,
        inherit: sandbox::config::Inherit::Passed,
        pid_variables: match unit.lifecycle.watchdog {
            Some(_) if is_main => vec!["WATCHDOG_PID".to_owned()],
            _ => Vec::new(),
        },
    };
    let mut walls = unit.walls.as_deref().filter(|_| boxed).cloned();
    if let Some(walls) = &mut walls {
        hide_herd(walls, surface);
        crate::network::place(walls, entry, &occasion.network);
        if let Some(path) = &entry.seccomp_profile {
            walls.system_calls.profile = Some(seccomp_profile(path)?);
        }
        if delegates(unit) {
            // Its own groups and no others: the box's cgroup namespace begins with them.
            walls.mounts.insert(0, own_groups());
        }
        // The notify socket stays reachable where the service is to use it.
        if speaks_notify(unit) {
            walls.binds.push(sandbox::config::Bind {
                source: surface.notify_socket.clone(),
                target: surface.notify_socket.clone(),
                read_only: false,
                optional: false,
                recursive: false,
            });
        }
        walls.user_namespace =
            crate::identity::user_namespace(&name, entry, walls, &identity, surface, occasion)?;
    }
    let mut limits = unit
        .limits
        .as_deref()
        .cloned()
        .unwrap_or_else(Limits::default);
    if let Some(delegation) = &mut limits.cgroup.delegation {
        delegation.beside = !is_main;
    }
    let base = surface.cgroup_base.as_deref();
    if let Some(base) = base {
        limits.slices.clone_from(&occasion.slices);
        for (slice, _) in &mut limits.slices {
            *slice = CgroupName(format!("{base}/{}", slice.0));
        }
    }
    let cgroup = base.map(|base| CgroupName(format!("{base}/{}", group_path(unit))));
    let config = sandbox::Config {
        name,
        process,
        identity,
        directories,
        limits,
        cgroup,
        walls,
        lifecycle: sandbox::config::Lifecycle::default(),
    };
    let inherit_fds = match is_main {
        true => entry.inherit_fds.clone(),
        false => Vec::new(),
    };
    Ok(Prepared {
        config,
        ready_fd,
        inherit_fds,
    })
}

/// The path of the unit's group below the base: its slices, then its name.
pub fn group_path(unit: &Unit) -> String {
    match slice_of(unit) {
        Some(slice) => format!("{}/{}", slice_path(slice), unit.name),
        None => unit.name.to_string(),
    }
}

/// The slice that the unit names.
pub fn slice_of(unit: &Unit) -> Option<&str> {
    unit.placement.as_ref()?.slice.as_deref()
}

/// `a.slice/a-b.slice` for the slice `a-b`.
pub fn slice_path(slice: &str) -> String {
    let parts: Vec<String> = slices_above(slice)
        .map(|slice| format!("{slice}{SLICE}"))
        .collect();
    parts.join("/")
}

/// The limits of the slices that the unit is in, by their paths below the base: those of targets of
/// their names, as `limits_of` finds them.
pub fn slice_limits(
    unit: &Unit,
    limits_of: impl Fn(&str) -> Option<CgroupLimits>,
) -> Vec<(CgroupName, CgroupLimits)> {
    let slices = slice_of(unit).into_iter().flat_map(slices_above);
    slices
        .filter_map(|slice| {
            let limits = limits_of(slice).filter(|limits| !limits.is_empty())?;
            Some((CgroupName(slice_path(slice)), limits))
        })
        .collect()
}

/// What a target limits for the slice of its name.
pub fn limits_of_target(unit: &Unit) -> Option<CgroupLimits> {
    let is_target = unit.kind == Kind::Target;
    unit.limits
        .as_ref()
        .filter(|_| is_target)
        .map(|limits| limits.cgroup.clone())
}

/// The unit whose group a path below the base is, or lies in.
pub fn unit_of_group(below: &str) -> Option<&str> {
    below.split('/').find(|part| !part.ends_with(SLICE))
}

/// The command of a role.
///
/// # Errors
/// When the unit has none, which the supervisor never asks for.
pub fn command_of(unit: &Unit, role: Role) -> Result<&Command, PrepareError> {
    let commands = &unit.commands;
    let (found, name) = match role {
        Role::Main => (commands.main.as_ref(), "command"),
        Role::Condition(i) => (commands.condition.get(usize::from(i)), "command_condition"),
        Role::Pre(i) => (commands.pre.get(usize::from(i)), "command_pre"),
        Role::Post(i) => (commands.post.get(usize::from(i)), "command_post"),
        Role::Reload(i) => (commands.reload.get(usize::from(i)), "command_reload"),
        Role::Stop(i) => (commands.stop.get(usize::from(i)), "command_stop"),
        Role::StopPost(i) => (commands.stop_post.get(usize::from(i)), "command_stop_post"),
    };
    found.ok_or(PrepareError::NoCommand(name))
}

/// Whether the service is handed the notify socket.
pub fn speaks_notify(unit: &Unit) -> bool {
    unit.ready == Ready::Notify
        || unit.lifecycle.watchdog.is_some()
        || unit.lifecycle.file_descriptor_store_max > 0
}

/// The path of one of the service's own directories.
pub fn directory_path(directory: &OwnedDirectory, surface: &Surface) -> PathBuf {
    base_of(directory.kind, surface).join(&directory.name)
}

fn base_of(kind: DirectoryKind, surface: &Surface) -> &Path {
    match kind {
        DirectoryKind::Runtime => &surface.runtime_base,
        DirectoryKind::State => &surface.state_base,
        DirectoryKind::Cache => &surface.cache_base,
        DirectoryKind::Logs => &surface.logs_base,
        DirectoryKind::Configuration => &surface.configuration_base,
    }
}

fn directory(
    owned: &OwnedDirectory,
    entry: &Entry,
    around: &Surroundings,
    surface: &Surface,
) -> Directory {
    Directory {
        path: directory_path(owned, surface),
        mode: owned.mode,
        writable: owned.kind != DirectoryKind::Configuration,
        // Whose numbers may have been others at the last start.
        whole: around.dynamic_user || entry.private_users == PrivateUsers::Pick,
    }
}

fn delegates(unit: &Unit) -> bool {
    let limits = unit.limits.as_ref();
    limits.is_some_and(|limits| limits.cgroup.delegation.is_some())
}

fn own_groups() -> MountAction {
    MountAction::ControlGroups {
        target: PathBuf::from("/sys/fs/cgroup"),
        read_only: false,
    }
}

fn hide_herd(walls: &mut sandbox::config::Walls, surface: &Surface) {
    let hidden = BoxPath {
        path: surface.runtime_dir.clone(),
        optional: true,
    };
    if walls.root.is_host() && !walls.inaccessible_paths.contains(&hidden) {
        walls.inaccessible_paths.push(hidden);
    }
}

fn working_directory(
    around: &Surroundings,
    user: Option<&User>,
) -> Result<Option<PathBuf>, PrepareError> {
    match &around.working_directory {
        None => Ok(Some(PathBuf::from("/"))),
        Some(WorkingDirectory::Path { path, .. }) => Ok(Some(path.clone())),
        Some(WorkingDirectory::Home) => user
            .map(|user| Some(PathBuf::from(&user.home)))
            .ok_or(PrepareError::NoHome),
    }
}

fn environment(
    unit: &Unit,
    around: &Surroundings,
    user: Option<&User>,
    boxed: bool,
    users: &Users,
    surface: &Surface,
    occasion: &Occasion,
) -> Result<BTreeMap<String, String>, PrepareError> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    set("PATH", SYSTEM_PATH);
    for (name, value) in &surface.given {
        set(name, value);
    }
    let handed_on: &mut dyn Iterator<Item = &str> = match surface.handed_on {
        HandedOn::All => &mut surface.environment.keys().map(String::as_str),
        HandedOn::Session if !boxed => &mut SESSION_VARIABLES.iter().copied().chain(["PATH"]),
        HandedOn::Session | HandedOn::None => &mut std::iter::empty(),
    };
    for name in handed_on {
        if let Some(value) = surface.environment.get(name) {
            set(name, value);
        }
    }
    let own = if surface.is_root {
        None
    } else {
        users.user(&own_uid())
    };
    if let Some(user) = user.or(own.as_ref()) {
        set("USER", &user.name);
        set("LOGNAME", &user.name);
        set("HOME", &user.home);
        set(
            "SHELL",
            if user.shell.is_empty() {
                "/bin/sh"
            } else {
                &user.shell
            },
        );
    }
    if !occasion.invocation.is_empty() {
        set("INVOCATION_ID", &occasion.invocation);
    }
    for (kind, name) in [
        (DirectoryKind::Runtime, "RUNTIME_DIRECTORY"),
        (DirectoryKind::State, "STATE_DIRECTORY"),
        (DirectoryKind::Cache, "CACHE_DIRECTORY"),
        (DirectoryKind::Logs, "LOGS_DIRECTORY"),
        (DirectoryKind::Configuration, "CONFIGURATION_DIRECTORY"),
    ] {
        let of_kind = around.directories.iter().filter(|dir| dir.kind == kind);
        let paths: Vec<String> = of_kind
            .map(|dir| directory_path(dir, surface).display().to_string())
            .collect();
        if !paths.is_empty() {
            set(name, &paths.join(":"));
        }
    }
    if speaks_notify(unit) {
        set(
            "NOTIFY_SOCKET",
            &surface.notify_socket.display().to_string(),
        );
    }
    if let Some(watchdog) = unit.lifecycle.watchdog {
        set("WATCHDOG_USEC", &watchdog.as_micros().to_string());
    }
    if !occasion.listen_names.is_empty() {
        set("LISTEN_FDS", &occasion.listen_names.len().to_string());
        set("LISTEN_FDNAMES", &occasion.listen_names.join(":"));
    }
    if let Some(pid) = occasion.main_pid {
        set("MAINPID", &pid.to_string());
    }
    if let Some((result, code, status)) = &occasion.result {
        set("SERVICE_RESULT", result);
        set("EXIT_CODE", code);
        set("EXIT_STATUS", status);
    }
    all.extend(named_environment(around, surface)?);
    for entry in &around.unset_environment {
        match entry.split_once('=') {
            None => drop(all.remove(entry)),
            Some((name, value)) if all.get(name).is_some_and(|v| v == value) => {
                drop(all.remove(name));
            }
            Some(_) => {}
        }
    }
    Ok(all)
}

/// What the unit itself puts into the environment; what is named later wins.
fn named_environment(
    around: &Surroundings,
    surface: &Surface,
) -> Result<BTreeMap<String, String>, PrepareError> {
    let passed = around.pass_environment.iter();
    let mut named: BTreeMap<String, String> = passed
        .filter_map(|name| Some((name.clone(), surface.environment.get(name)?.clone())))
        .collect();
    named.extend(around.environment.iter().cloned());
    for file in &around.environment_files {
        named.extend(environment_file(&file.path, file.optional)?);
    }
    Ok(named)
}

fn own_uid() -> String {
    rustix::process::getuid().as_raw().to_string()
}

/// More than any `execve` takes.
const ENVIRONMENT_LONGEST: u64 = 8 << 20;

fn environment_file(path: &Path, optional: bool) -> Result<Vec<(String, String)>, PrepareError> {
    let text = match plain_file::read_text(path, ENVIRONMENT_LONGEST) {
        Ok(text) => text,
        Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(source) => {
            return Err(PrepareError::EnvironmentFile {
                path: path.to_owned(),
                source,
            });
        }
    };
    let parsed = units::parse_environment_file(&text);
    match parsed.ignored_lines.first() {
        None => Ok(parsed.assignments),
        Some(line) => Err(PrepareError::EnvironmentSyntax {
            path: path.to_owned(),
            line: *line,
        }),
    }
}

/// Profiles of Docker have 20 KiB.
const PROFILE_LONGEST: u64 = 1 << 20;

fn seccomp_profile(path: &Path) -> Result<sandbox::config::SeccompProfile, PrepareError> {
    let unreadable = |source| PrepareError::SeccompProfile {
        path: path.to_owned(),
        source,
    };
    let text = plain_file::read(path, PROFILE_LONGEST).map_err(unreadable)?;
    sandbox::seccomp::parse_profile(&path.display().to_string(), &text).map_err(|source| {
        PrepareError::SeccompProfileContent {
            path: path.to_owned(),
            source,
        }
    })
}

/// A plan as `herd plan` shows it: which profile it came from, and its steps.
pub fn describe(unit: &Unit, plan: &sandbox::Plan) -> String {
    match crate::profile::heading(unit) {
        Some(heading) => format!("{heading}\n{plan}"),
        None => plan.to_string(),
    }
}

/// The kernel's words for an error in lower case, without their number; any other error's as they are.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    match error.raw_os_error() {
        Some(_) => words.to_lowercase(),
        None => words.to_owned(),
    }
}

/// The whole error with its causes, joined once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> Arc<str> {
    let told = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref() {
        Some(error) => words(error),
        None => error.to_string(),
    };
    let mut text = told(error);
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&told(cause));
        source = cause.source();
    }
    text.into()
}

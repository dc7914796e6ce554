//! What makes no sense on any machine. Pure; every problem is told, not the first.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::config::{
    Amount, BindSource, CAPABILITIES, Capabilities, Config, Held, MountAction, NamespaceKind,
    Ports, Root, RootOverlay, Upper, Walls,
};

/// One problem of a config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidationError {
    #[error("the name is empty, too long, or has a slash or a control character in it")]
    InvalidName,
    #[error("there is no command")]
    MissingCommand,
    #[error("the command's name is empty, or a word of it has a NUL byte in it")]
    InvalidCommand,
    #[error("argv0 has a NUL byte in it")]
    InvalidArgv0,
    #[error("{0:?} cannot be the name of a variable")]
    InvalidEnvironmentName(OsString),
    #[error("the variable {0:?} has a NUL byte in its value")]
    InvalidEnvironmentValue(OsString),
    #[error("the working directory {path} is not an absolute path", path = .0.display())]
    InvalidWorkingDirectory(PathBuf),
    #[error("the box's root {path} is not an absolute path", path = .0.display())]
    InvalidRootPath(PathBuf),
    #[error("the hostname is empty, or longer than 64 bytes")]
    InvalidHostname,
    #[error("the lock file {path} is not an absolute path", path = .0.display())]
    InvalidLockFilePath(PathBuf),
    #[error("held descriptor {0} is used twice")]
    HeldTwice(u32),
    #[error("a memory limit is 0, or more than all of it")]
    InvalidMemoryLimit,
    #[error("a limit on cpu time is 0, or its weight is not 1 to 10000")]
    InvalidCpuLimit,
    #[error("a limit on tasks is 0, or more than all of them")]
    InvalidTasksLimit,
    #[error("the weight of io is not 1 to 10000")]
    InvalidIoLimit,
    #[error("the soft limit {resource} is above the hard one")]
    SoftAboveHard { resource: String },
    #[error("a namespace ({0:?}) is made or joined, not both")]
    NamespaceAttachConflict(NamespaceKind),
    #[error("a second user namespace is joined only from a first one")]
    SecondUserNeedsUser,
    #[error("there is no capability number {0}")]
    InvalidCapability(u8),
    #[error("{path} of a mount is not an absolute path without `..`", path = .0.display())]
    InvalidTarget(PathBuf),
    #[error("the source {path} of a mount is not an absolute path", path = .0.display())]
    InvalidSource(PathBuf),
    #[error("the mode {0:o} has more than twelve bits")]
    InvalidMode(u32),
    #[error("a tmpfs of no bytes")]
    InvalidSize,
    #[error("an overlay has no lower directory, or one that is no absolute path")]
    InvalidOverlayPath,
    #[error("the command can be the first process only of a PID namespace of its own")]
    FirstProcessNeedsPidNamespace,
    #[error(
        "the command is the first process: nobody is left to hold what lasts as long as the box"
    )]
    FirstProcessHoldsNothing,
    #[error("the path {path} of landlock is not an absolute path", path = .0.display())]
    InvalidLandlockPath(PathBuf),
    #[error("landlock knows no port 0")]
    InvalidLandlockPort,
    #[error("landlock needs no_new_privileges")]
    LandlockNeedsNoNewPrivileges,
}

/// Looks for everything that makes no sense on any machine. What a machine cannot do is found by
/// [`compile`](crate::compile()).
///
/// # Errors
/// Every problem, in the order of the config.
pub fn validate(config: &Config) -> Result<(), Vec<ValidationError>> {
    let mut found = Vec::new();
    general(config, &mut found);
    limits(config, &mut found);
    if let Some(walls) = &config.walls {
        namespaces(config, walls, &mut found);
        tree(walls, &mut found);
        privileges(walls, &mut found);
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn general(config: &Config, found: &mut Vec<ValidationError>) {
    use ValidationError as E;
    let name = &config.name;
    if name.is_empty() || name.len() > 255 || name.chars().any(|c| c == '/' || c.is_control()) {
        found.push(E::InvalidName);
    }
    let process = &config.process;
    match process.argv.first() {
        None => found.push(E::MissingCommand),
        Some(program) => {
            if program.is_empty() || process.argv.iter().any(|word| has_nul(word)) {
                found.push(E::InvalidCommand);
            }
        }
    }
    if process.argv0.as_ref().is_some_and(|argv0| has_nul(argv0)) {
        found.push(E::InvalidArgv0);
    }
    for (name, value) in &process.environment {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
            found.push(E::InvalidEnvironmentName(name.clone()));
        }
        if has_nul(value) {
            found.push(E::InvalidEnvironmentValue(name.clone()));
        }
    }
    if let Some(directory) = &process.working_directory
        && !directory.is_absolute()
    {
        found.push(E::InvalidWorkingDirectory(directory.clone()));
    }
    let relative = |path: &&PathBuf| !path.is_absolute();
    let locks = config.lifecycle.lock_files.iter().filter(relative);
    found.extend(locks.cloned().map(E::InvalidLockFilePath));
    if let (Some(block), Some(sync)) = (config.lifecycle.block, config.lifecycle.sync)
        && block == sync
    {
        let Held(number) = block;
        found.push(E::HeldTwice(number));
    }
}

fn limits(config: &Config, found: &mut Vec<ValidationError>) {
    use ValidationError as E;
    let limits = &config.limits.cgroup;
    let senseless = |amount: &Amount| match amount {
        Amount::Exactly(number) => *number == 0,
        Amount::Percent(share) => *share == 0 || *share > 100,
        Amount::Infinity => false,
    };
    // No swap and no guaranteed memory are wishes; no memory at all is none.
    let memory = [&limits.memory, &limits.memory_high];
    if memory.into_iter().flatten().any(senseless) {
        found.push(E::InvalidMemoryLimit);
    }
    let weight = |weight: Option<u16>| weight.is_some_and(|n| !(1..=10_000).contains(&n));
    if limits.cpu_percent == Some(0) || weight(limits.cpu_weight) {
        found.push(E::InvalidCpuLimit);
    }
    if limits.tasks.as_ref().is_some_and(senseless) {
        found.push(E::InvalidTasksLimit);
    }
    if weight(limits.io_weight) {
        found.push(E::InvalidIoLimit);
    }
    for limit in &config.limits.rlimits {
        let above = match (limit.soft, limit.hard) {
            (Some(soft), Some(hard)) => soft > hard,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if above {
            let resource = format!("{:?}", limit.resource);
            found.push(E::SoftAboveHard { resource });
        }
    }
}

fn namespaces(config: &Config, walls: &Walls, found: &mut Vec<ValidationError>) {
    use ValidationError as E;
    let made = walls.namespaces;
    for join in &walls.join {
        let both = match join.kind {
            NamespaceKind::Mount => made.mount,
            NamespaceKind::Ipc => made.ipc,
            NamespaceKind::Uts => made.uts,
            NamespaceKind::Cgroup => made.cgroup,
            NamespaceKind::User => made.user || walls.user_namespace.is_some(),
            NamespaceKind::Net => made.net,
            NamespaceKind::Time => made.time,
            // One is then made below the one joined.
            NamespaceKind::Pid | NamespaceKind::SecondUser => false,
        };
        if both {
            found.push(E::NamespaceAttachConflict(join.kind));
        }
    }
    let joins = |kind| walls.join.iter().any(|join| join.kind == kind);
    let has_user = made.user || walls.user_namespace.is_some() || joins(NamespaceKind::User);
    if joins(NamespaceKind::SecondUser) && !has_user {
        found.push(E::SecondUserNeedsUser);
    }
    if walls
        .hostname
        .as_ref()
        .is_some_and(|name| name.is_empty() || name.len() > 64)
    {
        found.push(E::InvalidHostname);
    }
    if walls.as_pid_1 {
        if !made.pid {
            found.push(E::FirstProcessNeedsPidNamespace);
        }
        let lifecycle = &config.lifecycle;
        if lifecycle.sync.is_some() || !lifecycle.lock_files.is_empty() {
            found.push(E::FirstProcessHoldsNothing);
        }
    }
}

fn tree(walls: &Walls, found: &mut Vec<ValidationError>) {
    use ValidationError as E;
    if let Root::Directory(path) = &walls.root
        && !path.is_absolute()
    {
        found.push(E::InvalidRootPath(path.clone()));
    }
    if let RootOverlay::Persistent { upper, work } = &walls.root_overlay
        && !(upper.is_absolute() && work.is_absolute())
    {
        found.push(E::InvalidOverlayPath);
    }
    let lists = [
        &walls.read_only_paths,
        &walls.read_write_paths,
        &walls.inaccessible_paths,
        &walls.no_exec_paths,
        &walls.exec_paths,
    ];
    for one in lists.into_iter().flatten() {
        target(&one.path, found);
    }
    for one in &walls.temporary_file_systems {
        target(&one.path, found);
        mode(one.mode, found);
        size(one.size, found);
    }
    for one in &walls.binds {
        source(&one.source, found);
        target(&one.target, found);
    }
    for action in &walls.mounts {
        mount(action, found);
    }
}

fn mount(action: &MountAction, found: &mut Vec<ValidationError>) {
    match action {
        MountAction::Bind(bind) => {
            if let BindSource::Path(path) = &bind.source {
                source(path, found);
            }
            target(&bind.target, found);
        }
        MountAction::Proc { target: path }
        | MountAction::Devices { target: path }
        | MountAction::MessageQueues { target: path }
        | MountAction::ControlGroups { target: path, .. }
        | MountAction::RemountReadOnly { path }
        | MountAction::Symlink { path, .. } => target(path, found),
        MountAction::Tmpfs {
            target: path,
            mode: bits,
            size: bytes,
        } => {
            target(path, found);
            mode(*bits, found);
            size(*bytes, found);
        }
        MountAction::Directory { path, mode: bits }
        | MountAction::File {
            path, mode: bits, ..
        }
        | MountAction::Chmod { path, mode: bits }
        | MountAction::BindData {
            target: path,
            mode: bits,
            ..
        } => {
            target(path, found);
            mode(*bits, found);
        }
        MountAction::Overlay {
            lower,
            upper,
            target: path,
        } => {
            target(path, found);
            let persistent = match upper {
                Upper::Persistent { upper, work } => upper.is_absolute() && work.is_absolute(),
                Upper::ReadOnly | Upper::Temporary => true,
            };
            if lower.is_empty() || !lower.iter().all(|path| path.is_absolute()) || !persistent {
                found.push(ValidationError::InvalidOverlayPath);
            }
        }
    }
}

fn privileges(walls: &Walls, found: &mut Vec<ValidationError>) {
    use ValidationError as E;
    let given: &[u8] = match &walls.capabilities {
        Capabilities::Exactly(given) => given,
        Capabilities::ByUser | Capabilities::Caller => &[],
    };
    let numbers = walls.capability_bounding_set.iter().chain(given);
    for number in numbers.chain(&walls.ambient_capabilities) {
        if usize::from(*number) >= CAPABILITIES.len() {
            found.push(E::InvalidCapability(*number));
        }
    }
    let landlock = &walls.landlock;
    for rule in &landlock.paths {
        if !rule.path.is_absolute() {
            found.push(E::InvalidLandlockPath(rule.path.clone()));
        }
    }
    if landlock
        .ports
        .iter()
        .any(|rule| rule.ports == Ports::One(0))
    {
        found.push(E::InvalidLandlockPort);
    }
    if landlock.enabled && !walls.no_new_privileges {
        found.push(E::LandlockNeedsNoNewPrivileges);
    }
}

fn target(path: &Path, found: &mut Vec<ValidationError>) {
    let upwards = path
        .components()
        .any(|component| component == Component::ParentDir);
    if !path.is_absolute() || upwards || has_nul(path.as_os_str()) {
        found.push(ValidationError::InvalidTarget(path.to_owned()));
    }
}

fn source(path: &Path, found: &mut Vec<ValidationError>) {
    if !path.is_absolute() || has_nul(path.as_os_str()) {
        found.push(ValidationError::InvalidSource(path.to_owned()));
    }
}

fn mode(bits: u32, found: &mut Vec<ValidationError>) {
    if bits > 0o7777 {
        found.push(ValidationError::InvalidMode(bits));
    }
}

fn size(bytes: Option<u64>, found: &mut Vec<ValidationError>) {
    if bytes == Some(0) {
        found.push(ValidationError::InvalidSize);
    }
}

fn has_nul(text: &OsStr) -> bool {
    text.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Join, NamespaceSource, TemporaryFileSystem};

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::boxed("web", ["/bin/true"]);
        change(&mut config);
        match validate(&config) {
            Ok(()) => Vec::new(),
            Err(found) => found.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_box_around_a_command_makes_sense() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_told_and_not_the_first() {
        let found = problems(|config| {
            config.name.clear();
            config.process.argv.clear();
            config.process.environment.push(("A=B".into(), "1".into()));
            config.process.working_directory = Some("tmp".into());
            config.lifecycle.lock_files.push("lock".into());
            config.limits.cgroup.memory = Some(Amount::Exactly(0));
            config.limits.cgroup.cpu_percent = Some(0);
            config.limits.cgroup.tasks = Some(Amount::Percent(101));
            let walls = config.walls.as_mut().unwrap();
            walls.hostname = Some(OsString::new());
            walls.namespaces.pid = false;
            walls.as_pid_1 = true;
            walls.root = Root::Directory("srv".into());
            walls.capability_bounding_set.push(64);
            walls.temporary_file_systems.push(TemporaryFileSystem {
                path: "/a/../b".into(),
                mode: 0o10000,
                size: Some(0),
                read_only: false,
            });
            walls.mounts.push(MountAction::Overlay {
                lower: Vec::new(),
                upper: Upper::ReadOnly,
                target: "/o".into(),
            });
            walls.join.push(Join {
                kind: NamespaceKind::Ipc,
                from: NamespaceSource::Path("/proc/1/ns/ipc".into()),
            });
        });
        assert_eq!(
            found,
            [
                "the name is empty, too long, or has a slash or a control character in it",
                "there is no command",
                "\"A=B\" cannot be the name of a variable",
                "the working directory tmp is not an absolute path",
                "the lock file lock is not an absolute path",
                "a memory limit is 0, or more than all of it",
                "a limit on cpu time is 0, or its weight is not 1 to 10000",
                "a limit on tasks is 0, or more than all of them",
                "a namespace (Ipc) is made or joined, not both",
                "the hostname is empty, or longer than 64 bytes",
                "the command can be the first process only of a PID namespace of its own",
                "the command is the first process: nobody is left to hold what lasts as long as \
                 the box",
                "the box's root srv is not an absolute path",
                "/a/../b of a mount is not an absolute path without `..`",
                "the mode 10000 has more than twelve bits",
                "a tmpfs of no bytes",
                "an overlay has no lower directory, or one that is no absolute path",
                "there is no capability number 64",
            ]
        );
    }
}

//! From the settled options to what the engine is to build.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sandbox::config::{
    BindMount, BindSource, Capabilities, Config, Data, EnterRoot, IdMaps, Identity, Inherit, Join,
    Lifecycle, Limits, MountAction, NamespaceKind, NamespaceSource, Namespaces, Network, Process,
    Root, Upper, UserNamespace, Walls,
};

use super::arguments::Arguments;
use super::check::Circumstances;
use super::descriptors::Holdings;
use super::errno;
use super::operation::{Access, Layers, Operation, Source};
use super::profile;

/// What the caller's surroundings add to its options.
#[derive(Debug, Clone)]
pub struct Caller {
    pub circumstances: Circumstances,
    pub working_directory: PathBuf,
    pub umask: u32,
    pub node_name: OsString,
    /// Who it is in the user namespace that it has joined.
    pub inside: (u32, u32),
    /// The capabilities it is permitted, bit by number.
    pub capabilities: u64,
    /// The terminal on standard output.
    pub terminal: Option<PathBuf>,
}

/// What is launched, and what its failures are told in terms of.
#[derive(Debug)]
pub struct Wanted {
    pub config: Config,
    /// Directories made above a target: `(directory, target)`.
    pub parents: Vec<(PathBuf, OsString)>,
    /// Sources by the path they were asked for under, relative ones completed: `(path, as given)`.
    pub sources: Vec<(PathBuf, OsString)>,
}

/// The walls between the caller and the command.
///
/// # Errors
/// The sentence for a descriptor that cannot be read or held.
pub fn config(
    arguments: &Arguments,
    caller: &Caller,
    holdings: &mut Holdings,
) -> Result<Wanted, OsString> {
    let mut wanted = Translation {
        caller,
        holdings,
        mounts: Vec::new(),
        parents: Vec::new(),
        sources: Vec::new(),
        made: Vec::new(),
        read: Vec::new(),
    };
    if let Some(root) = &arguments.own.root {
        wanted.operation(&Operation::Bind {
            source: Source::Path(root.clone()),
            target: "/".into(),
            access: Access::ReadWrite,
            optional: false,
        })?;
    }
    for operation in &arguments.operations {
        wanted.operation(operation)?;
    }
    let Translation {
        mounts,
        parents,
        sources,
        ..
    } = wanted;
    let lifecycle = lifecycle(arguments, holdings)?;
    let mut walls = walls(arguments, caller, mounts);
    if let Some(profile) = arguments.own.profile() {
        profile::fine_walls(profile, &mut walls);
    }
    walls.landlock = arguments.own.landlock();
    walls.join = joins(arguments, holdings)?;
    let config = Config {
        name: "vb".to_owned(),
        process: process(arguments, caller),
        identity: identity(arguments, caller),
        directories: Vec::new(),
        limits: Limits::default(),
        cgroup: None,
        walls: Some(walls),
        lifecycle,
    };
    Ok(Wanted {
        config,
        parents,
        sources,
    })
}

fn walls(arguments: &Arguments, caller: &Caller, mounts: Vec<MountAction>) -> Walls {
    let unshare = arguments.unshare;
    let (bounding, capabilities) = capabilities(arguments, caller);
    let hostname = unshare.uts.then(|| {
        let name = arguments.hostname.as_ref().unwrap_or(&caller.node_name);
        name.clone()
    });
    Walls {
        namespaces: Namespaces {
            mount: true,
            pid: unshare.pid,
            ipc: unshare.ipc,
            uts: unshare.uts,
            cgroup: unshare.cgroup,
            user: unshare.user,
            net: unshare.net,
            time: false,
        },
        user_namespace: unshare.user.then(|| user_namespace(arguments, caller)),
        assert_user_namespaces_disabled: arguments.assert_user_namespaces_disabled
            || arguments.disable_user_namespaces,
        root: Root::Empty,
        enter_root: if arguments.own.chroot {
            EnterRoot::Chroot
        } else {
            EnterRoot::Pivot
        },
        mounts,
        hostname,
        network: if unshare.net {
            Network::Loopback
        } else {
            Network::Host
        },
        no_new_privileges: true,
        capability_bounding_set: bounding,
        capabilities,
        as_pid_1: arguments.as_pid_1,
        ..Walls::bare()
    }
}

fn user_namespace(arguments: &Arguments, caller: &Caller) -> UserNamespace {
    if arguments.descriptors.user_namespace_block.is_some() {
        return UserNamespace {
            maps: IdMaps::ByCaller,
            ..UserNamespace::default()
        };
    }
    let has_devices = arguments
        .operations
        .iter()
        .any(|operation| matches!(operation, Operation::Devices(_)));
    // Terminals can be mounted only where user 0 has a place, so there is a namespace for that first.
    let circumstances = caller.circumstances;
    let uid = arguments.uid.unwrap_or(circumstances.uid);
    let gid = arguments.gid.unwrap_or(circumstances.gid);
    UserNamespace {
        maps: IdMaps::Caller,
        nested: has_devices && (uid, gid) != (0, 0),
        disable_further: arguments.disable_user_namespaces,
    }
}

/// The bounding set, and what the command starts with. Root keeps what it has unless an option
/// says something else; nobody else has any, but what is given in a user namespace.
fn capabilities(arguments: &Arguments, caller: &Caller) -> (Vec<u8>, Capabilities) {
    let numbers = |set: u64| (0..=LAST_CAPABILITY).filter(move |number| set >> number & 1 == 1);
    let in_user_namespace =
        arguments.unshare.user || arguments.descriptors.user_namespace.is_some();
    let mut wanted = arguments.capabilities.wanted;
    // To a set with one that the caller does not have the kernel says no, and bubblewrap takes that:
    // the command has what the caller has. Where some were to go, they do here.
    let keeps_all = !in_user_namespace
        && wanted & ALL & !caller.capabilities != 0
        && caller.capabilities & !wanted == 0;
    if !in_user_namespace {
        wanted &= caller.capabilities;
    }
    let bounding = if in_user_namespace {
        numbers(wanted).collect()
    } else {
        (0..=LAST_CAPABILITY).collect()
    };
    let given = if caller.circumstances.uid == 0 && (!arguments.capabilities.chosen || keeps_all) {
        Capabilities::Caller
    } else {
        Capabilities::Exactly(numbers(wanted).collect())
    };
    (bounding, given)
}

/// `CAP_CHECKPOINT_RESTORE`.
const LAST_CAPABILITY: u8 = 40;
const ALL: u64 = (1 << (LAST_CAPABILITY + 1)) - 1;

fn identity(arguments: &Arguments, caller: &Caller) -> Identity {
    let circumstances = caller.circumstances;
    let joined = arguments.descriptors.user_namespace.is_some();
    let held = arguments.descriptors.user_namespace_block.is_some();
    // Where somebody else has made the maps, the change is one of the process's own.
    let changes = |wanted: Option<u32>, real: u32, inside: u32| {
        let wanted = wanted.unwrap_or(real);
        (joined && wanted != real && wanted != inside).then_some(wanted)
    };
    if arguments.unshare.user && !held {
        Identity {
            uid: Some(arguments.uid.unwrap_or(circumstances.uid)),
            gid: Some(arguments.gid.unwrap_or(circumstances.gid)),
            groups: None,
        }
    } else {
        Identity {
            uid: changes(arguments.uid, circumstances.uid, caller.inside.0),
            gid: changes(arguments.gid, circumstances.gid, caller.inside.1),
            groups: None,
        }
    }
}

fn process(arguments: &Arguments, caller: &Caller) -> Process {
    let environment = &arguments.environment;
    let directories = match &arguments.chdir {
        Some(directory) => vec![PathBuf::from(directory)],
        None => {
            let home = environment.of("HOME").map(PathBuf::from);
            [
                Some(caller.working_directory.clone()),
                home,
                Some("/".into()),
            ]
            .into_iter()
            .flatten()
            .collect()
        }
    };
    Process {
        argv: arguments.command.clone(),
        argv0: arguments.argv0.clone(),
        search_path: search_path(environment.of("PATH")),
        environment: environment.clone().into_variables(),
        working_directories: directories,
        umask: Some(caller.umask),
        new_session: arguments.new_session,
        die_with_parent: arguments.die_with_parent,
        inherit: Inherit::All,
        as_if_executed: true,
        ..Process::default()
    }
}

/// As `execvp(3)` reads `PATH`.
fn search_path(path: Option<&OsStr>) -> Vec<PathBuf> {
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| match directory {
            b"" => PathBuf::from("."),
            directory => PathBuf::from(OsStr::from_bytes(directory)),
        })
        .collect()
}

fn joins(arguments: &Arguments, holdings: &mut Holdings) -> Result<Vec<Join>, OsString> {
    let descriptors = arguments.descriptors;
    let missing = errno::text(libc::EBADF);
    let mut joins = Vec::new();
    for (number, kind, complaint) in [
        (
            descriptors.pid_namespace,
            NamespaceKind::Pid,
            format!("Setting pidns failed: {missing}"),
        ),
        (
            descriptors.user_namespace_2,
            NamespaceKind::SecondUser,
            format!("Setting userns2 failed: {missing}"),
        ),
    ] {
        let Some(number) = number else {
            continue;
        };
        let held = holdings.hold(number).map_err(|error| cannot_hold(&error))?;
        joins.push(Join {
            kind,
            from: NamespaceSource::Descriptor(held.ok_or(complaint)?),
        });
    }
    Ok(joins)
}

fn lifecycle(arguments: &Arguments, holdings: &mut Holdings) -> Result<Lifecycle, OsString> {
    let descriptors = arguments.descriptors;
    // A number that is not open is passed over, as bubblewrap does.
    let mut hold = |number: Option<i32>| match number.map(|number| holdings.hold(number)) {
        None | Some(Ok(None)) => Ok(None),
        Some(Ok(held)) => Ok(held),
        Some(Err(error)) => Err(cannot_hold(&error)),
    };
    Ok(Lifecycle {
        gate: descriptors.info.is_some()
            || descriptors.json_status.is_some()
            || descriptors.user_namespace_block.is_some(),
        block: hold(descriptors.block)?,
        sync: if arguments.as_pid_1 {
            None
        } else {
            hold(descriptors.sync)?
        },
        lock_files: arguments.lock_files.iter().map(PathBuf::from).collect(),
        linger: true,
    })
}

struct Translation<'a> {
    caller: &'a Caller,
    holdings: &'a mut Holdings,
    mounts: Vec<MountAction>,
    parents: Vec<(PathBuf, OsString)>,
    sources: Vec<(PathBuf, OsString)>,
    /// Directories above targets that are there, unless something has been mounted over them since.
    made: Vec<PathBuf>,
    /// Numbers whose data is used up.
    read: Vec<i32>,
}

impl Translation<'_> {
    fn operation(&mut self, operation: &Operation) -> Result<(), OsString> {
        self.translate(operation)?;
        if let Some(target) = operation.mount_point() {
            // A link may lead anywhere.
            let has_links = self
                .mounts
                .iter()
                .any(|action| matches!(action, MountAction::Symlink { .. }));
            let target = in_box(target);
            self.made
                .retain(|directory| !has_links && !directory.starts_with(&target));
        }
        Ok(())
    }

    fn translate(&mut self, operation: &Operation) -> Result<(), OsString> {
        match operation {
            Operation::Bind {
                source,
                target,
                access,
                optional,
            } => {
                let source = match source {
                    Source::Path(path) => match self.source(path, *optional)? {
                        Some(path) => BindSource::Path(path),
                        None => return Ok(()),
                    },
                    Source::Descriptor(number) => self.descriptor(*number)?,
                };
                let target = self.target(target);
                self.bind(source, target, *access, *optional);
            }
            Operation::Overlay {
                lower,
                upper,
                target,
            } => {
                let lower = lower.iter().map(|path| self.layer(path));
                let lower = lower.collect::<Result<_, OsString>>()?;
                let upper = match upper {
                    Layers::ReadOnly => Upper::ReadOnly,
                    Layers::Temporary => Upper::Temporary,
                    Layers::Persistent { upper, work } => Upper::Persistent {
                        upper: self.layer(upper)?,
                        work: self.layer(work)?,
                    },
                };
                let target = self.target(target);
                self.mounts.push(MountAction::Overlay {
                    lower,
                    upper,
                    target,
                });
            }
            Operation::Proc(target) => {
                let target = self.target(target);
                self.mounts.push(MountAction::Proc { target });
            }
            Operation::Devices(target) => self.devices(target),
            Operation::MessageQueues(target) => {
                let target = self.target(target);
                self.mounts.push(MountAction::MessageQueues { target });
            }
            Operation::Tmpfs { target, mode, size } => self.mounts.push(MountAction::Tmpfs {
                target: in_box(target),
                mode: *mode,
                size: *size,
            }),
            Operation::Directory { path, mode } => self.mounts.push(MountAction::Directory {
                path: in_box(path),
                mode: *mode,
            }),
            Operation::File {
                descriptor,
                path,
                mode,
            } => {
                let data = self.data(*descriptor, path)?;
                self.mounts.push(MountAction::File {
                    path: in_box(path),
                    mode: *mode,
                    data,
                });
            }
            Operation::BindData {
                descriptor,
                target,
                mode,
                read_only,
            } => {
                let data = self.data(*descriptor, target)?;
                self.mounts.push(MountAction::BindData {
                    target: in_box(target),
                    mode: *mode,
                    data,
                    read_only: *read_only,
                });
            }
            Operation::Symlink {
                target,
                path: given,
            } => {
                let path = self.target(given);
                if given.as_bytes().ends_with(b"/") && path.parent().is_some() {
                    // What is above its nameless end is itself.
                    self.mounts.push(MountAction::Directory {
                        path: path.clone(),
                        mode: 0o700,
                    });
                }
                self.mounts.push(MountAction::Symlink {
                    target: target.into(),
                    path,
                });
            }
            Operation::Chmod { path, mode } => self.mounts.push(MountAction::Chmod {
                path: in_box(path),
                mode: *mode,
            }),
            Operation::RemountReadOnly(path) => {
                let path = self.target(path);
                self.mounts.push(MountAction::RemountReadOnly { path });
            }
            // The namespace has one name: the last.
            Operation::Hostname(_) => {}
        }
        Ok(())
    }

    fn bind(&mut self, source: BindSource, target: PathBuf, access: Access, optional: bool) {
        self.mounts.push(MountAction::Bind(BindMount {
            source,
            target,
            read_only: access == Access::ReadOnly,
            devices: access == Access::Devices,
            optional,
            recursive: true,
            id_map: None,
        }));
    }

    fn devices(&mut self, given: &OsStr) {
        let target = self.target(given);
        self.mounts.push(MountAction::Devices {
            target: target.clone(),
        });
        // What the command can write to anyway gets the name under which it can be found.
        if let Some(terminal) = &self.caller.terminal {
            let source = BindSource::Path(terminal.clone());
            self.bind(source, target.join("console"), Access::Devices, false);
        }
    }

    fn descriptor(&mut self, number: i32) -> Result<BindSource, OsString> {
        let link = format!("/proc/self/fd/{number}");
        if let Ok(path) = std::fs::read_link(&link) {
            // A file that has no name any more is told by its number.
            self.sources.push((path, link.into()));
        }
        let held = self.holdings.hold(number);
        match held.map_err(|error| cannot_hold(&error))? {
            Some(held) => Ok(BindSource::Descriptor(held)),
            None => {
                let missing = errno::text(libc::ENOENT);
                Err(format!("Can't find source path /proc/self/fd/{number}: {missing}").into())
            }
        }
    }

    /// What can be read from a descriptor, which is used up.
    fn data(&mut self, number: i32, target: &OsStr) -> Result<Data, OsString> {
        let is_used_up = self.read.contains(&number);
        self.read.push(number);
        let held = self.holdings.hold(number);
        match held.map_err(|error| cannot_hold(&error))? {
            Some(held) if !is_used_up => Ok(Data::Descriptor(held)),
            Some(_) | None => {
                let mut text = OsString::from("Can't write data to file ");
                text.push(target);
                text.push(format!(": {}", errno::text(libc::EBADF)));
                Err(text)
            }
        }
    }

    /// The path outside; `None` for an optional one that is known to be missing.
    fn source(&mut self, given: &OsStr, optional: bool) -> Result<Option<PathBuf>, OsString> {
        if given.is_empty() && optional {
            return Ok(None);
        }
        if given.is_empty() {
            let missing = errno::text(libc::ENOENT);
            return Err(format!("Can't find source path : {missing}").into());
        }
        let mut path = self.caller.working_directory.join(given);
        // The engine takes paths that say themselves where they lead.
        let goes_up = |path: &Path| path.components().any(|part| part == Component::ParentDir);
        if goes_up(&path) {
            path = match std::fs::canonicalize(&path) {
                Ok(path) => path,
                Err(error) if optional && error.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    let mut text = OsString::from("Can't find source path ");
                    text.push(given);
                    text.push(format!(": {}", errno::text(errno)));
                    return Err(text);
                }
            };
        }
        // What is not there leaves no trace, not even the directories above its target.
        let missing =
            || std::fs::metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if optional && missing() {
            return Ok(None);
        }
        self.sources.push((path.clone(), given.to_owned()));
        Ok(Some(path))
    }

    fn layer(&mut self, given: &OsStr) -> Result<PathBuf, OsString> {
        Ok(self.source(given, false)?.unwrap_or_default())
    }

    /// The path inside. Directories that are missing above it are the owner's alone, as bubblewrap
    /// makes them for everything that has no permissions of its own.
    fn target(&mut self, given: &OsStr) -> PathBuf {
        let target = in_box(given);
        if let Some(parent) = target.parent().filter(|parent| parent.parent().is_some())
            && !self.made.iter().any(|known| known == parent)
        {
            self.made.push(parent.to_owned());
            if !self.parents.iter().any(|(known, _)| known == parent) {
                self.parents.push((parent.to_owned(), given.to_owned()));
            }
            self.mounts.push(MountAction::Directory {
                path: parent.to_owned(),
                mode: 0o700,
            });
        }
        target
    }
}

fn cannot_hold(error: &io::Error) -> OsString {
    format!("Can't hold a descriptor: {error}").into()
}

/// A path of the box, which starts at its root with or without a slash.
pub fn in_box(given: &OsStr) -> PathBuf {
    let mut path = PathBuf::from("/");
    for component in Path::new(given).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

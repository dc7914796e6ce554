//! Namespaces of others that a box joins: which go together, in which order, and joining them.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::compile::CompileError;
use crate::config::{Held, Join, NamespaceKind, NamespaceSource, Network, Wall, Walls};
use crate::held::HeldDescriptors;
use crate::host::Host;
use crate::paths::{absolute, c_path};
use crate::step::text;
use crate::sys::{Errno, files, process};

/// One namespace to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinStep {
    pub(crate) kind: NamespaceKind,
    from: From,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum From {
    Path(std::ffi::CString),
    Held(Held),
}

impl fmt::Display for JoinStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} namespace ", name(self.kind))?;
        match &self.from {
            From::Path(path) => f.write_str(&text(path)),
            From::Held(held) => write!(f, "of held descriptor {}", held.0),
        }
    }
}

fn name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Mount => "mount",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::User => "user",
        NamespaceKind::SecondUser => "second user",
        NamespaceKind::Net => "network",
        NamespaceKind::Time => "time",
    }
}

fn flag(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        NamespaceKind::User | NamespaceKind::SecondUser => libc::CLONE_NEWUSER,
        NamespaceKind::Net => libc::CLONE_NEWNET,
        NamespaceKind::Time => CLONE_NEWTIME,
    }
}

/// `libc` has it for some targets only.
pub(crate) const CLONE_NEWTIME: i32 = 0x80;

fn wall(kind: NamespaceKind) -> Wall {
    match kind {
        NamespaceKind::Mount => Wall::MountNamespace,
        NamespaceKind::Pid => Wall::PidNamespace,
        NamespaceKind::Ipc => Wall::IpcNamespace,
        NamespaceKind::Uts => Wall::UtsNamespace,
        NamespaceKind::Cgroup => Wall::CgroupNamespace,
        NamespaceKind::Net => Wall::NetNamespace,
        NamespaceKind::User | NamespaceKind::SecondUser => Wall::UserNamespace,
        NamespaceKind::Time => Wall::TimeNamespace,
    }
}

/// Claims that a namespace of this kind is joined.
pub(crate) fn joins(walls: &Walls, kind: NamespaceKind) -> bool {
    walls.join.iter().any(|join| join.kind == kind)
}

/// The namespaces to join at the start, in order; that of a second user comes last of all.
///
/// Root joins a user namespace after the others, because it is root nowhere else from then on. For
/// everybody else it is what gives the right to join the others. The mount namespace comes after
/// those whose files are looked for in the caller's own tree: all of them are opened first.
pub(crate) fn first(walls: &Walls, host: &Host) -> Result<Vec<JoinStep>, CompileError> {
    for (index, join) in walls.join.iter().enumerate() {
        if walls.join[..index].iter().any(|one| one.kind == join.kind) {
            let what = format!("two {} namespaces cannot be joined", name(join.kind));
            return Err(refuse(join.kind, what));
        }
        if is_made_too(walls, join.kind) {
            let what = format!(
                "the {} namespace is made or joined, not both",
                name(join.kind)
            );
            return Err(refuse(join.kind, what));
        }
    }
    if joins(walls, NamespaceKind::Uts) && (walls.hostname.is_some() || walls.domainname.is_some())
    {
        let what = "a UTS namespace that is joined has its names".to_owned();
        return Err(refuse(NamespaceKind::Uts, what));
    }
    let mut chosen: Vec<&Join> = walls
        .join
        .iter()
        .filter(|join| join.kind != NamespaceKind::SecondUser)
        .collect();
    chosen.sort_by_key(|join| (join.kind == NamespaceKind::User) == host.is_root);
    chosen.into_iter().map(step).collect()
}

pub(crate) fn second_user(walls: &Walls) -> Result<Option<JoinStep>, CompileError> {
    let mut joins = walls.join.iter();
    joins
        .find(|join| join.kind == NamespaceKind::SecondUser)
        .map(step)
        .transpose()
}

fn refuse(kind: NamespaceKind, reason: String) -> CompileError {
    CompileError::Wall {
        wall: wall(kind),
        reason,
    }
}

fn is_made_too(walls: &Walls, kind: NamespaceKind) -> bool {
    let made = walls.namespaces;
    match kind {
        NamespaceKind::Ipc => made.ipc,
        NamespaceKind::Uts => made.uts,
        NamespaceKind::Cgroup => made.cgroup,
        NamespaceKind::Net => made.net || walls.network != Network::Host,
        NamespaceKind::Time => made.time,
        NamespaceKind::User => made.user || walls.user_namespace.is_some(),
        // A new one is a copy of the one joined, or lies below it.
        NamespaceKind::Mount | NamespaceKind::Pid | NamespaceKind::SecondUser => false,
    }
}

fn step(join: &Join) -> Result<JoinStep, CompileError> {
    let from = match &join.from {
        NamespaceSource::Path(path) => {
            absolute("namespace", path)?;
            From::Path(c_path(path)?)
        }
        NamespaceSource::Descriptor(held) => From::Held(*held),
    };
    Ok(JoinStep {
        kind: join.kind,
        from,
    })
}

/// Joins them all; the one that could not be joined is told with the reason.
pub(crate) fn join<'a>(
    wanted: &'a [JoinStep],
    held: &HeldDescriptors,
) -> Result<(), (&'a JoinStep, Errno)> {
    let opened: Vec<_> = wanted
        .iter()
        .map(|one| Ok((one, open(one, held).map_err(|errno| (one, errno))?)))
        .collect::<Result<_, _>>()?;
    for (one, descriptor) in opened {
        process::join_namespace(descriptor.as_fd(), flag(one.kind))
            .map_err(|errno| (one, errno))?;
    }
    Ok(())
}

pub(crate) fn open(wanted: &JoinStep, held: &HeldDescriptors) -> Result<OwnedFd, Errno> {
    match &wanted.from {
        From::Path(path) => files::open(path, libc::O_RDONLY | libc::O_NONBLOCK),
        From::Held(number) => held
            .borrow(*number)?
            .try_clone_to_owned()
            .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EMFILE))),
    }
}

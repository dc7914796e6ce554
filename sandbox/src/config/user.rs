//! The user namespace of a box, and namespaces of others that it joins.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::file_system::Held;

/// A user namespace of the box's own (`user_namespaces(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserNamespace {
    pub maps: IdMaps,
    /// The box is set up by user 0 of this namespace and runs in a second one below it, as who it is to
    /// be: what it holds of capabilities there does not reach its own mounts. Only with
    /// [`IdMaps::Caller`].
    pub nested: bool,
    /// No further user namespace can be made inside, by the kernel's own counter
    /// (`/proc/sys/user/max_user_namespaces`), which nobody inside can raise again. With
    /// [`IdMaps::Caller`] the box runs in a second namespace below the one that has the counter and
    /// owns its mounts: whatever capabilities it holds, it neither raises the one nor undoes the
    /// others. With [`IdMaps::Ranges`] there is one namespace only: `CAP_SYS_RESOURCE`, which could raise
    /// the counter, is refused in the bounding set, and `CAP_SYS_ADMIN` reaches the mounts.
    pub disable_further: bool,
}

/// Who is who inside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum IdMaps {
    /// The caller alone, under the identity that the config gives the process (its own otherwise).
    #[default]
    Caller,
    /// These ranges. Ranges that the kernel does not let the caller write itself are written by
    /// `newuidmap` and `newgidmap` (`subuid(5)`).
    Ranges {
        uids: Vec<IdRange>,
        gids: Vec<IdRange>,
    },
    /// Whoever holds the box at its gate writes them ([`Lifecycle::gate`](super::Lifecycle::gate)).
    ByCaller,
}

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// A namespace to join instead of making one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub kind: NamespaceKind,
    pub from: NamespaceSource,
}

/// Kinds of namespaces (`namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamespaceKind {
    Mount,
    Pid,
    Ipc,
    Uts,
    Cgroup,
    User,
    /// A user namespace that is joined last, after the box has been set up in another.
    SecondUser,
    Net,
    Time,
}

/// How far ahead of the host the clocks of a time namespace are, in seconds (`time_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeOffsets {
    pub monotonic: i64,
    pub boottime: i64,
}

/// Where a namespace to join is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceSource {
    /// As `/proc/PID/ns/net` or a bind mount of one.
    Path(PathBuf),
    Descriptor(Held),
}

/// Which capabilities a program starts with (`capabilities(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Capabilities {
    /// User 0 keeps what is in the bounding set, every other user the ambient ones.
    #[default]
    ByUser,
    /// Those that the caller has; none is taken and none given.
    Caller,
    /// Exactly these numbers, for every user: permitted, effective, inheritable, and ambient, so that
    /// they outlive `execve`. What the caller does not have cannot be given outside a user namespace of
    /// the box's own.
    Exactly(Vec<u8>),
}

/// What user 0 is to a program and all its children (`capabilities(7)`, *The securebits flags*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecureBit {
    KeepCaps,
    KeepCapsLocked,
    /// Capabilities do not follow changes of user.
    NoSetuidFixup,
    NoSetuidFixupLocked,
    /// User 0 gains nothing at `execve`.
    NoRoot,
    NoRootLocked,
}

impl SecureBit {
    /// Every bit by the name that `systemd.exec(5)` has for it, with its number.
    pub const ALL: [(&'static str, Self, u8); 6] = [
        ("keep-caps", Self::KeepCaps, 4),
        ("keep-caps-locked", Self::KeepCapsLocked, 5),
        ("no-setuid-fixup", Self::NoSetuidFixup, 2),
        ("no-setuid-fixup-locked", Self::NoSetuidFixupLocked, 3),
        ("noroot", Self::NoRoot, 0),
        ("noroot-locked", Self::NoRootLocked, 1),
    ];
}

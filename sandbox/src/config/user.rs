//! The user namespace of a box, and namespaces of others that it joins.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::file_system::Held;

/// A user namespace of the box's own (`user_namespaces(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserNamespace {
    pub maps: IdMaps,
    /// No further user namespace can be made inside, by the kernel's own counter
    /// (`/proc/sys/user/max_user_namespaces`, in a second namespace so that it cannot be raised again).
    pub disable_further: bool,
    /// The launch fails unless no further user namespace can be made inside.
    pub assert_disabled: bool,
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
    /// Whoever holds the box at its gate writes them ([`Config::gate`](crate::Config::gate)).
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

/// Where a namespace to join is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceSource {
    /// As `/proc/PID/ns/net` or a bind mount of one.
    Path(PathBuf),
    Descriptor(Held),
}

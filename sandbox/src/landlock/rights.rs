//! The rights of each ABI (`Documentation/userspace-api/landlock.rst`), by number and in words.
#![forbid(unsafe_code)]

use crate::config::{PathAccess, PortAccess};

/// `LANDLOCK_ACCESS_FS_*`.
pub(crate) type FileRights = u64;
/// `LANDLOCK_ACCESS_NET_*`.
pub(crate) type TcpRights = u64;
/// `LANDLOCK_SCOPE_*`.
pub(crate) type ScopeSet = u64;

const EXECUTE: FileRights = 1 << 0;
const WRITE_FILE: FileRights = 1 << 1;
const READ_FILE: FileRights = 1 << 2;
pub(crate) const READ_DIR: FileRights = 1 << 3;
/// Removing and making: directories, files, devices, sockets, pipes, links.
const CHANGE_DIRECTORY: FileRights = 0x1ff0;
/// Renaming or linking into another directory. Denied everywhere by ABI 1, which has no right for it.
const REFER: FileRights = 1 << 13;
const TRUNCATE: FileRights = 1 << 14;
const IOCTL_DEV: FileRights = 1 << 15;
/// Connecting to a unix socket by its path.
const RESOLVE_UNIX: FileRights = 1 << 16;

/// The rights that mean something for what is no directory.
pub(crate) const OF_FILES: FileRights =
    EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX;

pub(crate) const BIND_TCP: TcpRights = 1 << 0;
pub(crate) const CONNECT_TCP: TcpRights = 1 << 1;

pub(crate) const ABSTRACT_UNIX_SOCKETS: ScopeSet = 1 << 0;
pub(crate) const SIGNALS: ScopeSet = 1 << 1;

/// The ABI from which on there are scopes (Linux 6.12).
pub(crate) const SCOPES_SINCE: u32 = 6;
/// The ABI from which on there is TCP (Linux 6.7).
pub(crate) const TCP_SINCE: u32 = 4;

/// What came after ABI 1, in words of what it denies, and whether a box with rules does without.
pub(crate) const LATER: [(u32, FileRights, &str, bool); 4] = [
    (2, REFER, "moving files between directories", false),
    (3, TRUNCATE, "truncating files", true),
    (5, IOCTL_DEV, "ioctls on devices", true),
    (9, RESOLVE_UNIX, "connecting to unix sockets by path", false),
];

/// Every right to files that this ABI has and herd knows.
pub(crate) fn of_files(abi: u32) -> FileRights {
    if abi == 0 {
        return 0;
    }
    let first = EXECUTE | WRITE_FILE | READ_FILE | READ_DIR | CHANGE_DIRECTORY;
    LATER
        .iter()
        .filter(|(since, ..)| abi >= *since)
        .fold(first, |all, (_, right, ..)| all | right)
}

pub(crate) fn of_tcp(abi: u32) -> TcpRights {
    if abi >= TCP_SINCE {
        BIND_TCP | CONNECT_TCP
    } else {
        0
    }
}

pub(crate) fn of_scopes(abi: u32) -> ScopeSet {
    if abi >= SCOPES_SINCE {
        ABSTRACT_UNIX_SOCKETS | SIGNALS
    } else {
        0
    }
}

impl PathAccess {
    pub(crate) fn rights(self) -> FileRights {
        let read = READ_FILE | READ_DIR;
        let write = WRITE_FILE | CHANGE_DIRECTORY | REFER | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX;
        match self {
            Self::Read => read,
            Self::Write => write,
            Self::ReadWrite => read | write,
            Self::Execute => read | EXECUTE,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read and write",
            Self::Execute => "execute",
        }
    }
}

impl PortAccess {
    pub(crate) fn rights(self) -> TcpRights {
        match self {
            Self::Bind => BIND_TCP,
            Self::Connect => CONNECT_TCP,
            Self::Both => BIND_TCP | CONNECT_TCP,
        }
    }
}

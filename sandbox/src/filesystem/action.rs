//! What is done to the tree of a box in the order it was asked for, as data.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::Held;
use crate::step::text;

/// One of a config's ordered actions. Paths are the box's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    Put(Put),
    /// `slot` holds the host's `/proc`, where the box shares the host's processes.
    Proc {
        target: CString,
        slot: Option<usize>,
        /// The machine's settings below `sys` become read-only too.
        sys: bool,
    },
    /// With nodes of its own where they are `made`; else the host's are bound.
    Devices {
        target: CString,
        made: bool,
    },
    Tmpfs {
        target: CString,
        mode: u32,
        size: Option<u64>,
    },
    MessageQueues {
        target: CString,
    },
    ControlGroups {
        target: CString,
        read_only: bool,
    },
    Directory {
        path: CString,
        mode: u32,
    },
    File {
        path: CString,
        mode: u32,
        content: Content,
    },
    Symlink {
        reads: CString,
        path: CString,
    },
    Mode {
        path: CString,
        mode: u32,
    },
    ReadOnly {
        path: CString,
    },
}

/// What is held in `slot` appears at `target`, without setuid programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Put {
    pub(crate) slot: usize,
    /// What is held, for the sentence.
    pub(crate) source: CString,
    pub(crate) target: CString,
    pub(crate) read_only: bool,
    pub(crate) devices: bool,
    /// Of directories that are made above it.
    pub(crate) parents: u32,
}

/// What goes into a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// All that can be read from it.
    Held(Held),
    /// These, or those of the host.
    NameServers(Option<Vec<IpAddr>>),
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Held(Held(number)) => write!(f, "from held descriptor {}", number + 1),
            Self::NameServers(None) => f.write_str("the name servers of the host"),
            Self::NameServers(Some(servers)) => {
                let words: Vec<String> = servers.iter().map(ToString::to_string).collect();
                write!(f, "the name servers {}", words.join(", "))
            }
        }
    }
}

/// The mode of directories made above a path: closed to those whom `mode` shuts out of the path itself.
pub(crate) fn mode_of_parents(mode: u32) -> u32 {
    let mut parents = 0o755;
    if mode & 0o070 == 0 {
        parents &= !0o050;
    }
    if mode & 0o007 == 0 {
        parents &= !0o005;
    }
    parents
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(put) => {
                write!(f, "mount {} on {}", text(&put.source), text(&put.target))?;
                if put.read_only {
                    f.write_str(", read-only")?;
                }
                f.write_str(if put.devices { ", with devices" } else { "" })
            }
            Self::Proc {
                target, slot: None, ..
            } => write!(f, "mount proc on {}", text(target)),
            Self::Proc { target, .. } => write!(f, "mount the host's /proc on {}", text(target)),
            Self::Devices { target, made } => {
                let how = if *made { "" } else { " bound from the host" };
                let target = text(target);
                write!(
                    f,
                    "mount a new /dev on {target} with null, zero, full, random, urandom, tty{how}"
                )
            }
            Self::Tmpfs { target, mode, size } => {
                write!(f, "mount tmpfs on {} (mode {mode:04o}", text(target))?;
                if let Some(size) = size {
                    write!(f, ", {size} bytes")?;
                }
                f.write_str(")")
            }
            Self::MessageQueues { target } => write!(f, "mount mqueue on {}", text(target)),
            Self::ControlGroups { target, read_only } => {
                let how = if *read_only { ", read-only" } else { "" };
                write!(f, "mount cgroup2 on {}{how}", text(target))
            }
            Self::Directory { path, mode } => {
                write!(f, "make directory {} (mode {mode:04o})", text(path))
            }
            Self::File {
                path,
                mode,
                content,
            } => {
                let path = text(path);
                write!(f, "make file {path} (mode {mode:04o}, {content})")
            }
            Self::Symlink { reads, path } => {
                write!(f, "make link {} to {}", text(path), text(reads))
            }
            Self::Mode { path, mode } => write!(f, "set the mode of {} to {mode:04o}", text(path)),
            Self::ReadOnly { path } => write!(f, "make the mount on {} read-only", text(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_closed_to_those_who_are_shut_out_below() {
        for (mode, parents) in [
            (0o755, 0o755),
            (0o666, 0o755),
            (0o600, 0o700),
            (0o640, 0o750),
            (0o604, 0o705),
        ] {
            assert_eq!(mode_of_parents(mode), parents, "{mode:o}");
        }
    }
}

//! What is done to the tree of a box, in bubblewrap's words.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};

/// One operation. Targets are paths of the box, with or without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Bind {
        source: Source,
        target: OsString,
        access: Access,
        /// Nothing happens when the source does not exist.
        optional: bool,
    },
    Overlay {
        /// From the bottom up.
        lower: Vec<OsString>,
        upper: Layers,
        target: OsString,
    },
    Proc(OsString),
    Devices(OsString),
    MessageQueues(OsString),
    Tmpfs {
        target: OsString,
        mode: u32,
        /// Bytes.
        size: Option<u64>,
    },
    Directory {
        path: OsString,
        mode: u32,
    },
    File {
        descriptor: i32,
        path: OsString,
        mode: u32,
    },
    BindData {
        descriptor: i32,
        target: OsString,
        mode: u32,
        read_only: bool,
    },
    Symlink {
        target: OsString,
        path: OsString,
    },
    Chmod {
        path: OsString,
        mode: u32,
    },
    RemountReadOnly(OsString),
    Hostname(OsString),
}

impl Operation {
    /// The path of the box that it is about.
    pub fn target(&self) -> Option<&OsStr> {
        match self {
            Self::Directory { path: target, .. }
            | Self::File { path: target, .. }
            | Self::Symlink { path: target, .. }
            | Self::Chmod { path: target, .. }
            | Self::RemountReadOnly(target) => Some(target),
            Self::Hostname(_) => None,
            Self::Bind { .. }
            | Self::Overlay { .. }
            | Self::Proc(_)
            | Self::Devices(_)
            | Self::MessageQueues(_)
            | Self::Tmpfs { .. }
            | Self::BindData { .. } => self.mount_point(),
        }
    }

    /// Where it puts another file system.
    pub fn mount_point(&self) -> Option<&OsStr> {
        match self {
            Self::Bind { target, .. }
            | Self::Overlay { target, .. }
            | Self::Proc(target)
            | Self::Devices(target)
            | Self::MessageQueues(target)
            | Self::Tmpfs { target, .. }
            | Self::BindData { target, .. } => Some(target),
            Self::Directory { .. }
            | Self::File { .. }
            | Self::Symlink { .. }
            | Self::Chmod { .. }
            | Self::RemountReadOnly(_)
            | Self::Hostname(_) => None,
        }
    }
}

/// What a bind shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Path(OsString),
    Descriptor(i32),
}

/// What can be done with what a bind shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
    /// Read, write, and open device nodes.
    Devices,
}

/// Where an overlay writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    ReadOnly,
    Temporary,
    Persistent { upper: OsString, work: OsString },
}

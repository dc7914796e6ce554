//! What is done to the tree of a box, in bubblewrap's words.
#![forbid(unsafe_code)]

use std::ffi::OsString;

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

//! A mount step that failed, with what it was about.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::Errno;

/// What a mount step was doing when it failed: for callers that have words of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountFailure {
    pub operation: MountOperation,
    /// The path of the box, or of the host for [`MountOperation::Source`].
    pub path: OsString,
    /// The path of the host that was to appear there.
    pub source: Option<OsString>,
}

/// See [`MountFailure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountOperation {
    /// Finding what is to be mounted, on the host.
    Source,
    /// A descriptor's name leads elsewhere by now.
    SourceChanged,
    /// Making the directories above the path.
    Parents,
    /// Making the directory, as itself or to mount on it.
    Directory,
    /// Making the file, as itself or to mount on it.
    File,
    /// Writing the file's content.
    Content,
    /// Making the symbolic link.
    Symlink,
    /// The link is there and reads something else.
    SymlinkReads(OsString),
    /// Something is in the link's place that is no link.
    SymlinkOccupied,
    /// `chmod(2)`.
    Mode(u32),
    /// Mounting what was found, with its attributes.
    Bind,
    /// Making the mount read-only.
    ReadOnly,
    Proc,
    Tmpfs,
    /// A node of a new `/dev`.
    Device,
    /// The terminals of a new `/dev`.
    Terminals,
    MessageQueues,
    ControlGroups,
    Overlay,
    /// Translating owners.
    IdMap,
}

impl MountFailure {
    /// What the sentence of the step and the kernel's reason leave open.
    pub(crate) fn detail(&self) -> Option<String> {
        let path = self.path.to_string_lossy();
        match &self.operation {
            MountOperation::Parents => Some(format!("cannot make the directories above {path}")),
            MountOperation::Directory => Some(format!("cannot make the directory {path}")),
            MountOperation::File => Some(format!("cannot make the file {path}")),
            MountOperation::Content => Some(format!("cannot write the file {path}")),
            MountOperation::SymlinkReads(reads) => {
                let reads = reads.to_string_lossy();
                Some(format!("{path} is a link to {reads} already"))
            }
            MountOperation::SymlinkOccupied => {
                Some(format!("{path} is there already, and is no link"))
            }
            MountOperation::SourceChanged => {
                Some(format!("{path} is not what the descriptor stands for"))
            }
            MountOperation::Device => Some(format!("cannot put the device {path} there")),
            MountOperation::Terminals => Some(format!("cannot mount terminals on {path}")),
            MountOperation::IdMap => Some("the file system cannot translate owners".to_owned()),
            MountOperation::Source
            | MountOperation::Symlink
            | MountOperation::Mode(_)
            | MountOperation::Bind
            | MountOperation::ReadOnly
            | MountOperation::Proc
            | MountOperation::Tmpfs
            | MountOperation::MessageQueues
            | MountOperation::ControlGroups
            | MountOperation::Overlay => None,
        }
    }
}

/// Why a mount step was not done.
pub(crate) struct MountTrouble {
    pub(crate) errno: Errno,
    /// Boxed: what goes well carries no weight of it.
    pub(crate) about: Option<Box<MountFailure>>,
}

impl fmt::Debug for MountTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?})", self.errno, self.about)
    }
}

impl From<Errno> for MountTrouble {
    fn from(errno: Errno) -> Self {
        Self { errno, about: None }
    }
}

impl From<rustix::io::Errno> for MountTrouble {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno::from(errno).into()
    }
}

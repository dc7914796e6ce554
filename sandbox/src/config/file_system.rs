//! The file system of a box: what its `/` is, and the ordered actions that fill it.
//!
//! The rules that all actions share:
//!
//! * A *source* is a path of the host, looked up before anything of the box is mounted; links and `..` in it
//!   mean what they mean to everybody. It is the same whatever earlier actions have covered.
//! * A *target* is a path of the box, absolute and without `..`, looked up from the root of the box through all
//!   that is mounted there by then (`openat2(2)`, `RESOLVE_IN_ROOT`): a link in a box root leads nowhere else.
//! * A target that is missing is made: a directory (mode 0755) or an empty file (0444), as the source is.
//!   Directories above have mode 0755, and shut out those whom the `mode` of the action shuts out. On
//!   [`Root::Host`] nothing is made but in what the box itself has mounted: `ENOENT`.
//! * A later action covers an earlier one at or below its target.
//! * Mounts are nosuid, and but for `devices` nodev, with every mount below them.
//! * The walls of [`Walls`](super::Walls) come first, the sealing of a read-only root and
//!   `no_exec_paths` last.
//!
//! A step that fails says which operation on which path it was about in
//! [`StepFailure::mount`](crate::StepFailure::mount).
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::user::IdRange;

/// What `/` of the box is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Root {
    /// The host's own tree.
    #[default]
    Host,
    /// This directory of the host; nothing else of the host is in it but what is bound there.
    Directory(PathBuf),
    /// A new tmpfs, mode 0755, with nothing in it but what `mounts` puts there.
    Empty,
}

impl Root {
    /// Claims that the box sees the host's own tree.
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

/// Where writes to the root go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RootOverlay {
    /// To the root itself.
    #[default]
    None,
    /// Into memory, gone with the box.
    Temporary,
    /// Into `upper`; `work` is an empty directory on the same file system (`overlayfs.rst`).
    Persistent { upper: PathBuf, work: PathBuf },
}

/// How the box gets its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EnterRoot {
    /// `pivot_root(2)`: the host's tree is gone.
    #[default]
    Pivot,
    /// `chroot(2)`: the host's tree is still mounted, out of sight. The weaker of the two.
    Chroot,
}

/// What mounts and unmounts of the host, made later, mean in the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// Nothing: the box keeps the mounts it was made with.
    #[default]
    Private,
    /// They happen in the box too, below what is bound from there (`MS_SLAVE`, `mount_namespaces(7)`), and
    /// without the restrictions of the bind.
    FromHost,
}

/// A descriptor that the caller holds for the launch: an index into
/// [`Files::held`](crate::Files::held). It is not passed to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held(pub u32);

/// One thing done to the tree of the box. Targets are paths of the box; parents that are missing are
/// made with mode 0755.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountAction {
    /// Part of the host's tree appears at `target`, nosuid and (but for `devices`) nodev, with all
    /// mounts below it.
    Bind(BindMount),
    /// A new procfs of the box's PID namespace, nosuid, nodev, noexec.
    Proc { target: PathBuf },
    /// A new `/dev`: tmpfs with null, zero, full, random, urandom, tty, `pts`, `shm` and the usual links.
    Devices { target: PathBuf },
    /// A new tmpfs; `size` in bytes.
    Tmpfs {
        target: PathBuf,
        mode: u32,
        size: Option<u64>,
    },
    /// The POSIX message queues of the box's IPC namespace.
    MessageQueues { target: PathBuf },
    /// The cgroup tree (v2) as the box's cgroup namespace shows it.
    ControlGroups { target: PathBuf, read_only: bool },
    /// A directory; one that is there already keeps its mode.
    Directory { path: PathBuf, mode: u32 },
    /// A file with this content, which belongs to the box.
    File {
        path: PathBuf,
        mode: u32,
        data: Data,
    },
    /// A file with this content, bound from memory over whatever is at `target`.
    BindData {
        target: PathBuf,
        mode: u32,
        data: Data,
        read_only: bool,
    },
    /// A symbolic link at `path` that reads `target`. One that is there and reads the same is left alone.
    Symlink { target: PathBuf, path: PathBuf },
    /// `chmod(2)`.
    Chmod { path: PathBuf, mode: u32 },
    /// The mount at `path` becomes read-only; those below keep what they have.
    RemountReadOnly { path: PathBuf },
    /// An overlay file system (`overlayfs.rst`). `lower` goes from the bottom to the top.
    Overlay {
        lower: Vec<PathBuf>,
        upper: Upper,
        target: PathBuf,
    },
}

/// See [`MountAction::Bind`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    pub source: BindSource,
    pub target: PathBuf,
    /// Read-only with every mount below.
    pub read_only: bool,
    /// Device nodes can be opened.
    pub devices: bool,
    /// Nothing happens when the source is missing.
    pub optional: bool,
    /// With the mounts below the source.
    pub recursive: bool,
    /// Owners are translated (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`, Linux 5.12): uid and gid ranges.
    pub id_map: Option<IdMappedMount>,
}

/// What a bind takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindSource {
    /// A path of the host.
    Path(PathBuf),
    /// What this descriptor (`O_PATH` or not) stands for. It has to have a name in the host's tree, and
    /// the launch fails if that name leads elsewhere by then.
    Descriptor(Held),
}

/// The translation of an idmapped mount: `inside` is the owner as the box sees it, `outside` the one on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdMappedMount {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    Bytes(Vec<u8>),
    /// Everything that can be read from this descriptor.
    Descriptor(Held),
    /// A `resolv.conf(5)` with these servers and the other lines of the host's. `None` takes the host's own
    /// servers, but for those on its loopback, which a network of the box's own does not reach.
    NameServers(Option<Vec<IpAddr>>),
}

/// Where writes to an overlay go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper {
    /// Nowhere: the overlay is read-only, and needs two lower directories at least.
    ReadOnly,
    /// Into memory, gone with the box.
    Temporary,
    /// Into `upper` of the host; `work` is an empty directory on the same file system.
    Persistent { upper: PathBuf, work: PathBuf },
}

impl MountAction {
    /// `source` of the host appears at `target`, with all mounts below it; nosuid, nodev.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self::Bind(BindMount::new(source.into(), target.into(), false))
    }

    /// [`bind`](Self::bind), read-only with every mount below.
    pub fn ro_bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self::Bind(BindMount::new(source.into(), target.into(), true))
    }

    /// A link at `path` that reads `target`.
    pub fn symlink(target: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Self {
        Self::Symlink {
            target: target.into(),
            path: path.into(),
        }
    }
}

impl BindMount {
    fn new(source: PathBuf, target: PathBuf, read_only: bool) -> Self {
        Self {
            source: BindSource::Path(source),
            target,
            read_only,
            devices: false,
            optional: false,
            recursive: true,
            id_map: None,
        }
    }
}

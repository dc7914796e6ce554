//! From a path of the box to a descriptor, whatever somebody plants in its root meanwhile.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::trouble::{MountFailure, MountOperation, MountTrouble};
use crate::paths::names;
use crate::sys::Errno;

/// A directory that paths of the box start from.
#[derive(Debug)]
struct Base {
    /// Where it is in the box.
    path: PathBuf,
    fd: OwnedFd,
    make: Make,
}

/// Where what is missing below a base is made.
#[derive(Debug)]
pub(super) enum Make {
    /// Not at all: it is the host's.
    Nowhere,
    /// In the base as it is mounted: it is the box's own, or given to it.
    Here,
    /// In the same directory by a descriptor that can be written to.
    There(OwnedFd),
}

/// The root, and what we have mounted ourselves since: a path is looked up from the nearest one,
/// so that nothing between it and the root is looked at again.
#[derive(Debug, Default)]
pub(super) struct Bases(Vec<Base>);

impl Bases {
    pub(super) fn set_root(&mut self, fd: OwnedFd, make: Make) {
        self.0.clear();
        self.0.push(Base {
            path: "/".into(),
            fd,
            make,
        });
    }

    pub(super) fn add(&mut self, path: &Path, fd: OwnedFd, make: Make) {
        self.0.push(Base {
            path: path.to_owned(),
            fd,
            make,
        });
    }

    /// `mount` is what is at `path` now, and all that was there or below is covered.
    pub(super) fn cover(&mut self, path: &Path, mount: OwnedFd) {
        self.0.retain(|base| !base.path.starts_with(path));
        // Below a root where all can be made, the root itself is as good a place to start from.
        if path == Path::new("/") || !self.makes_anything() {
            self.add(path, mount, Make::Here);
        }
    }

    fn makes_anything(&self) -> bool {
        self.base_of_root()
            .is_some_and(|base| matches!(base.make, Make::Here))
    }

    fn base_of_root(&self) -> Option<&Base> {
        self.0.iter().find(|base| base.path == Path::new("/"))
    }

    pub(super) fn root(&self) -> Option<BorrowedFd<'_>> {
        self.base_of_root().map(|base| base.fd.as_fd())
    }

    /// The mount made exactly there, if we made one.
    pub(super) fn at(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        self.0
            .iter()
            .rev()
            .find(|base| base.path == path)
            .map(|base| base.fd.as_fd())
    }

    fn nearest<'a>(&self, path: &'a Path) -> Result<(&Base, &'a Path), Errno> {
        self.0
            .iter()
            .rev()
            .filter_map(|base| path.strip_prefix(&base.path).ok().map(|rest| (base, rest)))
            .max_by_key(|(base, _)| base.path.as_os_str().len())
            .ok_or(Errno(libc::EBADF))
    }

    /// Opens `path` (`O_PATH`). Links lead no further than the root; `strict` refuses them.
    pub(super) fn open(&self, path: &Path, strict: bool) -> Result<OwnedFd, Errno> {
        let (base, rest) = self.nearest(path)?;
        look_up(base.fd.as_fd(), rest, strict)
    }

    /// Opens the mount point `path`, and makes it (a directory, or an empty file) where it is
    /// missing and we have been given a place to make it in.
    pub(super) fn open_or_make(
        &self,
        path: &Path,
        directory: bool,
        strict: bool,
    ) -> Result<OwnedFd, Errno> {
        let (base, rest) = self.nearest(path)?;
        match look_up(base.fd.as_fd(), rest, strict) {
            Err(Errno::ENOENT) => {}
            answer => return answer,
        }
        let writable = match &base.make {
            Make::Nowhere => return Err(Errno::ENOENT),
            Make::Here => base.fd.as_fd(),
            Make::There(fd) => fd.as_fd(),
        };
        let kind = if directory {
            New::Directory(0o755)
        } else {
            New::File(0o644)
        };
        make(writable, rest, kind, 0o755).map_err(|(errno, _)| errno)?;
        look_up(base.fd.as_fd(), rest, strict)
    }

    /// Opens `path` from the root, through all that is mounted.
    pub(super) fn find(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let root = self.root().ok_or(Errno(libc::EBADF))?;
        look_up(root, below_root(path), false)
    }

    /// The directory that `path` is or will be in, with its last name; directories that are missing
    /// above it are made.
    pub(super) fn parent<'a>(
        &self,
        path: &'a Path,
        parents: u32,
    ) -> Result<(OwnedFd, &'a Path), MountTrouble> {
        let name = path.file_name().ok_or(Errno::EEXIST)?;
        let above = path.parent().unwrap_or(Path::new("/"));
        let (from, rest) = self.place_to_make(above)?;
        let directory = match look_up(from, rest, false) {
            Err(Errno::ENOENT) => make(from, rest, New::Directory(parents), parents)
                .and_then(|()| look_up(from, rest, false).map_err(|errno| (errno, true))),
            answer => answer.map_err(|errno| (errno, true)),
        };
        let directory =
            directory.map_err(|(errno, _)| about(errno, MountOperation::Parents, path))?;
        Ok((directory, Path::new(name)))
    }

    /// Opens the mount point `path`, made where it is missing: a directory, or an empty file.
    pub(super) fn mount_point(
        &self,
        path: &Path,
        parents: u32,
        is_directory: impl FnOnce() -> Result<bool, Errno>,
    ) -> Result<OwnedFd, MountTrouble> {
        match self.find(path) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(about(errno, MountOperation::Parents, path)),
            Ok(found) => return Ok(found),
        }
        let (kind, operation) = if is_directory()? {
            (New::Directory(0o755), MountOperation::Directory)
        } else {
            (New::File(0o444), MountOperation::File)
        };
        let failed = |(errno, above): (Errno, bool)| {
            let operation = if above {
                MountOperation::Parents
            } else {
                operation.clone()
            };
            about(errno, operation, path)
        };
        let (from, rest) = self
            .place_to_make(path)
            .map_err(|errno| failed((errno, false)))?;
        make(from, rest, kind, parents).map_err(failed)?;
        self.find(path).map_err(|errno| failed((errno, false)))
    }

    /// Where something at `path` can be made, and the path from there.
    fn place_to_make<'a>(&self, path: &'a Path) -> Result<(BorrowedFd<'_>, &'a Path), Errno> {
        let root = self.base_of_root().ok_or(Errno(libc::EBADF))?;
        if matches!(root.make, Make::Here) {
            return Ok((root.fd.as_fd(), below_root(path)));
        }
        let (base, rest) = self.nearest(path)?;
        match &base.make {
            Make::Nowhere => Err(Errno::ENOENT),
            Make::Here => Ok((base.fd.as_fd(), rest)),
            Make::There(fd) => Ok((fd.as_fd(), rest)),
        }
    }
}

pub(super) fn about(errno: Errno, operation: MountOperation, path: &Path) -> MountTrouble {
    MountTrouble {
        errno,
        about: Some(Box::new(MountFailure {
            operation,
            path: path.as_os_str().to_owned(),
            source: None,
        })),
    }
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn look_up(from: BorrowedFd<'_>, rest: &Path, strict: bool) -> Result<OwnedFd, Errno> {
    open_below(
        from,
        rest,
        OFlags::PATH,
        if strict {
            ResolveFlags::NO_SYMLINKS
        } else {
            ResolveFlags::empty()
        },
    )
}

/// `openat2(2)` that never leaves `from`.
pub(super) fn open_below(
    from: BorrowedFd<'_>,
    rest: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let rest = if rest.as_os_str().is_empty() {
        Path::new(".")
    } else {
        rest
    };
    open_again(from, rest, flags, Mode::empty(), resolve)
}

/// The same for a file that may be missing.
pub(super) fn make_below(
    from: BorrowedFd<'_>,
    rest: &Path,
    flags: OFlags,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    open_again(from, rest, flags, Mode::from_raw_mode(mode), resolve)
}

fn open_again(
    from: BorrowedFd<'_>,
    rest: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    // EAGAIN: somebody renamed something on the way, which the kernel has seen.
    for _ in 0..64 {
        match rustix::fs::openat2(from, rest, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            answer => return answer.map_err(Errno::from),
        }
    }
    Err(Errno(libc::EAGAIN))
}

/// What is made at the end of a path, with its mode.
#[derive(Debug, Clone, Copy)]
enum New {
    Directory(u32),
    File(u32),
}

/// Makes what is missing; an error says whether it was about a directory above the last name.
fn make(from: BorrowedFd<'_>, rest: &Path, kind: New, parents: u32) -> Result<(), (Errno, bool)> {
    let mut here = look_up(from, Path::new("."), true).map_err(|errno| (errno, true))?;
    let mut so_far = PathBuf::new();
    let parts: Vec<_> = names(rest).collect();
    for (index, name) in parts.iter().enumerate() {
        so_far.push(name);
        let last = index + 1 == parts.len();
        match look_up(from, &so_far, false) {
            Ok(next) => {
                here = next;
                continue;
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err((errno, !last)),
        }
        let made = match kind {
            New::File(mode) if last => {
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::mknodat(&here, name.as_bytes(), FileType::RegularFile, mode, 0)
            }
            New::Directory(mode) if last => {
                rustix::fs::mkdirat(&here, name.as_bytes(), Mode::from_raw_mode(mode))
            }
            New::File(_) | New::Directory(_) => {
                rustix::fs::mkdirat(&here, name.as_bytes(), Mode::from_raw_mode(parents))
            }
        };
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err((errno.into(), !last)),
        }
        if !last {
            here = look_up(from, &so_far, true)
                .or_else(|_| look_up(from, &so_far, false))
                .map_err(|errno| (errno, true))?;
        }
    }
    Ok(())
}

/// Claims that the file behind `fd` is a directory.
pub(super) fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

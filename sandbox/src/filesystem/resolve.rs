//! From a path of the box to a descriptor, whatever somebody plants in its root meanwhile.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use crate::paths::names;
use crate::sys::Errno;

/// A directory that paths of the box start from.
#[derive(Debug)]
pub(super) struct Base {
    /// Where it is in the box.
    path: PathBuf,
    fd: OwnedFd,
    /// The same directory where it can be written to, to make a missing mount point.
    writable: Option<OwnedFd>,
}

/// The root, and what we have mounted ourselves since: a path is looked up from the nearest one,
/// so that nothing between it and the root is looked at again.
#[derive(Debug, Default)]
pub(super) struct Bases(Vec<Base>);

impl Bases {
    pub(super) fn set_root(&mut self, fd: OwnedFd, writable: Option<OwnedFd>) {
        self.0.retain(|base| base.path != Path::new("/"));
        self.0.push(Base {
            path: "/".into(),
            fd,
            writable,
        });
    }

    pub(super) fn add(&mut self, path: &Path, fd: OwnedFd, writable: Option<OwnedFd>) {
        self.0.push(Base {
            path: path.to_owned(),
            fd,
            writable,
        });
    }

    pub(super) fn root(&self) -> Option<BorrowedFd<'_>> {
        self.0
            .iter()
            .find(|base| base.path == Path::new("/"))
            .map(|base| base.fd.as_fd())
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
        let writable = base.writable.as_ref().ok_or(Errno::ENOENT)?;
        make(writable.as_fd(), rest, directory)?;
        look_up(base.fd.as_fd(), rest, strict)
    }
}

fn look_up(from: BorrowedFd<'_>, rest: &Path, strict: bool) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if strict {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let rest = if rest.as_os_str().is_empty() {
        Path::new(".")
    } else {
        rest
    };
    // EAGAIN: somebody renamed something on the way, which the kernel has seen.
    for _ in 0..64 {
        match rustix::fs::openat2(
            from,
            rest,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Err(rustix::io::Errno::AGAIN) => {}
            answer => return answer.map_err(Errno::from),
        }
    }
    Err(Errno(libc::EAGAIN))
}

fn make(from: BorrowedFd<'_>, rest: &Path, directory: bool) -> Result<(), Errno> {
    let mut here = look_up(from, Path::new("."), true)?;
    let mut so_far = PathBuf::new();
    let parts: Vec<_> = names(rest).collect();
    for (index, name) in parts.iter().enumerate() {
        so_far.push(name);
        match look_up(from, &so_far, false) {
            Ok(next) => {
                here = next;
                continue;
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let last = index + 1 == parts.len();
        let made = if last && !directory {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::openat(&here, name.as_bytes(), flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            rustix::fs::mkdirat(&here, name.as_bytes(), Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        here = look_up(from, &so_far, true).or_else(|_| look_up(from, &so_far, false))?;
    }
    Ok(())
}

/// Claims that the file behind `fd` is a directory.
pub(super) fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory)
}

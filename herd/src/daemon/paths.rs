//! Opening the files that units name for standard input and output.
//!
//! herd opens them with its own rights, in places that may belong to the service: what the service
//! put there must not lead those rights elsewhere. A link on the way is followed only if it belongs
//! to root or to herd's own user, and the last component never is one.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, openat};
use rustix::io::Errno;

/// Where a new file is one for everybody but for the umask.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);
const STEP: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Opens a file; `flags` say for what.
///
/// # Errors
/// `ELOOP` when a link is in the way that is not to be followed, and what `openat(2)` says.
pub(super) fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    // Not made our controlling terminal, and a FIFO without a reader does not hold herd up.
    let mut flags = flags | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = if path.starts_with("/dev") {
        openat(CWD, path, flags, NEW_FILE)?
    } else {
        flags |= OFlags::NOFOLLOW;
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        openat(directory(parent)?, name, flags, NEW_FILE)?
    };
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let ourselves = rustix::process::geteuid().as_raw();
    let mut here = openat(CWD, "/", STEP | OFlags::DIRECTORY, Mode::empty())?;
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    for name in names {
        here = step(&here, name, ourselves)?;
    }
    Ok(here)
}

fn step(here: &OwnedFd, name: &OsStr, ourselves: u32) -> io::Result<OwnedFd> {
    let next = openat(here, name, STEP | OFlags::NOFOLLOW, Mode::empty())?;
    let found = fstat(&next)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Ok(next),
        FileType::Symlink if found.st_uid == 0 || found.st_uid == ourselves => {
            Ok(openat(here, name, STEP | OFlags::DIRECTORY, Mode::empty())?)
        }
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Err(Errno::NOTDIR.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn links_of_others_lead_nowhere_and_ones_own_do() {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("real");
        fs::create_dir(&inside).unwrap();
        symlink(&inside, place.path().join("link")).unwrap();
        let make = OFlags::WRONLY | OFlags::CREATE;
        open(&place.path().join("link/file"), make).unwrap();
        assert!(inside.join("file").exists());
        symlink("/etc/passwd", inside.join("last")).unwrap();
        let refused = open(&inside.join("last"), OFlags::RDONLY).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
        if rustix::process::geteuid().is_root() {
            lchown(place.path().join("link"), Some(65534), Some(65534)).unwrap();
            let refused = open(&place.path().join("link/other"), make).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
            assert!(!inside.join("other").exists());
        }
    }
}

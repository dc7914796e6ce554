//! Giving a directory with all that is in it to another owner.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

use crate::sys::Errno;

/// Deeper than this nobody nests directories but to be in the way.
const DEEPEST: u32 = 500;

/// Gives everything below `directory` to the user and the group. Symlinks are given, not followed;
/// what is mounted below stays as it is. Setuid and setgid bits go, as `chown(2)` has it.
pub(crate) fn hand_over(
    directory: BorrowedFd<'_>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<(), Errno> {
    let device = rustix::fs::fstat(directory)?.st_dev;
    let owner = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    below(directory, owner, device, DEEPEST)
}

fn below(
    directory: BorrowedFd<'_>,
    owner: (Option<Uid>, Option<Gid>),
    device: u64,
    depth: u32,
) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::ELOOP);
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            below(inner.as_fd(), owner, device, depth - 1)?;
        }
        rustix::fs::chownat(directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

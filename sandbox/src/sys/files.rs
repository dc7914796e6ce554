//! Files by `CStr`, for code that may not allocate.
#![allow(
    unsafe_code,
    reason = "openat and friends on NUL-terminated paths and numbers"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, check, descriptor, done};

/// `openat(2)` with close-on-exec.
pub(crate) fn open_at(from: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: a NUL-terminated path, a borrowed directory; no mode is needed without O_CREAT,
    // which no caller passes.
    let number = descriptor(unsafe {
        libc::syscall(
            libc::SYS_openat,
            from.as_raw_fd(),
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            0,
        )
    })?;
    // SAFETY: the kernel has just made it, so it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// `openat(2)` from the working directory.
pub(crate) fn open(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    open_at(rustix::fs::CWD, path, flags)
}

/// Opens a file below `/proc`, and makes sure that it is one of the kernel's: a tree that somebody
/// else filled could lead what we write there elsewhere (CVE-2025-52881). `EOPNOTSUPP` when not.
pub(crate) fn open_proc(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    open_proc_at(rustix::fs::CWD, path, flags)
}

/// The same from a directory.
#[allow(clippy::cast_sign_loss, reason = "a magic number, by its bits")]
pub(crate) fn open_proc_at(
    from: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
) -> Result<OwnedFd, Errno> {
    let file = open_at(from, path, flags)?;
    if rustix::fs::fstatfs(&file)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
        Ok(file)
    } else {
        Err(Errno(libc::EOPNOTSUPP))
    }
}

/// Writes one of the kernel's files below `/proc`, in one call.
pub(crate) fn write_proc(path: &CStr, text: &str) -> Result<(), Errno> {
    let file = open_proc(path, libc::O_WRONLY)?;
    write_all(std::os::fd::AsFd::as_fd(&file), text.as_bytes())
}

/// Writes all of `bytes` in one call; anything less is an error.
pub(crate) fn write_all(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: pointer and length are those of one live slice.
    let written = check(unsafe {
        libc::syscall(
            libc::SYS_write,
            file.as_raw_fd(),
            bytes.as_ptr(),
            bytes.len(),
        )
    })?;
    if usize::try_from(written).is_ok_and(|written| written == bytes.len()) {
        Ok(())
    } else {
        Err(Errno(libc::EIO))
    }
}

/// Writes to a plain file, a pipe or a socket, in as many calls as it takes.
pub(crate) fn write_to_end(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno(libc::ENOSPC)),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

pub(crate) fn make_directory_at(from: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: a NUL-terminated name, a borrowed directory.
    done(unsafe { libc::syscall(libc::SYS_mkdirat, from.as_raw_fd(), name.as_ptr(), mode) })
}

pub(crate) fn change_mode(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    done(unsafe { libc::syscall(libc::SYS_fchmod, file.as_raw_fd(), mode) })
}

/// `fchmodat2(2)` (Linux 6.6) on what an `O_PATH` descriptor stands for; before, by its name in `/proc`.
pub(crate) fn change_mode_of(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: an empty NUL-terminated path, a borrowed descriptor, plain numbers.
    let answer = done(unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            file.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    });
    if answer != Err(Errno(libc::ENOSYS)) {
        return answer;
    }
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::chmod(
        name,
        rustix::fs::Mode::from_raw_mode(mode),
    )?)
}

/// `None` leaves that half as it is.
pub(crate) fn change_owner(
    file: BorrowedFd<'_>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<(), Errno> {
    const UNCHANGED: u32 = u32::MAX;
    // SAFETY: plain numbers.
    done(unsafe {
        libc::syscall(
            libc::SYS_fchown,
            file.as_raw_fd(),
            uid.unwrap_or(UNCHANGED),
            gid.unwrap_or(UNCHANGED),
        )
    })
}

/// `chdir(2)`, following every link.
pub(crate) fn change_directory_to(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a NUL-terminated path.
    done(unsafe { libc::syscall(libc::SYS_chdir, path.as_ptr()) })
}

pub(crate) fn change_directory(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: a plain number.
    done(unsafe { libc::syscall(libc::SYS_fchdir, directory.as_raw_fd()) })
}

/// What [`kind_of`] tells about a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
}

impl Kind {
    pub(crate) fn is_symlink(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    pub(crate) fn is_directory(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

pub(crate) fn kind_of(file: BorrowedFd<'_>) -> Result<Kind, Errno> {
    let stat = rustix::fs::fstat(file)?;
    Ok(Kind {
        mode: stat.st_mode,
        uid: stat.st_uid,
    })
}

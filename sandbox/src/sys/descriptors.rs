//! Moving and closing descriptors by number, as a child between `clone3` and `execve` has to.
#![allow(
    unsafe_code,
    reason = "close_range, dup3 and fcntl on numbers of a private table"
)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use super::{Errno, check, descriptor, done};

/// Gives this process a descriptor table of its own, without any number from `first` on.
pub(crate) fn unshare_and_close_from(first: RawFd) -> Result<(), Errno> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
}

/// Everything from `first` on closes at `execve`.
pub(crate) fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes `first` up to and including `last`.
pub(crate) fn close_between(first: RawFd, last: RawFd) -> Result<(), Errno> {
    close_range(first, last.unsigned_abs(), 0)
}

fn close_range(first: RawFd, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: plain numbers. Callers are children on their way to `execve`, whose table nobody
    // else holds descriptors of as values that would be used again.
    done(unsafe { libc::syscall(libc::SYS_close_range, first.unsigned_abs(), last, flags) })
}

/// Closes every descriptor but these.
pub(crate) fn close_all_but(kept: &[RawFd]) -> Result<(), Errno> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut next = 0;
    for number in kept {
        if next < number {
            close_between(next, number - 1)?;
        }
        next = next.max(number.saturating_add(1));
    }
    close_range(next, u32::MAX, 0)
}

/// The numbers from 3 on that a program executed now would inherit.
pub(crate) fn inheritable() -> Result<Vec<RawFd>, Errno> {
    let io = |error: io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        // SAFETY: F_GETFD only asks for the flags of a number, which may have been closed.
        let flags = check(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) });
        let inherited = flags.is_ok_and(|flags| flags & libc::c_long::from(libc::FD_CLOEXEC) == 0);
        if number > 2 && inherited {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A close-on-exec duplicate with a number of at least `lowest`.
pub(crate) fn duplicate_from(source: RawFd, lowest: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: plain numbers; the new descriptor replaces none.
    descriptor(unsafe { libc::syscall(libc::SYS_fcntl, source, libc::F_DUPFD_CLOEXEC, lowest) })
}

/// Makes `target` a duplicate of `source` that survives `execve`. The two must differ.
pub(crate) fn duplicate_onto(source: RawFd, target: RawFd) -> Result<(), Errno> {
    // SAFETY: plain numbers; what `target` was is closed, which callers mean (see `close_range`).
    done(unsafe { libc::syscall(libc::SYS_dup3, source, target, 0) })
}

/// Makes `target` a close-on-exec duplicate of `source`. The two must differ.
pub(crate) fn duplicate_onto_closing(source: RawFd, target: RawFd) -> Result<(), Errno> {
    // SAFETY: plain numbers; the caller owns `target`, so nobody else loses what it was.
    done(unsafe { libc::syscall(libc::SYS_dup3, source, target, libc::O_CLOEXEC) })
}

/// The descriptor that another program of ours left under a number we both know. Its number must
/// be open, and is taken once: the caller says so by asking.
pub(crate) fn adopt(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD only asks whether the number is open.
    done(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) })?;
    // SAFETY: the number is open, and no other value owns it: it was passed through execve, and
    // the executor adopts each of its two numbers at one place.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Duplicates of the descriptors from number 3 on that stay open over `execve`: asked before a
/// program opens any itself, those are what it was started with. Everything of ours closes there.
///
/// # Errors
/// When `/proc/self/fd` cannot be read, or the table is full.
pub fn inherited() -> io::Result<BTreeMap<u32, OwnedFd>> {
    let mut found = BTreeMap::new();
    let listed = std::fs::read_dir("/proc/self/fd")?;
    let numbers = listed
        .map(|entry| Ok(entry?.file_name().to_string_lossy().parse::<RawFd>().ok()))
        .collect::<io::Result<Vec<_>>>()?;
    for number in numbers.into_iter().flatten().filter(|number| *number > 2) {
        // SAFETY: F_GETFD only asks; the descriptor that read the directory is closed by now.
        let flags = unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) };
        if check(flags).is_err() || flags & libc::c_long::from(libc::FD_CLOEXEC) != 0 {
            continue;
        }
        let copy = duplicate_from(number, 3)?;
        // SAFETY: the kernel has just made it, so it is nobody else's.
        let copy = unsafe { OwnedFd::from_raw_fd(copy) };
        found.insert(number.unsigned_abs(), copy);
    }
    Ok(found)
}

/// [`adopt`]s a descriptor under another number, of at least `lowest`, closed at `execve`.
pub(crate) fn take_over(number: RawFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    let old = adopt(number)?;
    let moved = duplicate(number, lowest);
    drop(old);
    moved
}

/// A close-on-exec duplicate with a number of at least `lowest`, as a value.
pub(crate) fn duplicate(number: RawFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    let duplicate = duplicate_from(number, lowest)?;
    // SAFETY: the kernel has just made it, so it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Those of the first three numbers, by bit, that a program of ours is not to inherit.
static SHUT: AtomicU8 = AtomicU8::new(0);

/// Claims that this number is closed for everybody but us, who have `/dev/null` there.
pub(crate) fn is_shut(number: RawFd) -> bool {
    (0..3).contains(&number) && SHUT.load(Ordering::Relaxed) >> number & 1 == 1
}

/// Puts `/dev/null` there, which closes at `execve`.
fn shut(number: RawFd) -> Result<(), Errno> {
    let null = super::files::open(c"/dev/null", libc::O_RDWR)?;
    if null.as_raw_fd() == number {
        // It was the lowest that is free, and stays.
        let _kept = null.into_raw_fd();
    } else {
        duplicate_onto_closing(null.as_raw_fd(), number)?;
    }
    SHUT.fetch_or(1 << number, Ordering::Relaxed);
    Ok(())
}

/// The descriptor of this number, which somebody else left for us, as a value of our own: closed at
/// `execve`, and by dropping it. Its number is free then; one of the first three is `/dev/null` from now
/// on, and closed in what [`launch_by_copy`](crate::launch_by_copy) starts with it.
///
/// # Errors
/// `EBADF` when the number is not open, or was taken; `EMFILE` when there is no room for another.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if is_shut(number) {
        return Err(Errno(libc::EBADF).into());
    }
    if (0..3).contains(&number) {
        let copy = duplicate(number, 3)?;
        shut(number)?;
        return Ok(copy);
    }
    let owned = adopt(number)?;
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// What Rust's start does for a program whose `main` it calls, as far as a launcher needs it: no file that is
/// opened gets one of the first three numbers, and writing to a closed pipe is an error. A number that
/// was closed is so again in what [`launch_by_copy`](crate::launch_by_copy) starts.
///
/// # Errors
/// When `/dev/null` cannot be opened in the place of one of the three.
pub fn start_bare() -> io::Result<()> {
    for number in (0..3).filter(|number| !is_open(*number)) {
        shut(number)?;
    }
    super::signals::note_signals();
    Ok(super::signals::set_disposition(
        libc::SIGPIPE,
        super::signals::Disposition::Ignore,
    )?)
}

/// Claims that this number stands for an open descriptor.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only asks.
    check(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) }).is_ok()
}

/// Closes everything but the first three and these: what a launcher was given is its program's alone.
/// Values that own any of the closed ones must not be used, nor dropped, afterwards.
///
/// # Errors
/// Never, by the manual.
pub fn keep(kept: &[Option<std::os::fd::BorrowedFd<'_>>]) -> io::Result<()> {
    let mut numbers: Vec<RawFd> = kept.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    numbers.extend([0, 1, 2]);
    Ok(close_all_but(&numbers)?)
}

//! A file of the host that one session at a time may hold.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, major, minor};

/// An exclusive `flock(2)`, held until it is dropped. The file stays: removing it would let two
/// holders lock two different files of one name.
#[derive(Debug)]
pub struct HostLock {
    _file: OwnedFd,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cannot open the lock file {path}", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is locked by {holder}", path = path.display(), holder = holder(*pid))]
    Locked {
        path: PathBuf,
        /// As `/proc/locks` tells it; `None` when the holder is in another PID namespace.
        pid: Option<i32>,
    },
    #[error("cannot lock {path}", path = path.display())]
    Lock { path: PathBuf, source: io::Error },
}

fn holder(pid: Option<i32>) -> String {
    pid.map_or_else(
        || "a process that cannot be seen here".to_owned(),
        |pid| format!("pid {pid}"),
    )
}

impl HostLock {
    /// Takes the lock at once or not at all. A file that is missing is made with mode 0600; a symbolic
    /// link in its place is refused.
    ///
    /// # Errors
    /// [`LockError::Locked`] while another holds it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let open = |flags| {
            rustix::fs::open(
                path,
                flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY,
                Mode::RUSR | Mode::WUSR,
            )
        };
        let file = match open(OFlags::RDONLY) {
            Err(rustix::io::Errno::NOENT) => open(OFlags::RDONLY | OFlags::CREATE),
            opened => opened,
        };
        let file = file.map_err(|errno| LockError::Open {
            path: path.to_owned(),
            source: errno.into(),
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Locked {
                path: path.to_owned(),
                pid: held_by(path),
            }),
            Err(errno) => Err(LockError::Lock {
                path: path.to_owned(),
                source: errno.into(),
            }),
        }
    }
}

/// Who holds the file, by `proc_locks(5)`.
fn held_by(path: &Path) -> Option<i32> {
    let of = fs::symlink_metadata(path).ok()?;
    let id = format!(
        "{:02x}:{:02x}:{}",
        major(of.dev()),
        minor(of.dev()),
        of.ino()
    );
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let (pid, file) = (words.nth(2)?, words.next()?);
        (kind == "FLOCK" && file == id).then(|| pid.parse::<i32>().ok())?
    });
    pid.filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_names_its_holder() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("box.lock");
        let held = HostLock::take(&path).unwrap();
        let refused = HostLock::take(&path).unwrap_err();
        let own = std::process::id();
        assert_eq!(
            refused.to_string(),
            format!("{} is locked by pid {own}", path.display())
        );
        drop(held);
        assert!(HostLock::take(&path).is_ok());
        assert!(path.exists());
    }

    #[test]
    fn a_link_is_no_lock_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("box.lock");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let refused = HostLock::take(&path).unwrap_err();
        assert!(matches!(refused, LockError::Open { .. }), "{refused:?}");
    }
}

//! Objects of System V and POSIX that outlive the processes of a user: shared memory, semaphores,
//! message queues (`sysvipc(7)`, `shm_overview(7)`, `mq_overview(7)`).
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::{Errno, ipc};

/// An object that could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    #[error("cannot look for objects in {path}", path = path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("cannot remove {what}")]
    Remove { what: String, source: io::Error },
}

type Remove = fn(i32) -> Result<(), Errno>;

/// The tables of `proc(5)`, and in which of their columns number and owner stand.
const TABLES: [(&str, &str, usize, usize, Remove); 3] = [
    (
        "/proc/sysvipc/shm",
        "shared memory",
        1,
        7,
        ipc::remove_shared_memory,
    ),
    (
        "/proc/sysvipc/sem",
        "semaphores",
        1,
        4,
        ipc::remove_semaphores,
    ),
    (
        "/proc/sysvipc/msg",
        "message queue",
        1,
        7,
        ipc::remove_messages,
    ),
];

const DIRECTORIES: [&str; 2] = ["/dev/shm", "/dev/mqueue"];

/// Removes every object of this user in the caller's own IPC namespace, and in `/dev/shm` and
/// `/dev/mqueue`; gives how many there were. A kernel without one of the tables has no such objects.
///
/// # Errors
/// The first object that is there and cannot be removed; the others are removed all the same.
pub fn remove_of(uid: u32) -> Result<usize, IpcError> {
    let mut removed = 0;
    let mut first = None;
    let mut count = |answer: Result<bool, IpcError>| match answer {
        Ok(gone) => removed += usize::from(gone),
        Err(error) => first = first.take().or(Some(error)),
    };
    for (table, what, id, owner, remove) in TABLES {
        let text = match fs::read_to_string(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                count(Err(looking(table, source)));
                continue;
            }
            Ok(text) => text,
        };
        let column = |line: &str, at: usize| line.split_whitespace().nth(at)?.parse::<i64>().ok();
        for line in text.lines().skip(1) {
            if column(line, owner) != Some(uid.into()) {
                continue;
            }
            let Some(number) = column(line, id).and_then(|number| i32::try_from(number).ok())
            else {
                continue;
            };
            count(match remove(number) {
                Ok(()) => Ok(true),
                // Gone meanwhile.
                Err(Errno(libc::EINVAL | libc::EIDRM)) => Ok(false),
                Err(errno) => Err(IpcError::Remove {
                    what: format!("{what} {number}"),
                    source: errno.into(),
                }),
            });
        }
    }
    for directory in DIRECTORIES {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                count(Err(looking(directory, source)));
                continue;
            }
            Ok(entries) => entries,
        };
        for entry in entries.filter_map(Result::ok) {
            count(remove_file(&entry.path(), uid));
        }
    }
    first.map_or(Ok(removed), Err)
}

fn looking(path: &str, source: io::Error) -> IpcError {
    IpcError::Look {
        path: path.into(),
        source,
    }
}

/// Anybody may make files where these are, so nothing is followed.
fn remove_file(path: &Path, uid: u32) -> Result<bool, IpcError> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let failed = |source| IpcError::Remove {
        what: path.display().to_string(),
        source,
    };
    let kind = match fs::symlink_metadata(path) {
        Err(error) if gone(&error) => return Ok(false),
        Err(source) => return Err(failed(source)),
        Ok(kind) => kind,
    };
    if kind.uid() != uid {
        return Ok(false);
    }
    let answer = match kind.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match answer {
        Ok(()) => Ok(true),
        Err(error) if gone(&error) => Ok(false),
        Err(source) => Err(failed(source)),
    }
}

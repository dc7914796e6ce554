//! Directories that `herd run` takes where the usual ones cannot be written: a container with a read-only root, or
//! with a user whom nobody has prepared anything for.
//!
//! In `/tmp` and `/dev/shm` anybody may make any name. A directory there counts only if it is our own user's, is
//! no link, and can be written by nobody else: for who starts herd as for who wants to speak with it.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::failure::Failure;
use crate::pid1::place::{Facts, Place};
use crate::prepare::words;

/// In the order in which they are tried.
const PARENTS: &[&str] = &["/tmp", "/dev/shm"];

fn candidates() -> impl Iterator<Item = PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    PARENTS
        .iter()
        .map(move |parent| Path::new(parent).join(format!("herd-{uid}")))
}

/// Where a herd of our own user runs that had to take another directory.
pub(super) fn in_use() -> Option<PathBuf> {
    candidates().find(|path| {
        fs::symlink_metadata(path).is_ok_and(|metadata| is_ours(&metadata))
            && path.join("control.sock").exists()
    })
}

/// A hint for who looks for herd in a container as another user than the one it runs as. The first process of a
/// machine says nothing of where a user's own herd is.
pub(super) fn of_another() -> Option<String> {
    // Whether it may reboot says something of who asks alone: a user may not, on a machine neither.
    let facts = Facts {
        may_reboot: true,
        ..Facts::read()
    };
    if !Place::by_kernel(&facts).is_container() {
        return None;
    }
    let first = Path::new("/proc/1");
    let is_herd = fs::read_to_string(first.join("comm")).is_ok_and(|name| name.trim() == "herd");
    let owner = fs::metadata(first).ok()?.uid();
    let is_others = is_herd && owner != rustix::process::geteuid().as_raw();
    is_others.then(|| format!("process 1 is the herd of user {owner}: ask as that user"))
}

/// The usual runtime directory if it can be written, else one of our own; the reason goes to the notes.
pub(super) fn runtime_dir(
    usual: Result<PathBuf, Failure>,
    notes: &mut Vec<String>,
) -> Result<PathBuf, Failure> {
    let why = match &usual {
        Ok(path) => match writable(path, 0o755) {
            Ok(()) => return usual,
            Err(error) => format!("{}: {}", path.display(), words(&error)),
        },
        Err(failure) => failure.message.clone(),
    };
    for path in candidates() {
        let is_ours = || fs::symlink_metadata(&path).is_ok_and(|metadata| is_ours(&metadata));
        if writable(&path, 0o700).is_ok() && is_ours() {
            notes.push(format!(
                "the runtime directory is {}: {why}",
                path.display()
            ));
            return Ok(path);
        }
    }
    let message = format!("there is no directory for herd's sockets: {why}");
    Err(Failure::failed(message).hint(format!(
        "make one of /run, {} writable, or give --runtime-dir",
        PARENTS.join(", ")
    )))
}

/// The usual log directory if it can be written; else lines are shown and not kept, and the reason goes to the
/// notes.
pub(super) fn log_dir(usual: Result<PathBuf, Failure>, notes: &mut Vec<String>) -> Option<PathBuf> {
    let why = match &usual {
        Ok(path) => match writable(path, 0o750) {
            Ok(()) => return usual.ok(),
            Err(error) => format!("{}: {}", path.display(), words(&error)),
        },
        Err(failure) => failure.message.clone(),
    };
    notes.push(format!("no log files are kept: {why}"));
    None
}

/// Makes the directory if it is not there, and asks whether files can be made in it.
fn writable(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    Ok(access(path, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn is_ours(metadata: &Metadata) -> bool {
    metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0
}

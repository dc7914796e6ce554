//! Numbers that nobody has, for one service while it runs: users made for a run, and ranges of ids.
//!
//! What is allotted is a locked file in herd's runtime directory. The lock goes with herd, so that a
//! crash leaves nothing taken; the services of a herd that crashed are ended before new ones start.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::users::Users;

/// The first and the last of the numbers that `systemd.exec(5)` keeps for users of one run.
const FIRST_USER: u32 = 61_184;
const LAST_USER: u32 = 65_519;

/// How many ids a range has.
pub const RANGE: u32 = 1 << 16;
/// Where container ranges begin, and how many there are (`UIDS-GIDS` of systemd).
const FIRST_RANGE: u32 = 524_288;
const RANGES: u32 = 28_663;

/// A number that is ours while this lives.
#[derive(Debug)]
pub struct Allotted {
    pub number: u32,
    path: PathBuf,
    _lock: File,
}

impl Drop for Allotted {
    fn drop(&mut self) {
        // Left behind it would be locked again by the next one who is given the number.
        fs::remove_file(&self.path).ok();
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AllotError {
    #[error("cannot reserve a number in {path}")]
    Reserve { path: PathBuf, source: io::Error },
    #[error("no number is free: {0}")]
    None(&'static str),
}

/// The user that a service gets where nobody else has it: the same at every start.
pub fn preferred_user(name: &str) -> u32 {
    FIRST_USER + hash(name) % (LAST_USER - FIRST_USER + 1)
}

/// The first number of the range that a service gets where nobody else has it.
pub fn preferred_range(name: &str) -> u32 {
    FIRST_RANGE + hash(name) % RANGES * RANGE
}

/// A user for the service of this name. `owned` are its directories, whose owner is tried first;
/// `others` says of a number that a service that is not running left files under it.
///
/// # Errors
/// [`AllotError`] when every number is in use, or nothing can be reserved.
pub fn user(
    runtime: &Path,
    name: &str,
    users: &Users,
    owned: &[PathBuf],
    others: impl Fn(u32) -> bool,
) -> Result<Allotted, AllotError> {
    let range = FIRST_USER..=LAST_USER;
    let owners = owned
        .iter()
        .filter_map(|path| fs::symlink_metadata(path).ok())
        .map(|of| of.uid())
        .filter(|uid| range.contains(uid));
    let start = preferred_user(name) - FIRST_USER;
    let count = LAST_USER - FIRST_USER + 1;
    let rest = (0..count).map(|step| FIRST_USER + (start + step) % count);
    let processes = owners_of_processes();
    let free = |uid: u32| {
        !users.has_number(uid)
            && !Path::new("/run/systemd/dynamic-uid")
                .join(uid.to_string())
                .exists()
            && !processes.contains(&uid)
            && !others(uid)
    };
    first_free(&runtime.join("dynamic-users"), owners.chain(rest), free)?
        .ok_or(AllotError::None("61184 to 65519 are all in use"))
}

/// A range for the service of this name.
///
/// # Errors
/// See [`user`].
pub fn range(runtime: &Path, name: &str) -> Result<Allotted, AllotError> {
    let start = hash(name) % RANGES;
    let ranges = (0..RANGES).map(|step| FIRST_RANGE + (start + step) % RANGES * RANGE);
    first_free(&runtime.join("ranges"), ranges, |_| true)?
        .ok_or(AllotError::None("all ranges are in use"))
}

fn first_free(
    directory: &Path,
    numbers: impl Iterator<Item = u32>,
    free: impl Fn(u32) -> bool,
) -> Result<Option<Allotted>, AllotError> {
    let failed = |source| AllotError::Reserve {
        path: directory.to_owned(),
        source,
    };
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    for number in numbers {
        let path = directory.join(number.to_string());
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => continue,
            Err(errno) => return Err(failed(errno.into())),
        }
        let allotted = Allotted {
            number,
            path,
            _lock: file,
        };
        if free(number) {
            return Ok(Some(allotted));
        }
    }
    Ok(None)
}

/// Every user that has a process.
fn owners_of_processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut owners: Vec<u32> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .filter_map(|entry| Some(entry.metadata().ok()?.uid()))
        .collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// FNV-1a: the same in every version of herd, which a directory's owner outlives.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gets_the_same_user_again_and_never_one_in_use() {
        let place = tempfile::tempdir().unwrap();
        let users = Users::default();
        let allot = |others: &dyn Fn(u32) -> bool| user(place.path(), "web", &users, &[], others);
        let first = allot(&|_| false).unwrap();
        assert_eq!(first.number, preferred_user("web"));
        let second = allot(&|_| false).unwrap();
        assert_ne!(second.number, first.number);
        drop(first);
        assert_eq!(allot(&|_| false).unwrap().number, preferred_user("web"));
        let elsewhere = allot(&|uid| uid == preferred_user("web")).unwrap();
        assert_ne!(elsewhere.number, preferred_user("web"));
        drop((second, elsewhere));
        let left = fs::read_dir(place.path().join("dynamic-users")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_user_of_the_machine_is_never_allotted() {
        let place = tempfile::tempdir().unwrap();
        let number = preferred_user("web");
        let line = format!("somebody:x:{number}:1::/:/bin/sh\n");
        let users = Users::parse(&line, "");
        let allotted = user(place.path(), "web", &users, &[], |_| false).unwrap();
        assert_ne!(allotted.number, number);
        let when_all_are = user(place.path(), "web", &users, &[], |_| true).unwrap_err();
        assert_eq!(
            when_all_are.to_string(),
            "no number is free: 61184 to 65519 are all in use"
        );
    }

    #[test]
    fn ranges_lie_side_by_side() {
        let place = tempfile::tempdir().unwrap();
        let one = range(place.path(), "web").unwrap();
        let other = range(place.path(), "web").unwrap();
        assert_eq!(
            (one.number, one.number % RANGE),
            (preferred_range("web"), 0)
        );
        assert!(one.number.abs_diff(other.number) >= RANGE);
        assert!(one.number >= FIRST_RANGE && one.number <= 1_878_982_656);
    }
}

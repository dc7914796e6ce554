//! Reads and writes of cgroup files whose errors say path, value and errno.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Something that could not be done to a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cannot make cgroup {path}", path = path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot write {value:?} to {path}", path = path.display())]
    Write {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} makes no sense: {text:?}", path = path.display())]
    Garbled { path: PathBuf, text: String },
    #[error("cannot remove cgroup {path}", path = path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("limits.{key}: cgroup {path} has none of {files}", path = path.display())]
    NoFile {
        key: String,
        path: PathBuf,
        files: String,
    },
    #[error("limits.{key}: {path} is on no block device", path = path.display())]
    NoDevice { key: String, path: PathBuf },
    #[error("limits.devices: {path} is no device", path = .0.display())]
    NotADevice(PathBuf),
    #[error("limits.devices: this kernel has no {kind} driver {driver:?}")]
    NoDriver { kind: &'static str, driver: String },
    #[error("limits.devices: cannot {action} cgroup {path}", path = path.display())]
    Devices {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("limits.delegate: cannot give {path} to user {uid}", path = path.display())]
    Delegate {
        path: PathBuf,
        uid: u32,
        source: io::Error,
    },
    #[error("limits.{key}: cannot look at {path}", path = path.display())]
    Device {
        key: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot signal process {pid} of cgroup {path}", path = path.display())]
    Signal {
        pid: i32,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cgroup {path} is not there", path = .0.display())]
    Gone(PathBuf),
    #[error("cgroup {path} still has processes, though they were killed", path = .0.display())]
    Busy(PathBuf),
    #[error("no cgroup hierarchy holds this service")]
    NoHierarchy,
}

/// One `write(2)`: the kernel takes a value whole or not at all.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| CgroupError::Write {
            path: path.to_owned(),
            value: value.to_owned(),
            source,
        })
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    content(path).map_err(|source| CgroupError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A file that this kernel, or this group, may not have.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, CgroupError> {
    match content(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(CgroupError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// What `fs::read_to_string` does in five system calls, in three: the kernel fills a buffer with as
/// many lines as fit, so that one which is not nearly full is the last.
fn content(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count < buffer.len() - LONGEST_LINE {
            break;
        }
    }
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// No line of a file of many lines is longer: `io.stat` has the longest.
const LONGEST_LINE: usize = 512;

/// The groups made in this one; none when it is gone.
pub(super) fn groups_below(group: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let fail = |source| CgroupError::Read {
        path: group.to_owned(),
        source,
    };
    // A directory has a link for itself, one for its name, and one for each directory in it. Asking
    // costs one call; reading the names of all the kernel's files is what a stop would spend most on.
    match fs::metadata(group) {
        Ok(meta) if meta.nlink() == 2 => return Ok(Vec::new()),
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Ok(_) | Err(_) => {}
    }
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut groups = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            groups.push(entry.path());
        }
    }
    Ok(groups)
}

/// A group that is removed while its file is open answers ENODEV.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// The value after `key` in a file of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

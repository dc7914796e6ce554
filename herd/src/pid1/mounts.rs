//! The file systems that a machine cannot be without, mounted before anything is read.
//!
//! The table is systemd's and the kernel's documentation's. What is mounted already (an initramfs hands
//! some over) stays as it is. Only `/proc`, `/dev` and `/run` are needed; what else cannot be mounted is
//! told, and what the kernel does not have is not missed.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::io::Errno;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Early {
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: &'static str,
    is_needed: bool,
}

const SUID: MsFlags = MsFlags::MS_NOSUID;
const EXEC: MsFlags = MsFlags::MS_NOEXEC;
const DEV: MsFlags = MsFlags::MS_NODEV;
const ALL: MsFlags = SUID.union(EXEC).union(DEV);

const fn early(
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: &'static str,
) -> Early {
    Early {
        target,
        kind,
        flags,
        options,
        is_needed: false,
    }
}

const fn needed(line: Early) -> Early {
    Early {
        is_needed: true,
        ..line
    }
}

/// In this order: each lies in one before it.
const TABLE: [Early; 17] = [
    needed(early("/proc", "proc", ALL, "")),
    early("/sys", "sysfs", ALL, ""),
    needed(early("/dev", "devtmpfs", SUID, "mode=755,size=4m")),
    early(
        "/dev/pts",
        "devpts",
        SUID.union(EXEC),
        "gid=5,mode=620,ptmxmode=666",
    ),
    early("/dev/shm", "tmpfs", SUID.union(DEV), "mode=1777"),
    needed(early("/run", "tmpfs", SUID.union(DEV), "mode=755,size=20%")),
    early("/run/lock", "tmpfs", ALL, "mode=1777,size=5m"),
    early(
        "/sys/fs/cgroup",
        "cgroup2",
        ALL,
        "nsdelegate,memory_recursiveprot",
    ),
    early("/dev/mqueue", "mqueue", ALL, ""),
    early("/dev/hugepages", "hugetlbfs", SUID.union(DEV), ""),
    early("/sys/kernel/security", "securityfs", ALL, ""),
    early("/sys/kernel/debug", "debugfs", ALL, ""),
    early("/sys/kernel/tracing", "tracefs", ALL, ""),
    early("/sys/kernel/config", "configfs", ALL, ""),
    early("/sys/fs/fuse/connections", "fusectl", ALL, ""),
    early("/sys/fs/pstore", "pstore", ALL, ""),
    early("/sys/fs/bpf", "bpf", ALL, "mode=700"),
];

/// What herd mounts there before anything else.
pub(super) fn early_at(target: &Path) -> Option<Early> {
    TABLE
        .into_iter()
        .find(|line| Path::new(line.target) == target)
}

/// Mounts what is not mounted; says what was not possible.
pub(super) fn mount_early() -> Vec<String> {
    let mut notes = Vec::new();
    for line in TABLE {
        if !is_mounted(line.target)
            && let Err(error) = line.mount()
            && (line.is_needed || !is_missing_in_kernel(&error))
        {
            let Early { kind, target, .. } = line;
            notes.push(format!("cannot mount {kind} on {target}: {error}"));
        }
        if line.target == "/dev" {
            notes.extend(complete_dev());
        }
    }
    notes
}

impl Early {
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// For mount(8): those of the table, and words of fstab, which go before where they say otherwise.
    pub(super) fn options_with(&self, words: &[String]) -> String {
        let flags = [(SUID, "nosuid"), (DEV, "nodev"), (EXEC, "noexec")];
        let flags = flags.iter().filter(|(flag, _)| self.flags.contains(*flag));
        let own = flags.map(|(_, word)| *word).chain(self.options.split(','));
        let key = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let said: Vec<String> = words.iter().map(|word| key(word)).collect();
        let is_said = |word: &str| {
            let key = key(word);
            let opposite = key.strip_prefix("no").unwrap_or(&key);
            said.iter().any(|said| *said == key || said == opposite)
        };
        let own = own.filter(|word| !word.is_empty() && !is_said(word));
        // Words of this kind would take away what they do not name.
        let words = words.iter().map(String::as_str);
        let words = words.filter(|word| *word != "defaults");
        own.chain(words).collect::<Vec<_>>().join(",")
    }

    fn mount(&self) -> io::Result<()> {
        if !Path::new(self.target).is_dir() {
            fs::create_dir_all(self.target)?;
        }
        let attempt = |options: &str| {
            let options = Some(options).filter(|options| !options.is_empty());
            let kind = Some(self.kind);
            mount(kind, self.target, kind, self.flags, options)
        };
        match attempt(self.options) {
            // An option of a newer kernel: memory_recursiveprot (5.7).
            Err(nix::Error::EINVAL) if !self.options.is_empty() => {
                let first = self.options.split(',').next().unwrap_or_default();
                attempt(first).or_else(|_| attempt(""))?;
            }
            // A kernel without devtmpfs: nodes are made below.
            Err(nix::Error::ENODEV) if self.kind == "devtmpfs" => {
                let options = Some("mode=755");
                mount(Some("dev"), self.target, Some("tmpfs"), self.flags, options)?;
            }
            other => other?,
        }
        Ok(())
    }
}

/// A mount point lies on another device than its parent.
fn is_mounted(target: &str) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    let path = Path::new(target);
    let parent = path.parent().unwrap_or(path);
    match (device(path), device(parent)) {
        (Ok(own), Ok(above)) => own != above,
        _ => false,
    }
}

/// The kernel was built without it, or the place for it is not there (nobody can make one in `/sys`).
fn is_missing_in_kernel(error: &io::Error) -> bool {
    let missing = [Errno::NODEV, Errno::NOENT, Errno::PERM, Errno::INVAL];
    let is = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
    missing.iter().any(is)
}

/// The nodes that programs expect, where no devtmpfs made them, and the links to `/proc`.
fn complete_dev() -> Vec<String> {
    let mut notes = Vec::new();
    let nodes = [
        ("null", 1, 3, 0o666),
        ("zero", 1, 5, 0o666),
        ("full", 1, 7, 0o666),
        ("random", 1, 8, 0o666),
        ("urandom", 1, 9, 0o666),
        ("kmsg", 1, 11, 0o640),
        ("tty", 5, 0, 0o666),
        ("console", 5, 1, 0o600),
        ("ptmx", 5, 2, 0o666),
    ];
    for (name, major, minor, mode) in nodes {
        let path = Path::new("/dev").join(name);
        if path.exists() {
            continue;
        }
        let mode = Mode::from_bits_truncate(mode);
        if let Err(error) = mknod(&path, SFlag::S_IFCHR, mode, makedev(major, minor)) {
            let error = io::Error::from(error);
            notes.push(format!("cannot make {}: {error}", path.display()));
        }
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
    ];
    for (name, target) in links {
        let path = Path::new("/dev").join(name);
        if fs::symlink_metadata(&path).is_err()
            && let Err(error) = symlink(target, &path)
        {
            notes.push(format!("cannot make {}: {error}", path.display()));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_fstab_are_added_to_those_of_the_table_and_go_before() {
        let of = |target: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            early_at(Path::new(target)).unwrap().options_with(&words)
        };
        assert_eq!(
            of("/sys/fs/cgroup", &["rw", "nosuid"]),
            "nodev,noexec,nsdelegate,memory_recursiveprot,rw,nosuid"
        );
        assert_eq!(
            of("/dev/pts", &["defaults", "mode=600"]),
            "nosuid,noexec,gid=5,ptmxmode=666,mode=600"
        );
        assert_eq!(
            of("/dev/shm", &["exec", "dev"]),
            "nosuid,mode=1777,exec,dev"
        );
        assert!(early_at(Path::new("/srv")).is_none());
    }
}

//! What is written down of boxes' networks: one file for each network namespace, under a lock.
//!
//! ```text
//! /run/herd/network/ns-4026531840/lock         held by whoever reads or changes the rest; whose it is
//! /run/herd/network/ns-4026531840/state.json   replaced as a whole
//! /run/herd/network/ns-4026531840/ID.live      locked by the box, and before by who builds it
//! /run/herd/network/ns-4026531840/NAME.hosts   shared by the boxes on network NAME
//! /run/herd/network/box-ID/hosts, resolv.conf  what the box finds in /etc
//! ```
//!
//! What is to be done is written down before it is done: who is stopped between the two leaves a line
//! that the next one takes away.
//!
//! The kernel gives the number of a namespace that has gone to another one. So the lock says which namespace it is of by
//! a number that is never given twice (`SO_NETNS_COOKIE`, Linux 5.14): what is written down of a namespace that has gone
//! goes when its number is met again. On older kernels, and before that, it stays: there is no asking whether anybody
//! still has a namespace.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::names;
use super::state::{Lease, State};
use super::{BASE, NetworkError};
use crate::sys::network::namespace_cookie;

/// Where [`BASE`] lies, and what herd itself has there.
const RUN: &str = "/run/herd";

/// The registry of our network namespace, which is ours for as long as this lives.
#[derive(Debug)]
pub(crate) struct Registry {
    directory: PathBuf,
    _lock: File,
    pub(crate) state: State,
    /// What was written down cannot be read, and no box is there any more that it could be about.
    pub(crate) is_damaged: bool,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> NetworkError + '_ {
    move |source| NetworkError::Registry {
        path: path.to_owned(),
        source,
    }
}

fn directory(path: &Path, mode: u32) -> Result<(), NetworkError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// The directory of our own network namespace.
fn own_directory() -> Result<PathBuf, NetworkError> {
    let path = Path::new("/proc/self/ns/net");
    let namespace = fs::metadata(path).map_err(failed(path))?.ino();
    Ok(Path::new(BASE).join(format!("ns-{namespace}")))
}

/// Which namespace this lock says it is of.
fn written_cookie(lock: &Path) -> Option<u64> {
    fs::read_to_string(lock).ok()?.parse().ok()
}

/// Claims that this lock is of a namespace that had our number before us.
fn is_of_another(lock: &Path) -> bool {
    let written = written_cookie(lock);
    written.is_some_and(|written| namespace_cookie().is_ok_and(|own| own != written))
}

/// Takes away what is written down of a namespace that has gone, and all it had with it, but for the lock, which we have.
fn sweep(directory: &Path) {
    let state = read_state(&directory.join("state.json")).unwrap_or_default();
    for id in state.leases.keys() {
        fs::remove_dir_all(box_directory(id)).ok();
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name() != "lock" {
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// Where the files of a box lie that it finds in `/etc`.
pub(crate) fn box_directory(id: &str) -> PathBuf {
    Path::new(BASE).join(format!("box-{id}"))
}

impl Registry {
    /// Waits for whoever has it.
    pub(crate) fn open() -> Result<Self, NetworkError> {
        let own = own_directory()?;
        loop {
            for (path, mode) in [(RUN, 0o755), (BASE, 0o755)] {
                directory(Path::new(path), mode)?;
            }
            match directory(&own, 0o700) {
                // Somebody's last box has gone meanwhile, and all directories with it.
                Err(NetworkError::Registry { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                made => made?,
            }
            let path = own.join("lock");
            let lock = match Self::lock_file(&path) {
                // The last box has gone meanwhile, and the directory with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.map_err(failed(&path))?,
            };
            if Self::is_still(&lock, &path) {
                match (written_cookie(&path), namespace_cookie()) {
                    (Some(written), Ok(cookie)) if written == cookie => {}
                    (written, Ok(cookie)) => {
                        if written.is_some() {
                            sweep(&own);
                        }
                        let text = cookie.to_string();
                        lock.write_all_at(text.as_bytes(), 0)
                            .and_then(|()| lock.set_len(text.len() as u64))
                            .map_err(failed(&path))?;
                    }
                    // An older kernel.
                    (_, Err(_)) => {}
                }
                return Self::read(own, lock);
            }
        }
    }

    /// `None` when nothing is written down.
    pub(crate) fn open_existing() -> Result<Option<Self>, NetworkError> {
        if own_directory()?.join("lock").exists() {
            Self::open().map(Some)
        } else {
            Ok(None)
        }
    }

    /// What is written down, as it is now, without waiting for anybody.
    pub(crate) fn look() -> Result<State, NetworkError> {
        let own = own_directory()?;
        if is_of_another(&own.join("lock")) {
            return Ok(State::default());
        }
        read_state(&own.join("state.json"))
    }

    fn lock_file(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = options.open(path)?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Claims that the file we have locked is the one of this name.
    fn is_still(lock: &File, path: &Path) -> bool {
        match (lock.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    fn read(directory: PathBuf, lock: File) -> Result<Self, NetworkError> {
        let mut registry = Self {
            directory,
            _lock: lock,
            state: State::default(),
            is_damaged: false,
        };
        match read_state(&registry.directory.join("state.json")) {
            Ok(state) => registry.state = state,
            // What a box has is not to be had twice, and is not to be taken from it.
            Err(NetworkError::Damaged { .. })
                if !registry.ids().iter().any(|id| registry.is_live(id)) =>
            {
                registry.is_damaged = true;
            }
            Err(error) => return Err(error),
        }
        Ok(registry)
    }

    /// Of all boxes that have or had a lease.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.names_with(".live")
    }

    /// The networks that have a hosts file.
    pub(crate) fn named_networks(&self) -> Vec<String> {
        self.names_with(".hosts")
    }

    fn names_with(&self, ending: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name();
            Some(name.to_str()?.strip_suffix(ending)?.to_owned())
        });
        names.collect()
    }

    /// Writes down what there is.
    pub(crate) fn write(&self) -> Result<(), NetworkError> {
        let path = self.directory.join("state.json");
        let new = self.directory.join("state.json.new");
        let bytes = serde_json::to_vec(&self.state).map_err(|error| failed(&new)(error.into()))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&new)
            .and_then(|mut file| file.write_all(&bytes));
        written.map_err(failed(&new))?;
        fs::rename(&new, &path).map_err(failed(&path))
    }

    /// Where there is nothing, nothing is left: neither file nor directory.
    pub(crate) fn leave(self) -> Result<(), NetworkError> {
        if self.state != State::default() {
            return Ok(());
        }
        // The lock last: who comes meanwhile waits for it, and finds that it is gone.
        let entries = fs::read_dir(&self.directory).map_err(failed(&self.directory))?;
        for entry in entries.flatten() {
            if entry.file_name() != "lock" {
                fs::remove_file(entry.path()).ok();
            }
        }
        let lock = self.directory.join("lock");
        fs::remove_file(&lock).map_err(failed(&lock))?;
        match fs::remove_dir(&self.directory) {
            // Somebody has begun anew.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(failed(&self.directory)(error))
            }
            _ => {
                // Those above stay where anybody else has something in them.
                for above in [BASE, RUN] {
                    fs::remove_dir(above).ok();
                }
                Ok(())
            }
        }
    }

    fn live_path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.live"))
    }

    /// Says that the box of this id is being built, or lives, for as long as anybody has this descriptor.
    pub(crate) fn live(&self, id: &str) -> Result<OwnedFd, NetworkError> {
        let path = self.live_path(id);
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        let file = options.open(&path).map_err(failed(&path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file.into()),
            Err(errno) => Err(failed(&path)(errno.into())),
        }
    }

    /// Claims that somebody builds the box of this id, or is its first process.
    pub(crate) fn is_live(&self, id: &str) -> bool {
        let Ok(file) = File::open(self.live_path(id)) else {
            return false;
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// The files of one box go. What it has mounted of them stays for as long as it has it.
    pub(crate) fn forget(&self, id: &str) {
        // Who finds nothing there has nothing to take away.
        fs::remove_file(self.live_path(id)).ok();
        fs::remove_dir_all(box_directory(id)).ok();
    }

    /// Brings all hosts files to what the state says, and makes those of `new`: only such as the host has too,
    /// where they are put over its own.
    pub(crate) fn write_names(
        &self,
        resolv: &str,
        new: Option<&str>,
        over_host: bool,
    ) -> Result<(), NetworkError> {
        for name in self.state.networks.keys() {
            let mut on_it = self.state.leases.values().filter(|lease| is_shared(lease));
            let any = on_it.find(|lease| lease.links.iter().any(|link| link.network == *name));
            if let Some(lease) = any {
                let text = names::hosts(&self.state.names_for(lease), &[]);
                write_in_place(&self.shared_hosts(name), &text)?;
            }
        }
        if let Some(id) = new
            && let Some(lease) = self.state.leases.get(id).filter(|lease| lease.names)
        {
            let own = box_directory(id);
            directory(&own, 0o755)?;
            let hosts = own.join("hosts");
            let wanted = |path: &str| !over_host || Path::new(path).exists();
            if let Some(network) = lease.links.first()
                && is_shared(lease)
                && wanted("/etc/hosts")
            {
                let shared = self.shared_hosts(&network.network);
                fs::remove_file(&hosts).ok();
                fs::hard_link(&shared, &hosts).map_err(failed(&hosts))?;
            }
            if wanted(names::RESOLV) {
                let text = names::resolv(&lease.dns, resolv);
                write_in_place(&own.join("resolv.conf"), &text)?;
            }
        }
        for (id, lease) in &self.state.leases {
            if lease.names && !is_shared(lease) {
                let path = box_directory(id).join("hosts");
                let text = names::hosts(&self.state.names_for(lease), &lease.hosts);
                match write_in_place(&path, &text) {
                    // A box that is being taken away.
                    Err(NetworkError::Registry { source, .. })
                        if source.kind() == io::ErrorKind::NotFound => {}
                    answer => answer?,
                }
            }
        }
        self.remove_unused_hosts();
        Ok(())
    }

    fn shared_hosts(&self, network: &str) -> PathBuf {
        self.directory.join(format!("{network}.hosts"))
    }

    fn remove_unused_hosts(&self) {
        for network in self.named_networks() {
            if !self.state.networks.contains_key(&network) {
                fs::remove_file(self.shared_hosts(&network)).ok();
            }
        }
    }
}

/// Boxes that are on one network and add no names of their own see the same file.
fn is_shared(lease: &Lease) -> bool {
    lease.names && lease.links.len() == 1 && lease.hosts.is_empty()
}

/// A box has the file itself mounted, so it is never replaced; a reader sees all of the old or all of the new but
/// for the moment of one write.
fn write_in_place(path: &Path, text: &str) -> Result<(), NetworkError> {
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).mode(0o644).open(path)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        (&file).flush()
    };
    write().map_err(failed(path))
}

/// A box takes some 500 bytes.
const LONGEST: u64 = 16 << 20;

fn read_state(path: &Path) -> Result<State, NetworkError> {
    use std::io::Read;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        file => file.map_err(failed(path))?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(failed(path))?;
    let damaged = |source| NetworkError::Damaged {
        path: path.to_owned(),
        source,
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|error| damaged(error.into()))?;
    // A list would do for it too, as serde reads.
    match bytes.trim_ascii_start().starts_with(b"{") && state.is_sound() {
        true => Ok(state),
        false => Err(damaged(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not hold together",
        ))),
    }
}

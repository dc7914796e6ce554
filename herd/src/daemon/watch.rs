//! Notices changes of the unit directories (`inotify(7)`), and that a directory vanished.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

/// The watched directories: those with units, their drop-in folders, and the parent of each unit
/// directory, so that one which vanished is noticed when it is back.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    folders: HashMap<WatchDescriptor, Folder>,
}

#[derive(Debug)]
struct Folder {
    /// Only the coming and going of this name is of interest.
    only: Option<PathBuf>,
}

impl Watch {
    /// # Errors
    /// When the kernel gives no inotify descriptor.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init()?,
            folders: HashMap::new(),
        })
    }

    /// Watches the unit directories as they are now. Called again after each change: watching a
    /// directory twice is the same watch.
    pub(super) fn cover<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) {
        self.folders.retain(|_, folder| folder.only.is_some());
        for directory in directories {
            if let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) {
                self.watch(parent, Some(PathBuf::from(name)));
            }
            self.watch(directory, None);
            let entries = std::fs::read_dir(directory);
            for entry in entries.into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().ends_with(".toml.d") {
                    self.watch(&entry.path(), None);
                }
            }
        }
    }

    fn watch(&mut self, path: &Path, only: Option<PathBuf>) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::MASK_ADD;
        // A directory that is not there has nothing to watch; its parent tells when it comes.
        if let Ok(descriptor) = self.inotify.watches().add(path, mask) {
            let folder = self
                .folders
                .entry(descriptor)
                .or_insert(Folder { only: only.clone() });
            if only.is_none() {
                folder.only = None;
            }
        }
    }

    /// Whether anything happened that makes the units worth reading again. Reads all there is.
    ///
    /// # Errors
    /// As `read(2)`.
    pub(super) fn changed(&mut self) -> io::Result<bool> {
        let mut buffer = [0_u8; 4096];
        let mut changed = false;
        loop {
            match self.inotify.read_events(&mut buffer) {
                Ok(events) => {
                    for event in events {
                        changed |= concerns(&self.folders, &event);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn concerns(
    folders: &HashMap<WatchDescriptor, Folder>,
    event: &inotify::Event<&std::ffi::OsStr>,
) -> bool {
    if event
        .mask
        .intersects(EventMask::Q_OVERFLOW | EventMask::DELETE_SELF | EventMask::MOVE_SELF)
    {
        return true;
    }
    let Some(name) = event.name else { return false };
    match folders.get(&event.wd) {
        Some(Folder { only: Some(only) }) => only.as_os_str() == name,
        _ => {
            // A creation counts even without CLOSE_WRITE: a link is complete at once, and of a file
            // that is still being written the reader's complaint is replaced by the next reading.
            let name = name.to_string_lossy();
            !name.starts_with('.') && (name.ends_with(".toml") || name.ends_with(".toml.d"))
        }
    }
}

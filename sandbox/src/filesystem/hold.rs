//! What a box gets from outside, held before its root is there; and the root.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_set_string, open_tree, unmount,
};

use super::action::{Content, Put};
use super::apply::{Mounts, attach, clone_of, finish, open_file_system, path_of};
use super::id_map::IdMap;
use super::overlay::Layers;
use super::resolve::{Make, about, is_directory};
use super::trouble::{MountOperation, MountTrouble};
use crate::held::HeldDescriptors;
use crate::sys::{Errno, files, process};

impl Mounts {
    pub(super) fn start(&mut self, from_host: bool, whole_trees: bool) -> Result<(), Errno> {
        // Modes are what the config says.
        process::set_umask(0);
        self.whole_trees = whole_trees;
        let root = files::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        self.cut_off(root.as_fd(), from_host)?;
        self.bases.set_root(root, Make::Nowhere);
        Ok(())
    }

    pub(super) fn take_root(&mut self, path: &CStr) -> Result<(), Errno> {
        let here = files::open(path, libc::O_PATH | libc::O_DIRECTORY)?;
        let tree = clone_of(here.as_fd(), true)?;
        // pivot_root wants the new root to be a mount of this namespace.
        attach(tree.as_fd(), here.as_fd())?;
        self.bases.set_root(tree, Make::There(here));
        Ok(())
    }

    pub(super) fn make_empty_root(&mut self) -> Result<(), Errno> {
        let root = new_tmpfs(c"0755")?;
        self.put_on_root(&root)?;
        self.bases.set_root(root, Make::Here);
        Ok(())
    }

    pub(super) fn put_root(&mut self, slot: usize, sealed: bool) -> Result<(), Errno> {
        let root = self.held(slot).map_err(|trouble| trouble.errno)?;
        let root = root.ok_or(Errno(libc::EBADF))?;
        self.put_on_root(&root)?;
        let make = if sealed {
            Make::There(clone_of(root.as_fd(), false)?)
        } else {
            Make::Here
        };
        self.bases.set_root(root, make);
        Ok(())
    }

    pub(super) fn take_first_put(&mut self, put: &Put) -> Result<(), MountTrouble> {
        let tree = self.held(put.slot)?;
        let tree = tree.ok_or(Errno(libc::EBADF))?;
        let root = files::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        let attached = self.attach_forbidding(tree.as_fd(), root.as_fd(), put.attributes());
        if let Err(errno) = attached {
            let is_file = !is_directory(tree.as_fd())?;
            let mut trouble = match is_file {
                true => about(Errno(libc::EISDIR), MountOperation::File, Path::new("/")),
                false => about(errno, MountOperation::Bind, Path::new("/")),
            };
            if let Some(about) = &mut trouble.about {
                about.source = Some(path_of(&put.source).as_os_str().to_owned());
            }
            return Err(trouble);
        }
        self.bases.set_root(tree, Make::Here);
        Ok(())
    }

    /// Attaches a mount where nobody looks: on the host's `/`. A path from `/` on starts below it
    /// (all but one that comes back to `/` by `..`, and there are none once the sources are held).
    fn put_on_root(&self, mount: &OwnedFd) -> Result<(), Errno> {
        let root = files::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        attach(mount.as_fd(), root.as_fd())
    }

    pub(super) fn take(
        &mut self,
        path: &Path,
        of_host: bool,
        recursive: bool,
        optional: bool,
        may_wait: bool,
    ) -> Result<(), MountTrouble> {
        let taken = if of_host {
            let taken = tree_of_host(path, recursive);
            if may_wait
                && self.is_short(&taken)
                && let Some(later) = self.later(path, recursive)
            {
                self.held.push(Some(later));
                return Ok(());
            }
            taken
        } else {
            self.bases
                .find(path)
                .and_then(|opened| clone_of(opened.as_fd(), recursive))
        };
        let held = match taken {
            Err(Errno::ENOENT) if optional => None,
            taken => Some(taken.map_err(|errno| about(errno, MountOperation::Source, path))?),
        };
        self.held.push(held.map(Holding::Tree));
        Ok(())
    }

    /// Takes out of its slot what was held, if it was there.
    pub(super) fn held(&mut self, slot: usize) -> Result<Option<OwnedFd>, MountTrouble> {
        match self.held.get_mut(slot).and_then(Option::take) {
            None => Ok(None),
            Some(Holding::Tree(tree)) => Ok(Some(tree)),
            Some(Holding::Later {
                path,
                found,
                recursive,
            }) => match tree_again(&found, recursive) {
                Ok(tree) => Ok(Some(tree)),
                Err(errno) => Err(about(errno, MountOperation::Source, &path)),
            },
        }
    }

    /// Where descriptors are short, a source is looked up when it is its turn, by a name without links: from
    /// `/` it leads past whatever is attached there. Only `/` itself would not.
    fn later(&self, path: &Path, recursive: bool) -> Option<Holding> {
        if !self.host_stays || path == Path::new("/") {
            return None;
        }
        let found = std::fs::canonicalize(path).ok()?;
        Some(Holding::Later {
            path: path.to_owned(),
            found,
            recursive,
        })
    }

    /// Claims that no more can be held without taking from what the rest of the set-up needs.
    fn is_short(&mut self, taken: &Result<OwnedFd, Errno>) -> bool {
        let number = match taken {
            Ok(tree) => u64::try_from(tree.as_raw_fd()).unwrap_or_default(),
            Err(errno) => return *errno == Errno(libc::EMFILE),
        };
        let room = match self.room {
            Some(room) => room,
            None => *self.room.insert(open_files().saturating_sub(RESERVE)),
        };
        number >= room
    }

    /// A mount of another namespace cannot be copied: what the descriptor stands for is looked up by its
    /// name here, and compared.
    pub(super) fn take_held(
        &mut self,
        descriptor: BorrowedFd<'_>,
        recursive: bool,
    ) -> Result<PathBuf, MountTrouble> {
        let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let name = rustix::fs::readlink(&link, Vec::new())?;
        let path = path_of(&name);
        let failed = |errno| about(errno, MountOperation::Source, path);
        let tree = tree_of_host(path, recursive).map_err(failed)?;
        let wanted = rustix::fs::fstat(descriptor)?;
        let found = rustix::fs::fstat(&tree)?;
        if (wanted.st_dev, wanted.st_ino) != (found.st_dev, found.st_ino) {
            return Err(about(
                Errno(libc::ESTALE),
                MountOperation::SourceChanged,
                path,
            ));
        }
        self.held.push(Some(Holding::Tree(tree)));
        Ok(path.to_owned())
    }

    /// What was held last gets other owners. No namespace for it can be made later, with another root on
    /// top of `/`.
    pub(super) fn translate(&self, map: Option<&IdMap>, path: &Path) -> Result<(), MountTrouble> {
        match (map, self.held.last()) {
            (Some(map), Some(Some(Holding::Tree(tree)))) => map
                .apply(tree.as_fd())
                .map_err(|errno| about(errno, MountOperation::IdMap, path)),
            _ => Ok(()),
        }
    }

    /// A file in a tmpfs out of sight. It keeps its name: an unlinked file cannot be mounted.
    pub(super) fn hold_data(
        &mut self,
        mode: u32,
        content: &Content,
        held: &HeldDescriptors,
    ) -> Result<(), MountTrouble> {
        let name = format!("{}", self.held.len());
        let scratch = self.scratch()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = rustix::fs::openat(scratch, &name, flags, mode)?;
        content.write_to(file.as_fd(), held)?;
        let slot = self.held.len();
        self.held.push(None);
        self.in_memory.push(InMemory::File { slot, file });
        Ok(())
    }

    /// The tmpfs for what is made in memory, attached nowhere yet.
    pub(super) fn scratch(&mut self) -> Result<&OwnedFd, Errno> {
        if self.scratch.is_none() {
            self.scratch = Some(new_tmpfs(c"0700")?);
        }
        self.scratch.as_ref().ok_or(Errno(libc::EBADF))
    }

    /// Only what is attached can be copied or be a layer (before Linux 6.15).
    pub(super) fn mount_memory(&mut self, stays: bool) -> Result<(), MountTrouble> {
        let scratch = self.scratch.take().ok_or(Errno(libc::EBADF))?;
        self.put_on_root(&scratch)?;
        for made in std::mem::take(&mut self.in_memory) {
            let (slot, mount) = match made {
                InMemory::File { slot, file } => (slot, clone_of(file.as_fd(), false)?),
                InMemory::Overlay { slot, layers } => (slot, layers.mount()?),
            };
            if let Some(held) = self.held.get_mut(slot) {
                *held = Some(Holding::Tree(mount));
            }
        }
        if stays {
            return Ok(());
        }
        files::change_directory(scratch.as_fd())?;
        unmount(c".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir(c"/")?)
    }
}

/// What is put into the box later.
#[derive(Debug)]
pub(super) enum Holding {
    Tree(OwnedFd),
    /// Asked for as `path`, and to be had at `found`.
    Later {
        path: PathBuf,
        found: PathBuf,
        recursive: bool,
    },
}

/// How many descriptors there may be.
fn open_files() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

/// Descriptors that the rest of a set-up takes.
const RESERVE: u64 = 16;

/// What is made in memory, and held once it is mounted.
#[derive(Debug)]
pub(super) enum InMemory {
    File { slot: usize, file: OwnedFd },
    Overlay { slot: usize, layers: Layers },
}

fn tree_again(found: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let here = rustix::fs::openat2(CWD, found, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    clone_of(here.as_fd(), recursive)
}

fn tree_of_host(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// Attached nowhere, nosuid and nodev.
fn new_tmpfs(mode: &CStr) -> Result<OwnedFd, Errno> {
    let file_system = open_file_system(c"tmpfs")?;
    fsconfig_set_string(file_system.as_fd(), c"mode", mode)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    finish(&file_system, flags)
}

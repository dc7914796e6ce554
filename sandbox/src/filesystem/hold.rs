//! What a box gets from outside, held before its root is there; and the root.
#![forbid(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_set_string, fsopen,
    open_tree, unmount,
};

use super::action::Content;
use super::apply::{Mounts, attach, clone_of, finish};
use super::resolve::{Make, about};
use super::trouble::{MountOperation, MountTrouble};
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
        let root = self.held.get_mut(slot).and_then(Option::take);
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
    ) -> Result<(), MountTrouble> {
        let taken = if of_host {
            tree_of_host(path, recursive)
        } else {
            self.bases
                .find(path)
                .and_then(|opened| clone_of(opened.as_fd(), recursive))
        };
        let held = match taken {
            Err(Errno::ENOENT) if optional => None,
            taken => Some(taken.map_err(|errno| about(errno, MountOperation::Source, path))?),
        };
        self.held.push(held);
        Ok(())
    }

    /// What a descriptor stands for, which may be of another mount namespace: found by its name in ours, and
    /// refused when that leads to something else by now.
    pub(super) fn take_held(
        &mut self,
        of: BorrowedFd<'_>,
        recursive: bool,
    ) -> Result<(), MountTrouble> {
        let link = format!("/proc/self/fd/{}", of.as_raw_fd());
        let path = rustix::fs::readlink(&link, Vec::new())?;
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        let tree = tree_of_host(path, recursive)
            .and_then(|tree| match is_same(tree.as_fd(), of)? {
                true => Ok(tree),
                false => Err(Errno(libc::ESTALE)),
            })
            .map_err(|errno| about(errno, MountOperation::Source, path))?;
        self.held.push(Some(tree));
        Ok(())
    }

    /// A file in a tmpfs out of sight. It keeps its name: an unlinked file cannot be mounted.
    pub(super) fn hold_data(&mut self, mode: u32, content: &Content) -> Result<(), MountTrouble> {
        let name = format!("{}", self.held.len());
        let scratch = self.scratch()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = rustix::fs::openat(scratch, &name, flags, mode)?;
        content.write_to(file.as_fd())?;
        let tree = clone_of(file.as_fd(), false)?;
        self.held.push(Some(tree));
        Ok(())
    }

    /// The tmpfs for what is only held; it goes with the host's tree, or when the last action is done.
    pub(super) fn scratch(&mut self) -> Result<&OwnedFd, Errno> {
        if self.scratch.is_none() {
            let scratch = new_tmpfs(c"0700")?;
            self.put_on_root(&scratch)?;
            self.scratch = Some(scratch);
        }
        self.scratch.as_ref().ok_or(Errno(libc::EBADF))
    }

    /// In a box on the host's own tree nothing may stay on top of `/`.
    pub(super) fn drop_scratch(&mut self) -> Result<(), Errno> {
        let Some(scratch) = self.scratch.take() else {
            return Ok(());
        };
        files::change_directory(scratch.as_fd())?;
        unmount(c".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir(c"/")?)
    }
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
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
    let file_system = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(file_system.as_fd(), c"mode", mode)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    finish(&file_system, flags)
}

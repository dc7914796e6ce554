//! Makes the mounts, by descriptor: no path is looked up twice.
#![forbid(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use super::attributes::identify;
use super::devices::{self, Nodes};
use super::hold::{Holding, InMemory};
use super::resolve::{Bases, Make, is_directory};
use super::step::{Hide, MountStep, Tmpfs};
use super::trouble::MountTrouble;
use crate::held::HeldDescriptors;
use crate::sys::mount::Attributes;
use crate::sys::{Errno, files};

/// What the mount steps of one box hold between them.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(super) whole_trees: bool,
    pub(super) bases: Bases,
    /// The host's tree is not changed, and can be looked at until the pivot.
    pub(super) host_stays: bool,
    pub(super) held: Vec<Option<Holding>>,
    /// The first number of descriptors that are not for holding.
    pub(super) room: Option<u64>,
    /// A tmpfs for what is made to be held, out of sight.
    pub(super) scratch: Option<OwnedFd>,
    pub(super) in_memory: Vec<InMemory>,
    /// Covers for what is hidden.
    empty: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Mounts {
    pub(crate) fn perform(
        &mut self,
        step: &MountStep,
        held: &HeldDescriptors,
    ) -> Result<(), MountTrouble> {
        match step {
            MountStep::Private {
                from_host,
                whole_trees,
                host_stays,
            } => {
                self.host_stays = *host_stays;
                Ok(self.start(*from_host, *whole_trees)?)
            }
            MountStep::Overlay(overlay) => self.hold_overlay(overlay),
            MountStep::HeldRoot { slot, sealed } => Ok(self.put_root(*slot, *sealed)?),
            MountStep::ChangeRoot => Ok(self.change_root()?),
            MountStep::NoPrograms { path, optional } => {
                Ok(self.no_programs(path_of(path), *optional)?)
            }
            MountStep::Root(path) => Ok(self.take_root(path)?),
            MountStep::FirstPut(put) => self.take_first_put(put),
            MountStep::EmptyRoot => Ok(self.make_empty_root()?),
            MountStep::Take {
                source,
                of_host,
                recursive,
                optional,
                id_map,
            } => {
                let path = path_of(source);
                // Owners are changed while nothing is attached yet.
                let may_wait = id_map.is_none();
                self.take(path, *of_host, *recursive, *optional, may_wait)?;
                self.translate(id_map.as_ref(), path)
            }
            MountStep::Data { mode, content } => self.hold_data(*mode, content, held),
            MountStep::TakeHeld {
                held: number,
                recursive,
                id_map,
            } => {
                let path = self.take_held(held.borrow(*number)?, *recursive)?;
                self.translate(id_map.as_ref(), &path)
            }
            MountStep::MountMemory { stays } => self.mount_memory(*stays),
            MountStep::Action(action) => self.act(action, held),
            MountStep::ReadOnly {
                path,
                optional,
                inert,
            } => {
                let attributes = if *inert {
                    Attributes::INERT
                } else {
                    Attributes::READ_ONLY
                };
                Ok(self.read_only(path_of(path), attributes, *optional)?)
            }
            MountStep::Proc {
                hide,
                only_processes,
            } => Ok(self.proc(*hide, *only_processes)?),
            MountStep::Devices { made } => Ok(self.devices(*made)?),
            MountStep::Terminals { with_group } => Ok(self.terminals(*with_group)?),
            MountStep::MessageQueues => Ok(self.message_queues()?),
            MountStep::Tmpfs(wanted) => Ok(self.tmpfs(wanted)?),
            MountStep::Hide { path, optional } => Ok(self.hide(path_of(path), *optional)?),
            MountStep::Place {
                slot,
                target,
                read_only,
            } => self.place(*slot, path_of(target), *read_only),
            MountStep::Seal(path) => Ok(self.seal(path_of(path))?),
            MountStep::Pivot => Ok(self.pivot()?),
        }
    }

    fn place(&mut self, slot: usize, target: &Path, read_only: bool) -> Result<(), MountTrouble> {
        let Some(tree) = self.held(slot)? else {
            return Ok(());
        };
        let directory = is_directory(tree.as_fd())?;
        let here = self.bases.open_or_make(target, directory, false)?;
        if read_only {
            self.attach_forbidding(tree.as_fd(), here.as_fd(), Attributes::READ_ONLY)?;
        } else {
            attach(tree.as_fd(), here.as_fd())?;
        }
        // What is missing below is made only in file systems of our own.
        self.bases.add(target, tree, Make::Nowhere);
        Ok(())
    }

    fn read_only(
        &mut self,
        path: &Path,
        attributes: Attributes,
        optional: bool,
    ) -> Result<(), Errno> {
        match self.bases.open(path, path.starts_with("/proc")) {
            Err(Errno::ENOENT) if optional => Ok(()),
            here => self.forbid_below(here?.as_fd(), attributes).map(drop),
        }
    }

    fn no_programs(&mut self, path: &Path, optional: bool) -> Result<(), Errno> {
        let here = match self.bases.find(path) {
            Err(Errno::ENOENT) if optional => return Ok(()),
            here => here?,
        };
        if let Some(cover) = self.forbid_below(here.as_fd(), Attributes::NO_PROGRAMS)? {
            self.bases.cover(path, cover);
        }
        Ok(())
    }

    /// Gives the mount that had to be made there for it.
    fn forbid_below(
        &self,
        here: BorrowedFd<'_>,
        attributes: Attributes,
    ) -> Result<Option<OwnedFd>, Errno> {
        match self.forbid(here, attributes, true) {
            // Not the root of a mount: make it one.
            Err(Errno(libc::EINVAL)) => {
                let tree = clone_of(here, true)?;
                self.attach_forbidding(tree.as_fd(), here, attributes)?;
                Ok(Some(tree))
            }
            answer => answer.map(|()| None),
        }
    }

    fn proc(&mut self, hide: Hide, only_processes: bool) -> Result<(), Errno> {
        let file_system = open_file_system(c"proc")?;
        if let Some(option) = hide.option() {
            fsconfig_set_string(file_system.as_fd(), c"hidepid", option)?;
        }
        if only_processes {
            fsconfig_set_string(file_system.as_fd(), c"subset", c"pid")?;
        }
        let mount = finish(&file_system, inert())?;
        self.mount(mount, Path::new("/proc"), false)
    }

    fn devices(&mut self, made: bool) -> Result<(), Errno> {
        // What is bound has to be held before the new /dev covers it.
        let nodes = if made { Nodes::Made } else { devices::hold()? };
        let file_system = open_file_system(c"tmpfs")?;
        fsconfig_set_string(file_system.as_fd(), c"mode", c"0755")?;
        fsconfig_set_string(file_system.as_fd(), c"size", c"64k")?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = finish(&file_system, flags)?;
        let filled = mount.try_clone().map_err(|_| Errno(libc::EMFILE))?;
        self.mount(mount, Path::new("/dev"), true)?;
        devices::fill(filled.as_fd(), nodes, self.whole_trees)
    }

    fn terminals(&mut self, with_group: bool) -> Result<(), Errno> {
        let file_system = open_file_system(c"devpts")?;
        fsconfig_set_string(file_system.as_fd(), c"ptmxmode", c"0666")?;
        fsconfig_set_string(file_system.as_fd(), c"mode", c"0620")?;
        if with_group {
            // The group `tty` of every distribution.
            fsconfig_set_string(file_system.as_fd(), c"gid", c"5")?;
        }
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        self.mount(finish(&file_system, flags)?, Path::new("/dev/pts"), false)
    }

    fn message_queues(&mut self) -> Result<(), Errno> {
        let file_system = open_file_system(c"mqueue")?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        self.mount(
            finish(&file_system, flags)?,
            Path::new("/dev/mqueue"),
            false,
        )
    }

    fn tmpfs(&mut self, wanted: &Tmpfs) -> Result<(), Errno> {
        let file_system = open_file_system(c"tmpfs")?;
        fsconfig_set_string(file_system.as_fd(), c"mode", format!("{:04o}", wanted.mode))?;
        if let Some(size) = wanted.size {
            fsconfig_set_string(file_system.as_fd(), c"size", size.to_string())?;
        }
        let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        if !wanted.executable {
            flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
        }
        if wanted.read_only {
            flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        let mount = finish(&file_system, flags)?;
        let path = path_of(&wanted.path);
        if wanted.optional && matches!(self.bases.open(path, false), Err(Errno::ENOENT)) {
            return Ok(());
        }
        self.mount(mount, path, true)
    }

    fn hide(&mut self, path: &Path, optional: bool) -> Result<(), Errno> {
        let here = match self.bases.open(path, path.starts_with("/proc")) {
            Err(Errno::ENOENT) if optional => return Ok(()),
            here => here?,
        };
        let cover = if is_directory(here.as_fd())? {
            match &self.empty {
                Some(empty) => clone_of(empty.as_fd(), false)?,
                None => {
                    let empty = empty_directory()?;
                    attach(empty.as_fd(), here.as_fd())?;
                    self.empty = Some(empty);
                    return Ok(());
                }
            }
        } else {
            // nodev is what bars it, even to those who may open anything.
            let null = self.null()?;
            let cover = clone_of(null.as_fd(), false)?;
            return self.attach_forbidding(cover.as_fd(), here.as_fd(), Attributes::INERT);
        };
        attach(cover.as_fd(), here.as_fd())
    }

    /// The host's own null, or the one we made: what a box root calls so may be anything.
    fn null(&mut self) -> Result<&OwnedFd, Errno> {
        if self.null.is_none() {
            let null = files::open(c"/dev/null", libc::O_PATH | libc::O_NOFOLLOW)?;
            if devices::is_null(null.as_fd())? {
                self.null = Some(null);
            }
        }
        self.null.as_ref().ok_or(Errno(libc::ENODEV))
    }

    fn seal(&mut self, path: &Path) -> Result<(), Errno> {
        match self.bases.at(path) {
            Some(mount) => self.forbid(mount, Attributes::READ_ONLY, false),
            // An optional mount whose place is missing.
            None => Ok(()),
        }
    }

    fn pivot(&mut self) -> Result<(), Errno> {
        let root = self.bases.root().ok_or(Errno(libc::EBADF))?;
        files::change_directory(root)?;
        // The old root lands on top of the new one and goes from there: no directory is needed.
        rustix::process::pivot_root(c".", c".")?;
        // With it lies whatever was put on it to build the new one, and goes first. `/..` leads to
        // what lies on the root, so nothing may.
        let (ours, _) = identify(root)?;
        for _ in 0..STACKED_AT_MOST {
            unmount(c".", UnmountFlags::DETACH)?;
            let above = files::open(c"/..", libc::O_PATH | libc::O_DIRECTORY)?;
            if identify(above.as_fd())?.0 == ours {
                return Ok(rustix::process::chdir(c"/")?);
            }
        }
        Err(Errno(libc::EBUSY))
    }

    fn change_root(&mut self) -> Result<(), Errno> {
        let root = self.bases.root().ok_or(Errno(libc::EBADF))?;
        files::change_directory(root)?;
        rustix::process::chroot(c".")?;
        Ok(rustix::process::chdir(c"/")?)
    }

    /// Attaches a new mount; `fillable` ones take mount points for what is put below.
    fn mount(&mut self, mount: OwnedFd, path: &Path, fillable: bool) -> Result<(), Errno> {
        // A link in the place of /proc or /dev is somebody's trick.
        let strict = path.starts_with("/proc") || path.starts_with("/dev");
        let here = self.bases.open_or_make(path, true, strict)?;
        attach(mount.as_fd(), here.as_fd())?;
        let make = if fillable { Make::Here } else { Make::Nowhere };
        self.bases.add(path, mount, make);
        Ok(())
    }
}

/// Mounts one on another at `/`: one for each action there, and the host's own.
const STACKED_AT_MOST: usize = 4096;

pub(super) fn path_of(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

pub(super) fn inert() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

fn empty_directory() -> Result<OwnedFd, Errno> {
    let file_system = open_file_system(c"tmpfs")?;
    fsconfig_set_string(file_system.as_fd(), c"mode", c"0000")?;
    fsconfig_set_string(file_system.as_fd(), c"nr_inodes", c"1")?;
    finish(&file_system, inert() | MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// A file system to be configured, under the name that `mount(8)` would show for it.
pub(super) fn open_file_system(kind: &CStr) -> rustix::io::Result<OwnedFd> {
    let file_system = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(file_system.as_fd(), c"source", kind)?;
    Ok(file_system)
}

pub(super) fn finish(file_system: &OwnedFd, flags: MountAttrFlags) -> Result<OwnedFd, Errno> {
    fsconfig_create(file_system.as_fd())?;
    Ok(fsmount(
        file_system.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags,
    )?)
}

/// A copy of the mount at `from`, attached nowhere yet.
pub(super) fn clone_of(from: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(from, c"", flags)?)
}

pub(super) fn attach(mount: BorrowedFd<'_>, on: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", on, c"", flags)?)
}
